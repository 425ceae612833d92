/** Gradient of rmsNorm with respect to the gain: out[column] = Σ over rows of gradient · x · inverse[row]. */
import { groups, make, reads, writes } from "../Kernel.ts"

export const rmsNormGainGradient = make("rmsNormGainGradient", {
  bindings: { x: reads, inverse: reads, gradient: reads, out: writes },
  params: { rows: "u32", columns: "u32" },
  flops: ({ columns, rows }) => 3 * rows * columns,
  dispatch: ({ columns }) => groups(Math.ceil(columns / 16)),
  source: new URL("./rmsNormGainGradient.wgsl", import.meta.url),
  run: ({ gradient, inverse, out, x }, { columns, rows }) => {
    const sums = new Float64Array(columns)
    for (let row = 0; row < rows; row++) for (let c = 0; c < columns; c++) sums[c]! += gradient[row * columns + c]! * x[row * columns + c]! * inverse[row]!
    out.set(sums.subarray(0, columns))
  }
})
