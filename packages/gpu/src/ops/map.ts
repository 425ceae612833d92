/** A smooth function of each element: silu, sigmoid, tanh, relu, exp, log, square, sqrt, gelu (tanh form) or reciprocal. */
import * as Gradient from "../Gradient.ts"
import { map as kernel, modes, type Mode } from "../kernels/map.ts"
import { mapGradient } from "../kernels/mapGradient.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const map = (x: Tensor, mode: Mode): Tensor => {
  expectShape("map", "x", x, x.shape)
  const out = Recording.scratch(x.shape), count = x.slot.length, at = modes.indexOf(mode)
  if (at < 0) throw new Error(`map: mode must be one of ${modes.join(", ")}, got ${mode}`)
  Recording.step(kernel, { x, out }, { count, mode: at })
  return Gradient.derive(out, [x], (gradient) => {
    const back = Recording.scratch(x.shape)
    Recording.step(mapGradient, { x, gradient, out: back }, { count, mode: at })
    return [back]
  })
}
