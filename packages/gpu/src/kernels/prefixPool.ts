/** Causal pooling along tokens: out[batch, t] = Σ over s ≤ t of decay^(t−s) · x[batch, s], divided by Σ decay^(t−s) when `mean`; only s < t when `exclusive` (then out[0] = 0). count = batch · columns, one thread each. */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const prefixPool = make("prefixPool", {
  bindings: { x: reads, out: writes },
  params: { count: "u32", tokens: "u32", columns: "u32", decay: "f32", mean: "u32", exclusive: "u32" },
  flops: ({ count, tokens }) => 3 * count * tokens,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./prefixPool.wgsl", import.meta.url),
  run: ({ out, x }, { columns, count, decay, exclusive, mean, tokens }) => {
    for (let i = 0; i < count; i++) {
      const base = Math.floor(i / columns) * tokens * columns + i % columns
      let sum = 0, weight = 0
      for (let t = 0; t < tokens; t++) {
        const at = base + t * columns
        if (exclusive) out[at] = mean ? (weight === 0 ? 0 : sum / weight) : sum
        sum = decay * sum + x[at]!
        weight = decay * weight + 1
        if (!exclusive) out[at] = mean ? sum / weight : sum
      }
    }
  }
})
