/** out[row] = x[row] + bias: the same row added to each; count = rows · columns. */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const addRow = make("addRow", {
  bindings: { x: reads, bias: reads, out: writes },
  params: { count: "u32", columns: "u32" },
  flops: ({ count }) => 1 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./addRow.wgsl", import.meta.url),
  run: ({ bias, out, x }, { columns, count }) => { for (let i = 0; i < count; i++) out[i] = x[i]! + bias[i % columns]! }
})
