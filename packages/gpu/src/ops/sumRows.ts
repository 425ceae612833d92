/** scale · the sum of all rows. Shapes: x [..., columns] → [columns]. */
import * as Gradient from "../Gradient.ts"
import { addRow } from "../kernels/addRow.ts"
import { fill } from "../kernels/fill.ts"
import { sumRows as kernel } from "../kernels/sumRows.ts"
import * as Recording from "../Recording.ts"
import type { Tensor } from "../Tensor.ts"
import { affine } from "./affine.ts"
import { rowsAndColumns } from "./rowsAndColumns.ts"

export const sumRows = (x: Tensor, scale = 1): Tensor => {
  const [rows, columns] = rowsAndColumns("sumRows", "x", x)
  const out = Recording.scratch([columns])
  Recording.step(kernel, { x, out }, { rows, columns, scale })
  return Gradient.derive(out, [x], (gradient) => {
    const zeros = Recording.scratch(x.shape), spread = Recording.scratch(x.shape), count = rows * columns
    Recording.step(fill, { out: zeros }, { count, value: 0 })
    Recording.step(addRow, { x: zeros, bias: scale === 1 ? gradient : affine(gradient, { scale }), out: spread }, { count, columns })
    return [spread]
  })
}
