/**
 * What passes through a decoder, looked at: activations kept whole, and running statistics that merging needs, accumulated on the device
 * over any number of submissions.
 *
 * A tap is handed to `Decoder.forward`; it records steps beside the forward. Papers: Gram matrices, Jin et al. 2023 (RegMean); squared gradients,
 * Matena & Raffel 2022 (Fisher merging).
 */
import type { Point, Tap } from "./Decoder.ts"
import { copyColumns } from "./kernels/copyColumns.ts"
import { matmulTN } from "./kernels/matmulTN.ts"
import { add } from "./ops/add.ts"
import { keep } from "./ops/keep.ts"
import { matmul } from "./ops/matmul.ts"
import { multiply } from "./ops/multiply.ts"
import { rowsAndColumns } from "./ops/rowsAndColumns.ts"
import * as Recording from "./Recording.ts"
import { expectShape, kept, type Tensor } from "./Tensor.ts"

export const points: ReadonlyArray<Point> = ["embedding", "attention.input", "attention.inner", "attention.output", "feedForward.input", "feedForward.inner", "feedForward.output", "block.output", "norm"]

/** The name under which a point's tensor is filed: "feedForward.input 3". */
export const nameOf = (point: Point, layer: number): string => `${point} ${layer}`

/** Several taps as one. */
export const all = (taps: ReadonlyArray<Tap>): Tap => (point, layer, tensor) => { for (const tap of taps) tap(point, layer, tensor) }

/** Keeps activations of the chosen points (all layers unless `layers` says which) to be read after a submission: [rows, width], rows of all replicas. */
export const capture = (chosen: ReadonlyArray<Point>, options: { readonly layers?: ReadonlyArray<number> } = {}): { readonly tap: Tap; readonly kept: ReadonlyMap<string, Tensor> } => {
  const captured = new Map<string, Tensor>()
  const tap: Tap = (point, layer, tensor) => {
    if (chosen.includes(point) && options.layers?.includes(layer) !== false) captured.set(nameOf(point, layer), keep(tensor, nameOf(point, layer), { sharded: true }))
  }
  return { tap, kept: captured }
}

/** Adds to a kept tensor: into += x. Counts, say of `segmentLengths`, are summed this way. */
export const accumulate = (into: Tensor, x: Tensor): void => {
  expectShape("Tap.accumulate", "x", x, into.shape)
  const count = into.slot.length
  Recording.step(copyColumns, { x: add(into, x), out: into }, { count, columns: count, inputStride: count, inputOffset: 0, outStride: count, outOffset: 0 })
}

/** into += scale · xᵀ x. Shapes: x [rows, width], into [width, width]. */
export const accumulateGram = (into: Tensor, x: Tensor, scale = 1): void => {
  const [inner, width] = rowsAndColumns("Tap.accumulateGram", "x", x)
  expectShape("Tap.accumulateGram", "into", into, [width, width])
  Recording.step(matmulTN, { a: x, b: x, out: into }, { batch: 1, rows: width, columns: width, inner, strideA: 0, strideB: 0, alpha: scale, accumulate: 1 })
}

/** into += gradient², element by element (sum the gradient over replicas first): the diagonal of the empirical Fisher information, one batch at a time. */
export const accumulateSquares = (into: Tensor, gradient: Tensor): void => accumulate(into, multiply(gradient, gradient))

export interface Grams {
  readonly tap: Tap
  /** `nameOf(point, layer)` → kept [width, width]: the sum of xᵀ x over all rows of all replicas and submissions so far. */
  readonly sums: ReadonlyMap<string, Tensor>
}

/**
 * Gram matrices of the inputs of chosen matrices. Programs recorded with one tap add to the same sums.
 *
 * "attention.input" is what query, key and value multiply, "attention.inner" output, "feedForward.input" gate and up, "feedForward.inner" down.
 * The number of rows is the caller's to count: batch · tokens · replicas of each submission.
 */
export const grams = (chosen: ReadonlyArray<Point>): Grams => {
  const sums = new Map<string, Tensor>()
  const tap: Tap = (point, layer, tensor) => {
    if (!chosen.includes(point)) return
    const [, width] = rowsAndColumns("Tap.grams", point, tensor), name = nameOf(point, layer)
    const sum = sums.get(name) ?? kept([width, width], { label: `gram ${name}` })
    sums.set(name, sum)
    if (Recording.replicas() === 1) return accumulateGram(sum, tensor)
    const share = matmul(tensor, tensor, { transposeA: true }) // [width, width], of this replica's rows
    Recording.sumReplicas([share])
    accumulate(sum, share)
  }
  return { tap, sums }
}
