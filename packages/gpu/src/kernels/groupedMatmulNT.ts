/** Each contiguous group of rows times its own matrix: out[row] = alpha · x[row] · weight[group]ᵀ; weight [groups, columns, inner]; group g owns rows offsets[g] … offsets[g + 1] − 1, and all rows are owned. */
import { make, reads, readsIndex, writes, type Workgroups } from "../Kernel.ts"

export const groupedMatmulNT = make("groupedMatmulNT", {
  bindings: { x: reads, weight: reads, offsets: readsIndex, out: writes },
  params: { rows: "u32", columns: "u32", inner: "u32", groups: "u32", alpha: "f32" },
  flops: ({ columns, inner, rows }) => 2 * rows * columns * inner,
  dispatch: ({ columns, groups, rows }): Workgroups => [Math.ceil(columns / 64), Math.ceil(rows / 64), groups],
  source: new URL("./groupedMatmulNT.wgsl", import.meta.url),
  run: ({ offsets, out, weight, x }, { alpha, columns, groups, inner }) => {
    for (let group = 0; group < groups; group++) for (let row = offsets[group]!; row < offsets[group + 1]!; row++) for (let column = 0; column < columns; column++) {
      let sum = 0
      for (let k = 0; k < inner; k++) sum += x[row * inner + k]! * weight[group * columns * inner + column * inner + k]!
      out[row * columns + column] = alpha * sum
    }
  }
})
