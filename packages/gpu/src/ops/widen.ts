/** A stored tensor's numbers as f32, or entries from … from + count − 1 of its first axis. Shapes: x [rows, ...] stored → [count, ...]. No gradient. */
import { widen as kernel } from "../kernels/widen.ts"
import * as Recording from "../Recording.ts"
import { size, type Tensor } from "../Tensor.ts"
import { storedAs } from "./weightProducts.ts"

export const widen = (x: Tensor, from = 0, count = x.shape[0]!): Tensor => {
  const width = size(x.shape.slice(1)), out = Recording.scratch([count, ...x.shape.slice(1)])
  Recording.step(kernel, { weight: x, out }, { count: count * width, from: from * width, ...storedAs(x) })
  return out
}
