/**
 * What an attention sink leaves of a softmax (Xiao et al. 2023; gpt-oss): a learned score of each head takes part in the softmax and gives nothing, so every
 * other probability is multiplied by Σ e^s / (Σ e^s + e^sink).
 *
 * Shapes: scores [rows, keys] and their softmax, probability [rows, keys], sinks [heads] → [rows]. Options: `scale` of the scores in the softmax; row r belongs to
 * head ⌊r / repeat⌋ mod heads. The probabilities pass no gradient of their own: the scores get all of it.
 */
import * as Gradient from "../Gradient.ts"
import { sinkShare as kernel } from "../kernels/sinkShare.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { affine } from "./affine.ts"
import { multiply } from "./multiply.ts"
import { permute } from "./permute.ts"
import { scaleRows } from "./scaleRows.ts"
import { sumRows } from "./sumRows.ts"
import { view } from "./view.ts"

export const sinkShare = (scores: Tensor, probability: Tensor, sinks: Tensor, options: { readonly scale?: number; readonly repeat: number }): Tensor => {
  const { repeat, scale = 1 } = options
  expectShape("sinkShare", "scores", scores, [undefined, undefined])
  expectShape("sinkShare", "probability", probability, scores.shape)
  expectShape("sinkShare", "sinks", sinks, [undefined])
  const [rows, columns] = scores.shape as readonly [number, number], heads = sinks.shape[0]!
  if (rows % (repeat * heads) !== 0) throw new Error(`sinkShare: ${rows} rows (axis 0 of scores) are not a multiple of ${heads} heads times ${repeat}`)
  const out = Recording.scratch([rows])
  Recording.step(kernel, { x: scores, probability, sinks, out }, { rows, columns, heads, repeat, scale })
  return Gradient.derive(out, [scores, sinks], (gradient, needs) => {
    const slope = multiply(gradient, multiply(out, affine(out, { scale: -1, shift: 1 }))) // [rows]: of the sigmoid
    const byHead = () => view(permute(view(slope, [rows / (heads * repeat), heads, repeat, 1])), [rows / heads, heads])
    return [needs[0] ? affine(scaleRows(probability, slope), { scale }) : undefined, needs[1] ? affine(sumRows(byHead()), { scale: -1 }) : undefined]
  })
}
