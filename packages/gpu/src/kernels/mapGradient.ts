/** out = gradient · f′(x), f chosen by `mode` as in `map`. */
import { make, perElement, reads, writes } from "../Kernel.ts"

import { mapSlope } from "./map.ts"

export const mapGradient = make("mapGradient", {
  bindings: { x: reads, gradient: reads, out: writes },
  params: { count: "u32", mode: "u32" },
  flops: ({ count }) => 10 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./mapGradient.wgsl", import.meta.url),
  run: ({ gradient, out, x }, { count, mode }) => { mapSlope(mode, x, gradient, out, count) }
})
