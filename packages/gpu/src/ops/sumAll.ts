/** scale · the sum of all elements, as a loss needs it. Shapes: x [...] → [1]. */
import { type Tensor } from "../Tensor.ts"
import { rowsAndColumns } from "./rowsAndColumns.ts"
import { sumColumns } from "./sumColumns.ts"
import { view } from "./view.ts"

export const sumAll = (x: Tensor, scale = 1): Tensor => {
  const [rows, columns] = rowsAndColumns("sumAll", "x", x)
  if (rows === 1) return sumColumns(view(x, [1, columns]), scale)
  return sumColumns(view(sumColumns(x), [1, rows]), scale) // first along columns, then along rows
}
