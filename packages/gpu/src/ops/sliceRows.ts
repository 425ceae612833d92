/** Entries from … from + count − 1 of the first axis; f32 of a stored tensor too. Shapes: x [rows, ...] → [count, ...]. */
import { isStorage } from "../Storage.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { joinRows } from "./joinRows.ts"
import { sliceColumns } from "./sliceColumns.ts"
import { view } from "./view.ts"
import { widen } from "./widen.ts"

export const sliceRows = (x: Tensor, from: number, count: number): Tensor => {
  expectShape("sliceRows", "x", x, x.shape, "weight")
  const [rows = 0, ...rest] = x.shape
  if (from < 0 || count < 1 || from + count > rows) throw new Error(`sliceRows: x axis 0 has ${rows} rows, asked for ${from} … ${from + count - 1}`)
  if (x.parts !== undefined) {
    let start = 0
    const slices = x.parts.flatMap((part) => {
      const begin = Math.max(from, start), end = Math.min(from + count, start + part.shape[0]!), at = begin - start
      start += part.shape[0]!
      return end > begin ? [sliceRows(part, at, end - begin)] : []
    })
    return slices.length === 1 ? slices[0]! : joinRows(slices)
  }
  if (isStorage(x.dtype)) return widen(x, from, count)
  const width = x.slot.length / rows
  return view(sliceColumns(view(x, [1, rows * width]), from * width, count * width), [count, ...rest]) // one long row
}
