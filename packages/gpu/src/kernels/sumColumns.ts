/** out[row] = scale · Σ over columns of x[row]. */
import { make, perRow, reads, writes } from "../Kernel.ts"

export const sumColumns = make("sumColumns", {
  bindings: { x: reads, out: writes },
  params: { rows: "u32", columns: "u32", scale: "f32" },
  flops: ({ columns, rows }) => rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./sumColumns.wgsl", import.meta.url),
  run: ({ out, x }, { columns, rows, scale }) => {
    for (let row = 0; row < rows; row++) {
      let sum = 0
      for (let c = 0; c < columns; c++) sum += x[row * columns + c]!
      out[row] = scale * sum
    }
  }
})
