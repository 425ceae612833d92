/** silu(gate) · up (Shazeer 2020). Shapes: gate and up alike. */
import * as Gradient from "../Gradient.ts"
import { swiglu as kernel } from "../kernels/swiglu.ts"
import { swigluGradient } from "../kernels/swigluGradient.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const swiglu = (gate: Tensor, up: Tensor): Tensor => {
  expectShape("swiglu", "gate", gate, gate.shape)
  expectShape("swiglu", "up", up, gate.shape)
  const out = Recording.scratch(gate.shape), count = gate.slot.length
  Recording.step(kernel, { gate, up, out }, { count })
  return Gradient.derive(out, [gate, up], (gradient) => {
    const gateGradient = Recording.scratch(gate.shape), upGradient = Recording.scratch(gate.shape)
    Recording.step(swigluGradient, { gate, up, gradient, gateGradient, upGradient }, { count })
    return [gateGradient, upGradient]
  })
}
