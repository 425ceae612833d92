/** Softmax of attention scores: the query of row r stands at r mod queries + offset and sees keys 0 … that position, only the last `window` of them unless window is 0; the rest of out is zero. Rows = batch · heads · queries; columns = keys. */
import { make, perRow, reads, writes } from "../Kernel.ts"

export const causalSoftmax = make("causalSoftmax", {
  bindings: { x: reads, out: writes },
  params: { rows: "u32", columns: "u32", queries: "u32", offset: "u32", window: "u32", scale: "f32" },
  flops: ({ columns, rows }) => 12 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./causalSoftmax.wgsl", import.meta.url),
  run: ({ out, x }, { columns, offset, queries, rows, scale, window }) => {
    for (let row = 0; row < rows; row++) {
      const at = row * columns, end = Math.min(columns, row % queries + offset + 1), begin = window === 0 ? 0 : Math.max(0, end - window)
      let largest = -Infinity, sum = 0
      for (let c = begin; c < end; c++) largest = Math.max(largest, scale * x[at + c]!)
      for (let c = begin; c < end; c++) sum += out[at + c] = Math.exp(scale * x[at + c]! - largest)
      for (let c = begin; c < end; c++) out[at + c] = out[at + c]! / sum
      out.fill(0, at, at + begin).fill(0, at + end, at + columns)
    }
  }
})
