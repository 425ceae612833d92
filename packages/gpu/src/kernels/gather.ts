/** out[row] = table[floor(ids[row] / divisor)]; an id of 0xffffffff gives zeros. count = rows · columns. */
import { make, perElement, reads, readsIndex, writes } from "../Kernel.ts"

export const gather = make("gather", {
  bindings: { table: reads, ids: readsIndex, out: writes },
  params: { count: "u32", columns: "u32", divisor: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./gather.wgsl", import.meta.url),
  run: ({ ids, out, table }, { columns, count, divisor }) => {
    for (let i = 0; i < count; i++) {
      const id = ids[Math.floor(i / columns)]!
      out[i] = id === 0xffffffff ? 0 : table[Math.floor(id / divisor) * columns + i % columns]!
    }
  }
})
