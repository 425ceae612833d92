/** Gradient of softmax from its output: out = scale · probability · (gradient − Σ probability · gradient). */
import { make, perRow, reads, writes } from "../Kernel.ts"

export const softmaxGradient = make("softmaxGradient", {
  bindings: { probability: reads, gradient: reads, out: writes },
  params: { rows: "u32", columns: "u32", scale: "f32" },
  flops: ({ columns, rows }) => 5 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./softmaxGradient.wgsl", import.meta.url),
  run: ({ gradient, out, probability }, { columns, rows, scale }) => {
    for (let row = 0; row < rows; row++) {
      const at = row * columns
      let dot = 0
      for (let c = at; c < at + columns; c++) dot += probability[c]! * gradient[c]!
      for (let c = at; c < at + columns; c++) out[c] = scale * probability[c]! * (gradient[c]! - dot)
    }
  }
})
