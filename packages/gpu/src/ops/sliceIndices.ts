/** Columns from … from + count − 1 of whole numbers. Shapes: x u32 [rows, columns] → u32 [rows, count]. */
import { sliceIndices as kernel } from "../kernels/sliceIndices.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const sliceIndices = (x: Tensor, from: number, count: number): Tensor => {
  expectShape("sliceIndices", "x", x, [undefined, undefined], "u32")
  const [rows, columns] = x.shape as readonly [number, number]
  if (from < 0 || count < 1 || from + count > columns) throw new Error(`sliceIndices: x axis 1 has ${columns} columns, asked for ${from} … ${from + count - 1}`)
  const out = Recording.scratch([rows, count], "u32")
  Recording.step(kernel, { x, out }, { count: rows * count, columns: count, stride: columns, offset: from })
  return out
}
