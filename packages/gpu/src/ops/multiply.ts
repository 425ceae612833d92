/** scale · a · b, element by element. Shapes: a and b alike. */
import * as Gradient from "../Gradient.ts"
import { multiply as kernel } from "../kernels/multiply.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const multiply = (a: Tensor, b: Tensor, scale = 1): Tensor => {
  expectShape("multiply", "a", a, a.shape)
  expectShape("multiply", "b", b, a.shape)
  const out = Recording.scratch(a.shape)
  Recording.step(kernel, { a, b, out }, { count: a.slot.length, scale })
  return Gradient.derive(out, [a, b], (gradient, needs) => [needs[0] ? multiply(gradient, b, scale) : undefined, needs[1] ? multiply(gradient, a, scale) : undefined])
}
