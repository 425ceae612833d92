/** Gradient of prefixPool: out[batch, s] = Σ over t ≥ s (t > s when `exclusive`) of decay^(t−s) · gradient[batch, t], each divided by its mean's weight. */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const prefixPoolGradient = make("prefixPoolGradient", {
  bindings: { gradient: reads, out: writes },
  params: { count: "u32", tokens: "u32", columns: "u32", decay: "f32", mean: "u32", exclusive: "u32" },
  flops: ({ count, tokens }) => 3 * count * tokens,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./prefixPoolGradient.wgsl", import.meta.url),
  run: ({ gradient, out }, { columns, count, decay, exclusive, mean, tokens }) => {
    for (let i = 0; i < count; i++) {
      const base = Math.floor(i / columns) * tokens * columns + i % columns
      let sum = 0
      for (let t = tokens - 1; t >= 0; t--) {
        const at = base + t * columns, terms = exclusive ? t : t + 1 // Σ decay^i over `terms` powers
        const weight = !mean || terms === 0 ? 1 : decay === 1 ? terms : (1 - decay ** terms) / (1 - decay)
        const own = gradient[at]! / weight
        // the exclusive form carries one power of decay less: out[t] holds x[t − 1] undecayed
        if (exclusive) { out[at] = sum; sum = decay * sum + (terms === 0 ? 0 : own) } else { sum = decay * sum + own; out[at] = sum }
      }
    }
  }
})
