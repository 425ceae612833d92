/**
 * out[row] = softmax(scale · x[row]) over the keys that the row sees, zero elsewhere; columns are keys as cachedHeads lays them out. Row r is token r mod `tokens` of batch entry
 * ⌊r / (tokens · heads)⌋ mod `batch`: at place p it sees keys 0 … p, the last `window` of them unless window is 0; at 0xffffffff none.
 */
import { make, perRow, reads, readsIndex, writes } from "../Kernel.ts"

export const placedSoftmax = make("placedSoftmax", {
  bindings: { x: reads, places: readsIndex, out: writes },
  params: { rows: "u32", columns: "u32", batch: "u32", tokens: "u32", heads: "u32", window: "u32", scale: "f32" },
  flops: ({ columns, rows }) => 12 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./placedSoftmax.wgsl", import.meta.url),
  run: ({ out, places, x }, { batch, columns, heads, rows, scale, tokens, window }) => {
    for (let row = 0; row < rows; row++) {
      const entry = Math.floor(row / (tokens * heads)) % batch, place = places[entry * tokens + row % tokens]!, none = place === 0xffffffff
      const shift = window === 0 || none ? 0 : Math.max(0, places[entry * tokens]! + 1 - window), at = row * columns
      const end = none ? 0 : Math.min(columns, place + 1 - shift), begin = window === 0 ? 0 : Math.max(0, end - window)
      let largest = -Infinity, sum = 0
      for (let c = begin; c < end; c++) largest = Math.max(largest, scale * x[at + c]!)
      for (let c = begin; c < end; c++) sum += out[at + c] = Math.exp(scale * x[at + c]! - largest)
      for (let c = begin; c < end; c++) out[at + c] = out[at + c]! / sum
      out.fill(0, at, at + begin).fill(0, at + end, at + columns)
    }
  }
})
