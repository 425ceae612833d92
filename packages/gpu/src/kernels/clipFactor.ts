/** From squared norms of the gradients' parts: out[1] = their norm, out[0] = min(1, maximum / norm): what scales gradients so that their global norm stays at or below `maximum` (0 = no limit). */
import { make, reads, writes } from "../Kernel.ts"

export const clipFactor = make("clipFactor", {
  bindings: { squares: reads, out: writes },
  params: { count: "u32", maximum: "f32" },
  flops: ({ count }) => count,
  dispatch: () => [1, 1, 1],
  source: new URL("./clipFactor.wgsl", import.meta.url),
  run: ({ out, squares }, { count, maximum }) => {
    let sum = 0
    for (let i = 0; i < count; i++) sum += squares[i]!
    const norm = Math.sqrt(sum)
    out[0] = maximum > 0 && norm > maximum ? maximum / norm : 1
    out[1] = norm
  }
})
