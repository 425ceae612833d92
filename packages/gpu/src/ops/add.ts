/** a + scale · b, element by element. Shapes: a and b alike. */
import * as Gradient from "../Gradient.ts"
import { add as kernel } from "../kernels/add.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { affine } from "./affine.ts"

export const add = (a: Tensor, b: Tensor, scale = 1): Tensor => {
  expectShape("add", "a", a, a.shape)
  expectShape("add", "b", b, a.shape)
  const out = Recording.scratch(a.shape)
  Recording.step(kernel, { a, b, out }, { count: a.slot.length, scale })
  return Gradient.derive(out, [a, b], (gradient, needs) => [gradient, needs[1] ? scale === 1 ? gradient : affine(gradient, { scale }) : undefined])
}
