/** out = x · weightᵀ, weight [columns, inner] stored and widened on the way; x [rows, inner]: the layout of a linear layer's forward. */
import { make, reads, readsStored, type Workgroups, writes } from "../Kernel.ts"
import { widened } from "../Storage.ts"

export const storedMatmulNT = make("storedMatmulNT", {
  bindings: { x: reads, weight: readsStored, out: writes },
  params: { rows: "u32", columns: "u32", inner: "u32", total: "u32", format: "u32" },
  flops: ({ columns, inner, rows }) => 2 * rows * columns * inner,
  dispatch: ({ columns, rows }): Workgroups => [Math.ceil(columns / 64), Math.ceil(rows / 64), 1],
  source: new URL("./storedMatmulNT.wgsl", import.meta.url),
  run: ({ out, weight, x }, { columns, format, inner, rows, total }) => {
    const numbers = widened(format, weight, total, 0, total)
    for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
      let sum = 0
      for (let k = 0; k < inner; k++) sum += x[row * inner + k]! * numbers[column * inner + k]!
      out[row * columns + column] = sum
    }
  }
})
