/** out[row, ids[row, rank]] += x[row, rank], zero elsewhere. Shapes: x [rows, active], ids u32 [rows, active] → [rows, columns]. */
import * as Gradient from "../Gradient.ts"
import { scatterColumns as kernel } from "../kernels/scatterColumns.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { gatherColumns } from "./gatherColumns.ts"

export const scatterColumns = (x: Tensor, ids: Tensor, columns: number): Tensor => {
  expectShape("scatterColumns", "x", x, [undefined, undefined])
  expectShape("scatterColumns", "ids", ids, x.shape, "u32")
  const [rows, active] = x.shape as readonly [number, number]
  const out = Recording.scratch([rows, columns])
  Recording.step(kernel, { x, ids, out }, { count: rows * columns, columns, active })
  return Gradient.derive(out, [x], (gradient) => [gatherColumns(gradient, ids)])
}
