/**
 * Hashed n-grams that end at each row: out[order − 1, row] = (order − 1) · buckets + hash(ids[row − order + 1 … row]) mod buckets, for orders 1 … orders; 0xffffffff
 * where a text has fewer tokens. Rows of one text follow each other, places[row] says how many of them stand before it.
 */
import { make, perElement, readsIndex, writesIndex } from "../Kernel.ts"

/** The bucket of an n-gram of one order: the same on every device and when a table is made. */
export const bucketOf = (ids: ArrayLike<number>, last: number, order: number, buckets: number): number => {
  let hash = order
  for (let at = last - order + 1; at <= last; at++) {
    const mixed = Math.imul(hash ^ ids[at]!, 0x9e3779b1)
    hash = mixed ^ (mixed >>> 15)
  }
  return (order - 1) * buckets + (Math.imul(hash, 0x85ebca6b) >>> 8) % buckets
}

export const ngramBuckets = make("ngramBuckets", {
  bindings: { ids: readsIndex, places: readsIndex, out: writesIndex },
  params: { count: "u32", rows: "u32", buckets: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./ngramBuckets.wgsl", import.meta.url),
  run: ({ ids, out, places }, { buckets, count, rows }) => {
    for (let i = 0; i < count; i++) {
      const order = Math.floor(i / rows) + 1, row = i % rows
      out[i] = places[row] === 0xffffffff || places[row]! + 1 < order ? 0xffffffff : bucketOf(ids, row, order, buckets)
    }
  }
})
