/** Every row times its own number. Shapes: x [rows, columns], scale [rows]. */
import * as Gradient from "../Gradient.ts"
import { scaleRows as kernel } from "../kernels/scaleRows.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { dotRows } from "./dotRows.ts"
import { rowsAndColumns } from "./rowsAndColumns.ts"

export const scaleRows = (x: Tensor, scale: Tensor): Tensor => {
  const [rows, columns] = rowsAndColumns("scaleRows", "x", x)
  expectShape("scaleRows", "scale", scale, [rows])
  const out = Recording.scratch(x.shape)
  Recording.step(kernel, { x, scale, out }, { count: rows * columns, columns })
  return Gradient.derive(out, [x, scale], (gradient, needs) => [needs[0] ? scaleRows(gradient, scale) : undefined, needs[1] ? dotRows(gradient, x) : undefined])
}
