/** Swaps the two middle axes. Shapes: x [a, b, c, d] → [a, c, b, d]. */
import * as Gradient from "../Gradient.ts"
import { permute as kernel } from "../kernels/permute.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const permute = (x: Tensor): Tensor => {
  expectShape("permute", "x", x, [undefined, undefined, undefined, undefined])
  const [a, b, c, d] = x.shape as readonly [number, number, number, number]
  const out = Recording.scratch([a, c, b, d])
  Recording.step(kernel, { x, out }, { count: a * b * c * d, b, c, d })
  return Gradient.derive(out, [x], (gradient) => [permute(gradient)])
}
