/** Rows laid down in a cache [batch, capacity, columns]: row i of the batch's entry floor(i / tokens) goes to places[i]; a place of 0xffffffff leaves the row out. count = rows · columns. */
import { make, perElement, reads, readsIndex, updates } from "../Kernel.ts"

export const cacheRows = make("cacheRows", {
  bindings: { x: reads, places: readsIndex, cache: updates },
  params: { count: "u32", columns: "u32", tokens: "u32", capacity: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./cacheRows.wgsl", import.meta.url),
  run: ({ cache, places, x }, { capacity, columns, count, tokens }) => {
    for (let i = 0; i < count; i++) {
      const row = Math.floor(i / columns), place = places[row]!
      if (place < capacity) cache[(Math.floor(row / tokens) * capacity + place) * columns + i % columns] = x[i]!
    }
  }
})
