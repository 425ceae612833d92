/** The places of the `active` largest of each row, largest first, ties to the lowest place. Shapes: x [rows, columns] → u32 [rows, active]. A choice has no gradient. */
import { topK as kernel } from "../kernels/topK.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const topK = (x: Tensor, active: number): Tensor => {
  expectShape("topK", "x", x, [undefined, undefined])
  const [rows, columns] = x.shape as readonly [number, number]
  if (!Number.isInteger(active) || active < 1 || active > columns) throw new Error(`topK: active must be 1 … ${columns} (axis 1 of x), got ${active}`)
  const ids = Recording.scratch([rows, active], "u32")
  Recording.step(kernel, { x, ids }, { rows, columns, active })
  return ids
}
