/** Gradients of swiglu: gateGradient = gradient · up · silu′(gate), upGradient = gradient · silu(gate). */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const swigluGradient = make("swigluGradient", {
  bindings: { gate: reads, up: reads, gradient: reads, gateGradient: writes, upGradient: writes },
  params: { count: "u32" },
  flops: ({ count }) => 14 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./swigluGradient.wgsl", import.meta.url),
  run: ({ gate, gateGradient, gradient, up, upGradient }, { count }) => {
    for (let i = 0; i < count; i++) {
      const x = gate[i]!, sigmoid = 1 / (1 + Math.exp(-x))
      upGradient[i] = gradient[i]! * x * sigmoid
      gateGradient[i] = gradient[i]! * up[i]! * sigmoid * (1 + x * (1 - sigmoid))
    }
  }
})
