/** g · sigmoid(slope · g) · (u + 1), g being the gate, at most `limit`, and u up, between −limit and limit (gpt-oss). Shapes: gate and up alike. */
import * as Gradient from "../Gradient.ts"
import { clampedSwiglu as kernel } from "../kernels/clampedSwiglu.ts"
import { clampedSwigluGradient } from "../kernels/clampedSwigluGradient.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const clampedSwiglu = (gate: Tensor, up: Tensor, options: { readonly slope: number; readonly limit: number }): Tensor => {
  const { limit, slope } = options
  expectShape("clampedSwiglu", "gate", gate, gate.shape)
  expectShape("clampedSwiglu", "up", up, gate.shape)
  const out = Recording.scratch(gate.shape), params = { count: gate.slot.length, slope, limit }
  Recording.step(kernel, { gate, up, out }, params)
  return Gradient.derive(out, [gate, up], (gradient) => {
    const gateGradient = Recording.scratch(gate.shape), upGradient = Recording.scratch(gate.shape)
    Recording.step(clampedSwigluGradient, { gate, up, gradient, gateGradient, upGradient }, params)
    return [gateGradient, upGradient]
  })
}
