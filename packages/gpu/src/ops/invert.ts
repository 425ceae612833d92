/** The inverse of a permutation: out[order[i]] = i. Shapes: order u32 [n] → u32 [n]. No gradient. */
import { invert as kernel } from "../kernels/invert.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const invert = (order: Tensor): Tensor => {
  expectShape("invert", "order", order, [undefined], "u32")
  const out = Recording.scratch(order.shape, "u32")
  Recording.step(kernel, { order, out }, { count: order.slot.length })
  return out
}
