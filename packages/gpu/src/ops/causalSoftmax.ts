/**
 * softmax(scale · scores) over the keys that a query may see: its own position and those before it, the last `window` of them if given.
 *
 * Shapes: scores [..., keys]; the query of row r stands at position r mod `queries`.
 */
import * as Gradient from "../Gradient.ts"
import { causalSoftmax as kernel } from "../kernels/causalSoftmax.ts"
import { softmaxGradient } from "../kernels/softmaxGradient.ts"
import * as Recording from "../Recording.ts"
import type { Tensor } from "../Tensor.ts"
import { rowsAndColumns } from "./rowsAndColumns.ts"

export const causalSoftmax = (scores: Tensor, options: { readonly queries: number; readonly scale?: number; readonly window?: number | undefined }): Tensor => {
  const { queries, scale = 1, window = 0 } = options
  const [rows, columns] = rowsAndColumns("causalSoftmax", "scores", scores)
  if (rows % queries !== 0) throw new Error(`causalSoftmax: ${rows} rows are not a multiple of ${queries} queries`)
  const out = Recording.scratch(scores.shape)
  Recording.step(kernel, { x: scores, out }, { rows, columns, queries, offset: 0, window, scale })
  return Gradient.derive(out, [scores], (gradient) => {
    const back = Recording.scratch(scores.shape) // masked places have probability 0, so gradient 0
    Recording.step(softmaxGradient, { probability: out, gradient, out: back }, { rows, columns, scale })
    return [back]
  })
}
