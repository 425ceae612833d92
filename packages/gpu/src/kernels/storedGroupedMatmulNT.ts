/** Each contiguous group of rows times its own stored matrix: out[row] = alpha · x[row] · weight[group]ᵀ; weight [groups, columns, inner]; group g owns rows offsets[g] … offsets[g + 1] − 1, and all rows are owned. */
import { make, reads, readsIndex, readsStored, type Workgroups, writes } from "../Kernel.ts"
import { widened } from "../Storage.ts"

export const storedGroupedMatmulNT = make("storedGroupedMatmulNT", {
  bindings: { x: reads, weight: readsStored, offsets: readsIndex, out: writes },
  params: { rows: "u32", columns: "u32", inner: "u32", groups: "u32", alpha: "f32", total: "u32", format: "u32" },
  flops: ({ columns, inner, rows }) => 2 * rows * columns * inner,
  dispatch: ({ columns, groups, rows }): Workgroups => [Math.ceil(columns / 64), Math.ceil(rows / 64), groups],
  source: new URL("./storedGroupedMatmulNT.wgsl", import.meta.url),
  run: ({ offsets, out, weight, x }, { alpha, columns, format, groups, inner, total }) => {
    for (let group = 0; group < groups; group++) {
      const numbers = widened(format, weight, total, group * columns * inner, columns * inner)
      for (let row = offsets[group]!; row < offsets[group + 1]!; row++) for (let column = 0; column < columns; column++) {
        let sum = 0
        for (let k = 0; k < inner; k++) sum += x[row * inner + k]! * numbers[column * inner + k]!
        out[row * columns + column] = alpha * sum
      }
    }
  }
})
