/** out[row] = scale[row] · x[row]; count = rows · columns. */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const scaleRows = make("scaleRows", {
  bindings: { x: reads, scale: reads, out: writes },
  params: { count: "u32", columns: "u32" },
  flops: ({ count }) => 1 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./scaleRows.wgsl", import.meta.url),
  run: ({ out, scale, x }, { columns, count }) => { for (let i = 0; i < count; i++) out[i] = x[i]! * scale[Math.floor(i / columns)]! }
})
