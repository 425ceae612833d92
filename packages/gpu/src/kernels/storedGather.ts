/** out[row] = table[floor(ids[row] / divisor)], the table stored; an id of 0xffffffff gives zeros. count = rows · columns; total: numbers of the table. */
import { make, perElement, readsIndex, readsStored, writes } from "../Kernel.ts"
import { widened } from "../Storage.ts"

export const storedGather = make("storedGather", {
  bindings: { weight: readsStored, ids: readsIndex, out: writes },
  params: { count: "u32", columns: "u32", divisor: "u32", total: "u32", format: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./storedGather.wgsl", import.meta.url),
  run: ({ ids, out, weight }, { columns, count, divisor, format, total }) => {
    for (let row = 0; row < count / columns; row++) {
      const id = ids[row]!
      out.set(id === 0xffffffff ? new Float32Array(columns) : widened(format, weight, total, Math.floor(id / divisor) * columns, columns), row * columns)
    }
  }
})
