/**
 * The part of a cache that a pass may see, head by head: cache [batch, capacity, heads, headSize] → out [batch, heads, columns, headSize]. Places of one batch entry go up by
 * one from its first, p; what is left out stands behind them. Column c is key c, or with a window key c + max(0, p + 1 − window): none before it is seen. A key past the entry's
 * last place is zero, whatever the cache holds there; so is all of an entry without a place. count = batch · heads · columns · headSize.
 */
import { make, perElement, reads, readsIndex, writes } from "../Kernel.ts"

export const cachedHeads = make("cachedHeads", {
  bindings: { cache: reads, places: readsIndex, out: writes },
  params: { count: "u32", tokens: "u32", heads: "u32", headSize: "u32", capacity: "u32", columns: "u32", window: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./cachedHeads.wgsl", import.meta.url),
  run: ({ cache, out, places }, { capacity, columns, count, headSize, heads, tokens, window }) => {
    for (let i = 0; i < count; i++) {
      const head = Math.floor(i / headSize / columns), entry = Math.floor(head / heads), first = places[entry * tokens]!
      const key = Math.floor(i / headSize) % columns + (window === 0 ? 0 : Math.max(0, first + 1 - window))
      const held = first < capacity && key < capacity && (key < first || (key < first + tokens && places[entry * tokens + key - first] === key))
      out[i] = held ? cache[((entry * capacity + key) * heads + head % heads) * headSize + i % headSize]! : 0
    }
  }
})
