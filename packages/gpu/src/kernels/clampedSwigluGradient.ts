/** Gradients of clampedSwiglu: nothing flows through what was clamped. */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const clampedSwigluGradient = make("clampedSwigluGradient", {
  bindings: { gate: reads, up: reads, gradient: reads, gateGradient: writes, upGradient: writes },
  params: { count: "u32", slope: "f32", limit: "f32" },
  flops: ({ count }) => 18 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./clampedSwigluGradient.wgsl", import.meta.url),
  run: ({ gate, gateGradient, gradient, up, upGradient }, { count, limit, slope }) => {
    for (let i = 0; i < count; i++) {
      const g = Math.min(gate[i]!, limit), u = Math.min(Math.max(up[i]!, -limit), limit), sigmoid = 1 / (1 + Math.exp(-slope * g))
      gateGradient[i] = gate[i]! > limit ? 0 : gradient[i]! * (u + 1) * sigmoid * (1 + slope * g * (1 - sigmoid))
      upGradient[i] = Math.abs(up[i]!) > limit ? 0 : gradient[i]! * g * sigmoid
    }
  }
})
