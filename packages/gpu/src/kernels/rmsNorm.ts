/** Root-mean-square normalisation (Zhang & Sennrich 2019): inverse[row] = 1/√(mean x² + epsilon), out = x · inverse · gain. */
import { make, perRow, reads, writes } from "../Kernel.ts"

export const rmsNorm = make("rmsNorm", {
  bindings: { x: reads, gain: reads, out: writes, inverse: writes },
  params: { rows: "u32", columns: "u32", epsilon: "f32" },
  flops: ({ columns, rows }) => 4 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./rmsNorm.wgsl", import.meta.url),
  run: ({ gain, inverse, out, x }, { columns, epsilon, rows }) => {
    for (let row = 0; row < rows; row++) {
      let sum = 0
      for (let c = row * columns; c < (row + 1) * columns; c++) sum += x[c]! * x[c]!
      const scale = 1 / Math.sqrt(sum / columns + epsilon)
      inverse[row] = scale
      for (let c = 0; c < columns; c++) out[row * columns + c] = x[row * columns + c]! * scale * gain[c]!
    }
  }
})
