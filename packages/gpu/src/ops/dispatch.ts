/**
 * Copies every token once for each expert it visits, in the experts' order: out[i] = x[floor(order[i] / active)].
 *
 * Shapes: x [tokens, columns]; order and places u32 [tokens · active], inverse to each other (order from `countingSort`, places from `invert`)
 * → [tokens · active, columns]. The gradient gathers each token's own slots in rank order.
 */
import * as Gradient from "../Gradient.ts"
import { combine } from "../kernels/combine.ts"
import { gather } from "../kernels/gather.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const dispatch = (x: Tensor, sorted: { readonly order: Tensor; readonly places: Tensor }, active: number): Tensor => {
  const { order, places } = sorted
  expectShape("dispatch", "x", x, [undefined, undefined])
  const [tokens, columns] = x.shape as readonly [number, number], slots = tokens * active
  expectShape("dispatch", "order", order, [slots], "u32")
  expectShape("dispatch", "places", places, [slots], "u32")
  const out = Recording.scratch([slots, columns])
  Recording.step(gather, { table: x, ids: order, out }, { count: slots * columns, columns, divisor: active })
  return Gradient.derive(out, [x], (gradient) => {
    const back = Recording.scratch(x.shape)
    Recording.step(combine, { y: gradient, places, weights: gradient, out: back }, { count: tokens * columns, columns, active, weighted: 0 })
    return [back]
  })
}
