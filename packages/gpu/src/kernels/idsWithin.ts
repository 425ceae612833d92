/** out[i] = ids[start + i] − from where that lies below `entries`, else 0xffffffff: ids as a part of a table counts them. */
import { make, perElement, readsIndex, writesIndex } from "../Kernel.ts"

export const idsWithin = make("idsWithin", {
  bindings: { ids: readsIndex, out: writesIndex },
  params: { count: "u32", start: "u32", from: "u32", entries: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./idsWithin.wgsl", import.meta.url),
  run: ({ ids, out }, { count, entries, from, start }) => {
    for (let i = 0; i < count; i++) {
      const id = ids[start + i]!
      out[i] = id !== 0xffffffff && id >= from && id - from < entries ? id - from : 0xffffffff
    }
  }
})
