/** Gradient of rmsNorm with respect to x: inverse · (gradient · gain − x · inverse² · mean(gradient · gain · x)). */
import { make, perRow, reads, writes } from "../Kernel.ts"

export const rmsNormGradient = make("rmsNormGradient", {
  bindings: { x: reads, gain: reads, inverse: reads, gradient: reads, out: writes },
  params: { rows: "u32", columns: "u32" },
  flops: ({ columns, rows }) => 8 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./rmsNormGradient.wgsl", import.meta.url),
  run: ({ gain, gradient, inverse, out, x }, { columns, rows }) => {
    for (let row = 0; row < rows; row++) {
      const at = row * columns, scale = inverse[row]!
      let dot = 0
      for (let c = 0; c < columns; c++) dot += gradient[at + c]! * gain[c]! * x[at + c]!
      dot = dot * scale * scale / columns
      for (let c = 0; c < columns; c++) out[at + c] = scale * (gradient[at + c]! * gain[c]! - x[at + c]! * dot)
    }
  }
})
