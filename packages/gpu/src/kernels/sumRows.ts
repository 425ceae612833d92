/** out[column] = scale · Σ over rows of x[·, column]. */
import { groups, make, reads, writes } from "../Kernel.ts"

export const sumRows = make("sumRows", {
  bindings: { x: reads, out: writes },
  params: { rows: "u32", columns: "u32", scale: "f32" },
  flops: ({ columns, rows }) => rows * columns,
  dispatch: ({ columns }) => groups(Math.ceil(columns / 16)),
  source: new URL("./sumRows.wgsl", import.meta.url),
  run: ({ out, x }, { columns, rows, scale }) => {
    const sums = new Float64Array(columns)
    for (let row = 0; row < rows; row++) for (let c = 0; c < columns; c++) sums[c]! += x[row * columns + c]!
    for (let c = 0; c < columns; c++) out[c] = scale * sums[c]!
  }
})
