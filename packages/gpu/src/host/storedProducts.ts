/**
 * Products with a stored weight on the host: a few rows of the weight at a time are widened into a buffer that stays in the second-level cache and
 * multiplied there by whatever multiplies best. The weight is never f32 as a whole. A few rows of x times the weight's rows, as generation has them, are
 * bound by reading it: the SIMD module widens in registers then, to the same bits.
 */
import { kernels } from "../kernels.ts"
import type { Step } from "../Recording.ts"
import { blockLength } from "../Storage.ts"
import { fewRows } from "./productSteps.ts"

/** Numbers of a weight that are widened at once, a row at least. */
const tileLength = 2 ** 18

const isProduct = (kernel: string): boolean => /^stored(Grouped)?Matmul/.test(kernel)
type Params = Readonly<Record<"rows" | "columns" | "inner" | "total" | "format", number>> & { readonly groups?: number; readonly alpha?: number }
export const paramsOf = ({ kernel, params }: Pick<Step, "kernel" | "params">): Params => Object.fromEntries(Object.keys(kernels.get(kernel)!.params).map((name, at) => [name, params[at]!])) as Params

/** A weight's rows, numbers in each, and rows widened at once. */
const tilesOf = (kernel: string, { columns, inner }: Params) => {
  const [height, width] = kernel.endsWith("NT") ? [columns, inner] : [inner, columns]
  return { height, width, each: Math.min(height, Math.max(1, Math.floor(tileLength / width))) }
}
/** Whether so many rows are multiplied as the weight is read. Blocks must not cross its rows. */
const isRead = (kernel: string, rows: number, inner: number): boolean => kernel.endsWith("NT") && rows <= fewRows && inner % blockLength === 0
/** Numbers of the two buffers that a step needs: for the widened rows, and for columns beside them. */
export const staged = (step: Step): readonly [weight: number, side: number] => {
  if (!isProduct(step.kernel)) return [0, 0]
  const params = paramsOf(step)
  if (isRead(step.kernel, params.rows, params.inner)) return [0, 0]
  const { each, height, width } = tilesOf(step.kernel, params)
  return [each * width, each < height && params.rows > 1 ? Math.max(tileLength, each) : 0]
}

export interface StoredProduct {
  readonly kernel: string
  readonly params: Params
  /** Addresses of x, of the weight, of out, and of the two buffers. */
  readonly x: number
  readonly weight: number
  readonly out: number
  readonly stage: number
  readonly side: number
  /** Grouped products: where a group's rows begin. */
  readonly offset: (group: number) => number
  /** A call of a kernel on addresses. */
  readonly call: (kernel: string, addresses: ReadonlyArray<number>, params: ReadonlyArray<number>) => () => void
  /** The SIMD module's export of that name. */
  readonly dots: (...parameters: ReadonlyArray<number>) => number
}

/** The call that computes the product, or undefined when the kernel is no such product. */
export const prepareStored = (product: StoredProduct): (() => void) | undefined => {
  const { kernel, offset, out, params, x } = product, { columns, groups, inner, rows } = params
  if (!isProduct(kernel)) return undefined
  if (groups === undefined) {
    const calls = callsOf(product, { rows, x, out, first: 0 })
    return () => { for (const call of calls) call() }
  }
  return () => {
    for (let group = 0; group < groups; group++) {
      const begin = offset(group), count = offset(group + 1) - begin
      if (count > 0) for (const call of callsOf(product, { rows: count, x: x + 4 * begin * inner, out: out + 4 * begin * columns, first: group * columns * inner })) call()
    }
  }
}

/** The calls for some rows with the matrix whose numbers begin at `first`. */
const callsOf = ({ call, dots, kernel, params, side, stage, weight }: StoredProduct, { first, out, rows, x }: { readonly rows: number; readonly x: number; readonly out: number; readonly first: number }): ReadonlyArray<() => void> => {
  const { alpha = 1, columns, format, inner, total } = params
  if (isRead(kernel, rows, inner)) return [() => { dots(x, weight, out, rows, columns, inner, first, total, format, alpha) }]
  const { each, height, width } = tilesOf(kernel, params), forward = kernel.endsWith("NT")
  const calls: Array<() => void> = []
  for (let from = 0; from < height; from += each) {
    const count = Math.min(each, height - from), accumulate = from > 0 ? 1 : 0
    calls.push(call("widen", [weight, stage], [count * width, first + from * width, total, format]))
    // one row of out, or all columns: they lie side by side already
    const atOnce = count === height || rows === 1 ? rows : Math.max(1, Math.floor(tileLength / count))
    for (let row = 0; row < rows; row += atOnce) {
      const some = Math.min(atOnce, rows - row), left = x + 4 * row * inner, to = out + 4 * row * columns, direct = count === height || rows === 1
      if (forward) {
        calls.push(call("matmulNT", [left, stage, direct ? to + 4 * from : side], [1, some, count, inner, 0, 0, alpha, 0]))
        if (!direct) calls.push(call("copyColumns", [side, to], [some * count, count, count, 0, columns, from]))
      } else {
        if (!direct) calls.push(call("copyColumns", [left, side], [some * count, count, inner, from, count, 0]))
        calls.push(call("matmulNN", [direct ? left + 4 * from : side, stage, to], [1, some, columns, count, 0, 0, alpha, accumulate]))
      }
    }
  }
  return calls
}
