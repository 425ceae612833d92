/** Softmax of scores against a cache: row r, of head r mod heads, stands at places[floor(r / heads)] and sees what cachedScores says; the rest of out is zero. Rows = rows of the batch · heads; columns as there. */
import { make, perRow, reads, readsIndex, writes } from "../Kernel.ts"

export const cachedSoftmax = make("cachedSoftmax", {
  bindings: { x: reads, places: readsIndex, out: writes },
  params: { rows: "u32", columns: "u32", heads: "u32", window: "u32" },
  flops: ({ columns, rows }) => 12 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./cachedSoftmax.wgsl", import.meta.url),
  run: ({ out, places, x }, { columns, heads, rows, window }) => {
    for (let row = 0; row < rows; row++) {
      const place = places[Math.floor(row / heads)]!, at = row * columns, end = place < columns ? place + 1 : 0, begin = window === 0 ? 0 : Math.max(0, end - window)
      let largest = -Infinity, sum = 0
      for (let c = begin; c < end; c++) largest = Math.max(largest, x[at + c]!)
      for (let c = begin; c < end; c++) sum += out[at + c] = Math.exp(x[at + c]! - largest)
      for (let c = begin; c < end; c++) out[at + c] = out[at + c]! / sum
      out.fill(0, at, at + begin).fill(0, at + end, at + columns)
    }
  }
})
