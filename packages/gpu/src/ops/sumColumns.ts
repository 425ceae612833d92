/** scale · the sum of each row. Shapes: x [rows, columns] → [rows]; x of more axes counts all but the last as rows. */
import * as Gradient from "../Gradient.ts"
import { fill } from "../kernels/fill.ts"
import { scaleRows } from "../kernels/scaleRows.ts"
import { sumColumns as kernel } from "../kernels/sumColumns.ts"
import * as Recording from "../Recording.ts"
import type { Tensor } from "../Tensor.ts"
import { rowsAndColumns } from "./rowsAndColumns.ts"

export const sumColumns = (x: Tensor, scale = 1): Tensor => {
  const [rows, columns] = rowsAndColumns("sumColumns", "x", x)
  const out = Recording.scratch([rows])
  Recording.step(kernel, { x, out }, { rows, columns, scale })
  return Gradient.derive(out, [x], (gradient) => {
    const constant = Recording.scratch(x.shape), spread = Recording.scratch(x.shape), count = rows * columns
    Recording.step(fill, { out: constant }, { count, value: scale })
    Recording.step(scaleRows, { x: constant, scale: gradient, out: spread }, { count, columns })
    return [spread]
  })
}
