/**
 * ngramBuckets of new tokens whose past is kept: held [batch, orders − 1] are the last ids of each text, the newest last. A row at place p has p tokens before it, one
 * at 0xffffffff is passed over (out 0xffffffff); what is held counts only as far as the place says, so that a row at place 0 begins anew. One thread to a text.
 */
import { make, perElement, readsIndex, updatesIndex, writesIndex } from "../Kernel.ts"
import { bucketOf } from "./ngramBuckets.ts"

export const cachedNgramBuckets = make("cachedNgramBuckets", {
  bindings: { ids: readsIndex, places: readsIndex, held: updatesIndex, out: writesIndex },
  params: { batch: "u32", tokens: "u32", orders: "u32", buckets: "u32" },
  flops: () => 0,
  dispatch: ({ batch }) => perElement(batch),
  source: new URL("./cachedNgramBuckets.wgsl", import.meta.url),
  run: ({ held, ids, out, places }, { batch, buckets, orders, tokens }) => {
    const rows = batch * tokens, before = orders - 1
    for (let entry = 0; entry < batch; entry++) {
      const text = Array.from(held.subarray(entry * before, (entry + 1) * before)) // [orders − 1 + tokens], as they come
      for (let t = 0; t < tokens; t++) {
        const row = entry * tokens + t, place = places[row]!
        if (place !== 0xffffffff) text.push(ids[row]!)
        for (let order = 1; order <= orders; order++) out[(order - 1) * rows + row] = place === 0xffffffff || place + 1 < order ? 0xffffffff : bucketOf(text, text.length - 1, order, buckets)
      }
      for (let at = 0; at < before; at++) held[entry * before + at] = text[text.length - before + at]!
    }
  }
})
