/** out[row] = softmax(scale · x[row]). */
import { make, perRow, reads, writes } from "../Kernel.ts"

export const softmax = make("softmax", {
  bindings: { x: reads, out: writes },
  params: { rows: "u32", columns: "u32", scale: "f32" },
  flops: ({ columns, rows }) => 12 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./softmax.wgsl", import.meta.url),
  run: ({ out, x }, { columns, rows, scale }) => {
    for (let row = 0; row < rows; row++) {
      const at = row * columns
      let largest = -Infinity, sum = 0
      for (let c = at; c < at + columns; c++) largest = Math.max(largest, scale * x[c]!)
      for (let c = at; c < at + columns; c++) sum += out[c] = Math.exp(scale * x[c]! - largest)
      for (let c = at; c < at + columns; c++) out[c] = out[c]! / sum
    }
  }
})
