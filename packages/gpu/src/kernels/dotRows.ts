/** out[row] = Σ over columns of a[row] · b[row]. */
import { make, perRow, reads, writes } from "../Kernel.ts"

export const dotRows = make("dotRows", {
  bindings: { a: reads, b: reads, out: writes },
  params: { rows: "u32", columns: "u32" },
  flops: ({ columns, rows }) => 2 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./dotRows.wgsl", import.meta.url),
  run: ({ a, b, out }, { columns, rows }) => {
    for (let row = 0; row < rows; row++) {
      let sum = 0
      for (let c = row * columns; c < (row + 1) * columns; c++) sum += a[c]! * b[c]!
      out[row] = sum
    }
  }
})
