/** out[row, rank] = x[row, ids[row, rank]]; count = rows · active. */
import { make, perElement, reads, readsIndex, writes } from "../Kernel.ts"

export const gatherColumns = make("gatherColumns", {
  bindings: { x: reads, ids: readsIndex, out: writes },
  params: { count: "u32", columns: "u32", active: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./gatherColumns.wgsl", import.meta.url),
  run: ({ ids, out, x }, { active, columns, count }) => { for (let i = 0; i < count; i++) out[i] = x[Math.floor(i / active) * columns + ids[i]!]! }
})
