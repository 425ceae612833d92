/** scale · x + shift, element by element. */
import * as Gradient from "../Gradient.ts"
import { affine as kernel } from "../kernels/affine.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const affine = (x: Tensor, options: { readonly scale?: number; readonly shift?: number }): Tensor => {
  const { scale = 1, shift = 0 } = options
  expectShape("affine", "x", x, x.shape)
  const out = Recording.scratch(x.shape)
  Recording.step(kernel, { x, out }, { count: x.slot.length, scale, shift })
  return Gradient.derive(out, [x], (gradient) => [scale === 1 ? gradient : affine(gradient, { scale })])
}
