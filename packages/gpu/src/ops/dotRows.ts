/** The dot product of each row of a with the same row of b. Shapes: a, b [rows, columns] → [rows]. */
import * as Gradient from "../Gradient.ts"
import { dotRows as kernel } from "../kernels/dotRows.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { rowsAndColumns } from "./rowsAndColumns.ts"
import { scaleRows } from "./scaleRows.ts"

export const dotRows = (a: Tensor, b: Tensor): Tensor => {
  const [rows, columns] = rowsAndColumns("dotRows", "a", a)
  expectShape("dotRows", "b", b, a.shape)
  const out = Recording.scratch([rows])
  Recording.step(kernel, { a, b, out }, { rows, columns })
  return Gradient.derive(out, [a, b], (gradient, needs) => [needs[0] ? scaleRows(b, gradient) : undefined, needs[1] ? scaleRows(a, gradient) : undefined])
}
