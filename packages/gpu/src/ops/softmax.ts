/** softmax(scale · x) over the last axis. */
import * as Gradient from "../Gradient.ts"
import { softmax as kernel } from "../kernels/softmax.ts"
import { softmaxGradient } from "../kernels/softmaxGradient.ts"
import * as Recording from "../Recording.ts"
import type { Tensor } from "../Tensor.ts"
import { rowsAndColumns } from "./rowsAndColumns.ts"

export const softmax = (x: Tensor, scale = 1): Tensor => {
  const [rows, columns] = rowsAndColumns("softmax", "x", x)
  const out = Recording.scratch(x.shape)
  Recording.step(kernel, { x, out }, { rows, columns, scale })
  return Gradient.derive(out, [x], (gradient) => {
    const back = Recording.scratch(x.shape)
    Recording.step(softmaxGradient, { probability: out, gradient, out: back }, { rows, columns, scale })
    return [back]
  })
}
