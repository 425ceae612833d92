/** The same row added to every row. Shapes: x [..., columns], bias [columns]. */
import * as Gradient from "../Gradient.ts"
import { addRow as kernel } from "../kernels/addRow.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { rowsAndColumns } from "./rowsAndColumns.ts"
import { sumRows } from "./sumRows.ts"

export const addRow = (x: Tensor, bias: Tensor): Tensor => {
  const [rows, columns] = rowsAndColumns("addRow", "x", x)
  expectShape("addRow", "bias", bias, [columns])
  const out = Recording.scratch(x.shape)
  Recording.step(kernel, { x, bias, out }, { count: rows * columns, columns })
  return Gradient.derive(out, [x, bias], (gradient, needs) => [gradient, needs[1] ? sumRows(gradient) : undefined])
}
