/** Columns from … from + count − 1. Shapes: x [rows, columns] → [rows, count]. */
import * as Gradient from "../Gradient.ts"
import { copyColumns } from "../kernels/copyColumns.ts"
import { fill } from "../kernels/fill.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const sliceColumns = (x: Tensor, from: number, count: number): Tensor => {
  expectShape("sliceColumns", "x", x, [undefined, undefined])
  const [rows, columns] = x.shape as readonly [number, number]
  if (from < 0 || count < 1 || from + count > columns) throw new Error(`sliceColumns: x axis 1 has ${columns} columns, asked for ${from} … ${from + count - 1}`)
  const out = Recording.scratch([rows, count])
  Recording.step(copyColumns, { x, out }, { count: rows * count, columns: count, inputStride: columns, inputOffset: from, outStride: count, outOffset: 0 })
  return Gradient.derive(out, [x], (gradient) => {
    const back = Recording.scratch(x.shape)
    Recording.step(fill, { out: back }, { count: rows * columns, value: 0 })
    Recording.step(copyColumns, { x: gradient, out: back }, { count: rows * count, columns: count, inputStride: count, inputOffset: 0, outStride: columns, outOffset: from })
    return [back]
  })
}
