/** Weight gradients of a grouped product: out[group] = alpha · a[group rows]ᵀ · b[group rows]; out [groups, rows, columns], zero for a group without rows. `total` is the number of rows of a and b. */
import { make, reads, readsIndex, writes, type Workgroups } from "../Kernel.ts"

export const groupedMatmulTN = make("groupedMatmulTN", {
  bindings: { a: reads, b: reads, offsets: readsIndex, out: writes },
  params: { total: "u32", rows: "u32", columns: "u32", groups: "u32", alpha: "f32" },
  flops: ({ columns, rows, total }) => 2 * total * rows * columns,
  dispatch: ({ columns, groups, rows }): Workgroups => [Math.ceil(columns / 64), Math.ceil(rows / 64), groups],
  source: new URL("./groupedMatmulTN.wgsl", import.meta.url),
  run: ({ a, b, offsets, out }, { alpha, columns, groups, rows }) => {
    for (let group = 0; group < groups; group++) for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
      let sum = 0
      for (let k = offsets[group]!; k < offsets[group + 1]!; k++) sum += a[k * rows + row]! * b[k * columns + column]!
      out[(group * rows + row) * columns + column] = alpha * sum
    }
  }
})
