/** out[row] = x[row] / divisor[row]; count = rows · columns. */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const divideRows = make("divideRows", {
  bindings: { x: reads, divisor: reads, out: writes },
  params: { count: "u32", columns: "u32" },
  flops: ({ count }) => 1 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./divideRows.wgsl", import.meta.url),
  run: ({ divisor, out, x }, { columns, count }) => { for (let i = 0; i < count; i++) out[i] = x[i]! / divisor[Math.floor(i / columns)]! }
})
