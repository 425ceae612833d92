/**
 * Each token sums its own slots in rank order, weighted: out[token] = Σ over rank of weights[token, rank] · y[places[token · active + rank]].
 *
 * Shapes: y [tokens · active, columns], places u32 [tokens · active], weights [tokens, active] → [tokens, columns].
 */
import * as Gradient from "../Gradient.ts"
import { combine as kernel } from "../kernels/combine.ts"
import { combineWeightGradient } from "../kernels/combineWeightGradient.ts"
import { gatherScaled } from "../kernels/gatherScaled.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { invert } from "./invert.ts"

export const combine = (y: Tensor, places: Tensor, weights: Tensor): Tensor => {
  expectShape("combine", "weights", weights, [undefined, undefined])
  const [tokens, active] = weights.shape as readonly [number, number], slots = tokens * active
  expectShape("combine", "y", y, [slots, undefined])
  expectShape("combine", "places", places, [slots], "u32")
  const columns = y.shape[1]!
  const out = Recording.scratch([tokens, columns])
  Recording.step(kernel, { y, places, weights, out }, { count: tokens * columns, columns, active, weighted: 1 })
  return Gradient.derive(out, [y, weights], (gradient, needs) => {
    const back = needs[0] ? Recording.scratch(y.shape) : undefined, weightsBack = needs[1] ? Recording.scratch(weights.shape) : undefined
    if (back !== undefined) Recording.step(gatherScaled, { table: gradient, ids: invert(places), scale: weights, out: back }, { count: slots * columns, columns, divisor: active })
    if (weightsBack !== undefined) Recording.step(combineWeightGradient, { y, places, gradient, out: weightsBack }, { rows: slots, columns, active })
    return [back, weightsBack]
  })
}
