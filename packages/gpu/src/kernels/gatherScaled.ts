/** out[row] = scale[ids[row]] · table[floor(ids[row] / divisor)]: the gradient of combine with respect to its rows. count = rows · columns. */
import { make, perElement, reads, readsIndex, writes } from "../Kernel.ts"

export const gatherScaled = make("gatherScaled", {
  bindings: { table: reads, ids: readsIndex, scale: reads, out: writes },
  params: { count: "u32", columns: "u32", divisor: "u32" },
  flops: ({ count }) => 1 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./gatherScaled.wgsl", import.meta.url),
  run: ({ ids, out, scale, table }, { columns, count, divisor }) => {
    for (let i = 0; i < count; i++) {
      const id = ids[Math.floor(i / columns)]!
      out[i] = scale[id]! * table[Math.floor(id / divisor) * columns + i % columns]!
    }
  }
})
