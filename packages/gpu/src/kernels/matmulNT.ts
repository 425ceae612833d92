/** out = alpha · a · bᵀ (+ out when `accumulate`), batched; a [rows, inner], b [columns, inner]: the layout of a linear layer's forward. */
import { make, reads, updates, type Workgroups } from "../Kernel.ts"

export const matmulNT = make("matmulNT", {
  bindings: { a: reads, b: reads, out: updates },
  params: { batch: "u32", rows: "u32", columns: "u32", inner: "u32", strideA: "u32", strideB: "u32", alpha: "f32", accumulate: "u32" },
  flops: ({ batch, columns, inner, rows }) => 2 * batch * rows * columns * inner,
  dispatch: ({ batch, columns, rows }): Workgroups => [Math.ceil(columns / 64), Math.ceil(rows / 64), batch],
  source: new URL("./matmulNT.wgsl", import.meta.url),
  run: ({ a, b, out }, { accumulate, alpha, batch, columns, inner, rows, strideA, strideB }) => {
    for (let i = 0; i < batch; i++) for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
      let sum = 0
      for (let k = 0; k < inner; k++) sum += a[i * strideA + row * inner + k]! * b[i * strideB + column * inner + k]!
      const at = (i * rows + row) * columns + column
      out[at] = alpha * sum + (accumulate ? out[at]! : 0)
    }
  }
})
