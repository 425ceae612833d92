/** Values of the first `columns` places of a cache mixed by weights: out[row, head, d] = Σ over the keys that row sees (as cachedScores says) of weights[row, head, key] · values[batch, key, group of head, d]. count = rows · heads · headSize. */
import { make, perElement, reads, readsIndex, writes } from "../Kernel.ts"

export const cachedMix = make("cachedMix", {
  bindings: { weights: reads, values: reads, places: readsIndex, out: writes },
  params: { count: "u32", tokens: "u32", heads: "u32", keyValueHeads: "u32", headSize: "u32", capacity: "u32", columns: "u32", window: "u32" },
  flops: ({ columns, count }) => 2 * count * columns,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./cachedMix.wgsl", import.meta.url),
  run: ({ out, places, values, weights }, { capacity, columns, count, headSize, heads, keyValueHeads, tokens, window }) => {
    const group = heads / keyValueHeads
    for (let i = 0; i < count; i++) {
      const d = i % headSize, head = Math.floor(i / headSize), row = Math.floor(head / heads), place = places[row]!, end = place < columns ? place + 1 : 0
      const column = Math.floor(head % heads / group) * headSize + d
      let sum = 0
      for (let key = window === 0 ? 0 : Math.max(0, end - window); key < end; key++) sum += weights[head * columns + key]! * values[(Math.floor(row / tokens) * capacity + key) * keyValueHeads * headSize + column]!
      out[i] = sum
    }
  }
})
