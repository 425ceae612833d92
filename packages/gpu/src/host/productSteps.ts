/** Which library call a matrix-product step becomes: one Gemm, one batched product, a Gemm per group, or none when it is too small. */
import type { OnnxProducts, Operand } from "./onnxProducts.ts"

/** Below this many floating-point operations a call into the library costs more than the SIMD module's product. Measured by tools/bench/host.ts. */
export const smallProduct = 300_000
/** Up to this many rows, x · weightᵀ is bound by reading the weight once; the library packs it first, the SIMD module does not. Measured by tools/bench/decode.ts. */
export const fewRows = 4
/** Outputs are computed in slices of at most this many numbers: the library's own copy of a slice then stays in the second-level cache. */
const sliceLength = 2 ** 18

export interface ProductStep {
  readonly kernel: string
  readonly params: Readonly<Record<string, number>>
  /** The numbers from element `from` of a binding on. */
  readonly view: (binding: string, from: number, length: number) => Float32Array
  /** Grouped products: where a group's rows begin. */
  readonly offset: (group: number) => number
}

const transposed = (kernel: string) => ({ transposeA: kernel.endsWith("TN"), transposeB: kernel.endsWith("NT") })

/** The prepared call, or undefined when the SIMD module should do it. */
export const prepareProduct = (library: OnnxProducts, step: ProductStep): (() => void) | undefined => {
  if (step.kernel.startsWith("grouped")) return step.kernel === "groupedMatmulTN" ? groupedGradient(library, step) : grouped(library, step)
  const { accumulate, alpha, batch, columns, inner, rows, strideA, strideB } = step.params as Record<"accumulate" | "alpha" | "batch" | "columns" | "inner" | "rows" | "strideA" | "strideB", number>
  if (2 * batch * rows * columns * inner < smallProduct) return undefined
  if (batch === 1 && rows <= fewRows && step.kernel === "matmulNT") return undefined
  const { transposeA, transposeB } = transposed(step.kernel)
  const axesB = transposeB ? [columns, inner] : [inner, columns]
  /** Rows `from` … `from + count` of product i; for aᵀ all of them. */
  const gemm = (i: number, from: number, count: number): (() => void) => library.prepare({ operator: "Gemm", transposeA, transposeB, alpha, accumulate: accumulate === 1 },
    { data: step.view("a", i * strideA + from * inner, count * inner), axes: transposeA ? [inner, rows] : [count, inner] },
    { data: step.view("b", i * strideB, columns * inner), axes: axesB },
    { data: step.view("out", (i * rows + from) * columns, count * columns), axes: [count, columns] })
  const slices = (total: number, length: number): ReadonlyArray<readonly [from: number, count: number]> => {
    const each = Math.max(1, Math.ceil(total / Math.ceil(total * length / sliceLength)))
    return Array.from({ length: Math.ceil(total / each) }, (_, slice) => [slice * each, Math.min(each, total - slice * each)] as const)
  }
  const gemms = (i: number, total: number): ReadonlyArray<() => void> => transposeA ? [gemm(i, 0, rows)] : slices(total, columns).map(([from, count]) => gemm(i, from, count))
  if (batch === 1) return inTurn(gemms(0, rows))
  if (strideB === 0 && !transposeA && strideA === rows * inner) return inTurn(gemms(0, rows * batch))
  if (accumulate === 0 && (strideA === 0 || strideA === rows * inner) && (strideB === 0 || strideB === columns * inner)) {
    return inTurn(slices(batch, rows * columns).map(([from, count]) => {
      const a = strideA === 0 ? 1 : count, b = strideB === 0 ? 1 : count
      return library.prepare({ operator: "FusedMatMul", transposeA, transposeB, alpha, accumulate: false },
        { data: step.view("a", from * strideA, a * rows * inner), axes: [a, ...transposeA ? [inner, rows] : [rows, inner]] },
        { data: step.view("b", from * strideB, b * columns * inner), axes: [b, ...axesB] },
        { data: step.view("out", from * rows * columns, count * rows * columns), axes: [count, rows, columns] })
    }))
  }
  if (2 * rows * columns * inner < smallProduct) return undefined
  return inTurn(Array.from({ length: batch }, (_, i) => gemms(i, rows)).flat())
}
const inTurn = (calls: ReadonlyArray<() => void>): (() => void) => calls.length === 1 ? calls[0]! : () => { for (const call of calls) call() }

/** Groups have as many rows as the data says: operands are cut anew at every call. */
const grouped = (library: OnnxProducts, { kernel, offset, params, view }: ProductStep): (() => void) | undefined => {
  const { alpha, columns, groups, inner, rows } = params as Record<"alpha" | "columns" | "groups" | "inner" | "rows", number>
  if (2 * rows * columns * inner < smallProduct * groups) return undefined
  if (rows <= fewRows && kernel === "groupedMatmulNT") return undefined
  const { transposeB } = transposed(kernel)
  const weights = Array.from({ length: groups }, (_, group): Operand => ({ data: view("weight", group * columns * inner, columns * inner), axes: transposeB ? [columns, inner] : [inner, columns] }))
  return () => {
    for (let group = 0; group < groups; group++) {
      const begin = offset(group), count = offset(group + 1) - begin
      if (count > 0) library.prepare({ operator: "Gemm", transposeA: false, transposeB, alpha, accumulate: false },
        { data: view("x", begin * inner, count * inner), axes: [count, inner] }, weights[group]!, { data: view("out", begin * columns, count * columns), axes: [count, columns] })()
    }
  }
}

const groupedGradient = (library: OnnxProducts, { offset, params, view }: ProductStep): (() => void) | undefined => {
  const { alpha, columns, groups, rows, total } = params as Record<"alpha" | "columns" | "groups" | "rows" | "total", number>
  if (2 * rows * columns * total < smallProduct * groups) return undefined
  const outs = Array.from({ length: groups }, (_, group): Operand => ({ data: view("out", group * rows * columns, rows * columns), axes: [rows, columns] }))
  return () => {
    for (let group = 0; group < groups; group++) {
      const begin = offset(group), count = offset(group + 1) - begin
      if (count === 0) outs[group]!.data.fill(0)
      else library.prepare({ operator: "Gemm", transposeA: true, transposeB: false, alpha, accumulate: false },
        { data: view("a", begin * rows, count * rows), axes: [count, rows] }, { data: view("b", begin * columns, count * columns), axes: [count, columns] }, outs[group]!)()
    }
  }
}
