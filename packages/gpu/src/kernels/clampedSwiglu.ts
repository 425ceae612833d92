/** out = g · sigmoid(slope · g) · (u + 1), g = min(gate, limit), u = up between −limit and limit (gpt-oss). */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const clampedSwiglu = make("clampedSwiglu", {
  bindings: { gate: reads, up: reads, out: writes },
  params: { count: "u32", slope: "f32", limit: "f32" },
  flops: ({ count }) => 10 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./clampedSwiglu.wgsl", import.meta.url),
  run: ({ gate, out, up }, { count, limit, slope }) => {
    for (let i = 0; i < count; i++) {
      const g = Math.min(gate[i]!, limit), u = Math.min(Math.max(up[i]!, -limit), limit)
      out[i] = g / (1 + Math.exp(-slope * g)) * (u + 1)
    }
  }
})
