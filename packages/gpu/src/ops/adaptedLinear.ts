/**
 * x weightᵀ + scale · (x aᵀ) bᵀ: a linear layer with a low-rank change, added where the product lies (no sum of two results).
 *
 * Shapes: x [rows, in], weight [out, in] f32 or stored, a [rank, in], b [out, rank] → [rows, out]. Paper: Hu et al., LoRA, 2021.
 */
import * as Gradient from "../Gradient.ts"
import { matmulNN } from "../kernels/matmulNN.ts"
import { matmulNT } from "../kernels/matmulNT.ts"
import * as Recording from "../Recording.ts"
import { isStorage } from "../Storage.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { add } from "./add.ts"
import { linear } from "./linear.ts"
import { lowRank } from "./lowRank.ts"
import { matmul } from "./matmul.ts"
import { refuseTraining, times, timesTransposed } from "./weightProducts.ts"

/** A low-rank change of one weight: weight + scale · b a. */
export interface Adapter { readonly a: Tensor; readonly b: Tensor; readonly scale: number }

export const adaptedLinear = (x: Tensor, weight: Tensor, adapter: Adapter): Tensor => {
  const { a, b, scale } = adapter
  expectShape("adaptedLinear", "x", x, [undefined, undefined])
  const [rows, wide] = x.shape as readonly [number, number]
  expectShape("adaptedLinear", "weight", weight, [undefined, wide], "weight")
  expectShape("adaptedLinear", "a", a, [undefined, wide])
  const out = weight.shape[0]!, rank = a.shape[0]!
  expectShape("adaptedLinear", "b", b, [out, rank])
  if (weight.parts !== undefined) return add(linear(x, weight), lowRank(x, a, b, scale))
  const narrow = Recording.scratch([rows, rank])
  const single = { batch: 1, strideA: 0, strideB: 0 }
  Recording.step(matmulNT, { a: x, b: a, out: narrow }, { ...single, rows, columns: rank, inner: wide, alpha: 1, accumulate: 0 })          // [rows, rank]
  const result = timesTransposed(x, weight)                                                                                              // [rows, out]
  Recording.step(matmulNT, { a: narrow, b, out: result }, { ...single, rows, columns: out, inner: rank, alpha: scale, accumulate: 1 })    // [rows, out]
  return Gradient.derive(result, [x, weight, a, b], (gradient, needs) => {
    const narrowGradient = needs[0] || needs[2] ? matmul(gradient, b, { alpha: scale }) : undefined // [rows, rank]
    let back: Tensor | undefined
    if (needs[0]) {
      back = times(gradient, weight) // [rows, in]
      Recording.step(matmulNN, { a: narrowGradient!, b: a, out: back }, { ...single, rows, columns: wide, inner: rank, alpha: 1, accumulate: 1 })
    }
    return [
      back,
      !needs[1] ? undefined : isStorage(weight.dtype) ? refuseTraining("adaptedLinear", weight) : matmul(gradient, x, { transposeA: true }), // [out, in]
      needs[2] ? matmul(narrowGradient!, x, { transposeA: true }) : undefined,                // [rank, in]
      needs[3] ? matmul(gradient, narrow, { transposeA: true, alpha: scale }) : undefined     // [out, rank]
    ]
  })
}
