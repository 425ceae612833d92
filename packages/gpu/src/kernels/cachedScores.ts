/**
 * Attention scores against a cache: out[row, head, key] = scale · q[row, head] · keys[batch, key, group of head] for the keys that row sees, 0 for the others, of the
 * cache's first `columns` keys. A row at place p sees 0 … p, the last `window` of them unless window is 0; at 0xffffffff it sees none. count = rows · heads · columns.
 */
import { make, perElement, reads, readsIndex, writes } from "../Kernel.ts"

export const cachedScores = make("cachedScores", {
  bindings: { q: reads, keys: reads, places: readsIndex, out: writes },
  params: { count: "u32", tokens: "u32", heads: "u32", keyValueHeads: "u32", headSize: "u32", capacity: "u32", columns: "u32", window: "u32", scale: "f32" },
  flops: ({ count, headSize }) => 2 * count * headSize,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./cachedScores.wgsl", import.meta.url),
  run: ({ keys, out, places, q }, { capacity, columns, count, headSize, heads, keyValueHeads, scale, tokens, window }) => {
    const group = heads / keyValueHeads
    for (let i = 0; i < count; i++) {
      const key = i % columns, head = Math.floor(i / columns), row = Math.floor(head / heads), place = places[row]!
      const seen = place < columns && key <= place && (window === 0 || key + window > place)
      const x = head * headSize, y = ((Math.floor(row / tokens) * capacity + key) * keyValueHeads + Math.floor(head % heads / group)) * headSize
      let sum = 0
      if (seen) for (let d = 0; d < headSize; d++) sum += q[x + d]! * keys[y + d]!
      out[i] = seen ? scale * sum : 0
    }
  }
})
