/** x / √(mean x² + epsilon) · gain, row by row (Zhang & Sennrich 2019). Shapes: x [..., columns], gain [columns]. */
import * as Gradient from "../Gradient.ts"
import { rmsNorm as kernel } from "../kernels/rmsNorm.ts"
import { rmsNormGainGradient } from "../kernels/rmsNormGainGradient.ts"
import { rmsNormGradient } from "../kernels/rmsNormGradient.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { rowsAndColumns } from "./rowsAndColumns.ts"

export const rmsNorm = (x: Tensor, gain: Tensor, epsilon: number): Tensor => {
  const [rows, columns] = rowsAndColumns("rmsNorm", "x", x)
  expectShape("rmsNorm", "gain", gain, [columns])
  const out = Recording.scratch(x.shape), inverse = Recording.scratch([rows])
  Recording.step(kernel, { x, gain, out, inverse }, { rows, columns, epsilon })
  return Gradient.derive(out, [x, gain], (gradient, needs) => {
    const back = needs[0] ? Recording.scratch(x.shape) : undefined, gainBack = needs[1] ? Recording.scratch([columns]) : undefined
    if (back !== undefined) Recording.step(rmsNormGradient, { x, gain, inverse, gradient, out: back }, { rows, columns })
    if (gainBack !== undefined) Recording.step(rmsNormGainGradient, { x, inverse, gradient, out: gainBack }, { rows, columns })
    return [back, gainBack]
  })
}
