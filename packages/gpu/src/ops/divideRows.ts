/** Every row divided by its own number. Shapes: x [rows, columns], divisor [rows]. */
import * as Gradient from "../Gradient.ts"
import { divideRows as kernel } from "../kernels/divideRows.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { affine } from "./affine.ts"
import { dotRows } from "./dotRows.ts"
import { rowsAndColumns } from "./rowsAndColumns.ts"
import { view } from "./view.ts"

export const divideRows = (x: Tensor, divisor: Tensor): Tensor => {
  const [rows, columns] = rowsAndColumns("divideRows", "x", x)
  expectShape("divideRows", "divisor", divisor, [rows])
  const out = Recording.scratch(x.shape)
  Recording.step(kernel, { x, divisor, out }, { count: rows * columns, columns })
  return Gradient.derive(out, [x, divisor], (gradient, needs) => [
    needs[0] ? divideRows(gradient, divisor) : undefined,
    needs[1] ? affine(view(divideRows(view(dotRows(gradient, out), [rows, 1]), divisor), [rows]), { scale: -1 }) : undefined // −Σ gradient · out / divisor, [rows]
  ])
}
