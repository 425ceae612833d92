/** out = silu(gate) · up. */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const swiglu = make("swiglu", {
  bindings: { gate: reads, up: reads, out: writes },
  params: { count: "u32" },
  flops: ({ count }) => 6 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./swiglu.wgsl", import.meta.url),
  run: ({ gate, out, up }, { count }) => {
    for (let i = 0; i < count; i++) out[i] = gate[i]! / (1 + Math.exp(-gate[i]!)) * up[i]!
  }
})
