/**
 * Rows of a table by number: out[row] = table[floor(ids[row] / divisor)]; an id of 0xffffffff gives zeros.
 *
 * Shapes: table [entries, columns] f32 or stored (then without a gradient), ids u32 [rows] → [rows, columns]. The gradient sums, for each entry, the rows that asked for it in
 * their order (sort and segment sum): no atomics, the same bits every time.
 */
import * as Gradient from "../Gradient.ts"
import { gather } from "../kernels/gather.ts"
import { segmentSum } from "../kernels/segmentSum.ts"
import { storedGather } from "../kernels/storedGather.ts"
import * as Recording from "../Recording.ts"
import { isStorage } from "../Storage.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { add } from "./add.ts"
import { countingSort } from "./countingSort.ts"
import { idsWithin } from "./idsWithin.ts"
import { permute } from "./permute.ts"
import { sumColumns } from "./sumColumns.ts"
import { view } from "./view.ts"
import { refuseTraining, storedAs } from "./weightProducts.ts"

export const gatherRows = (table: Tensor, ids: Tensor, divisor = 1): Tensor => {
  expectShape("gatherRows", "table", table, [undefined, undefined], "weight")
  expectShape("gatherRows", "ids", ids, [undefined], "u32")
  if (table.parts !== undefined) {
    let from = 0
    return table.parts.map((part) => {
      const count = part.shape[0]! * divisor, rows = gatherRows(part, idsWithin(ids, { from, entries: count }), divisor) // zeros where the id is another part's
      from += count
      return rows
    }).reduce((sum, rows) => add(sum, rows))
  }
  const [entries, columns] = table.shape as readonly [number, number], rows = ids.shape[0]!
  const out = Recording.scratch([rows, columns])
  if (isStorage(table.dtype)) {
    Recording.step(storedGather, { weight: table, ids, out }, { count: rows * columns, columns, divisor, ...storedAs(table) })
    return Gradient.derive(out, [table], () => refuseTraining("gatherRows", table))
  }
  Recording.step(gather, { table, ids, out }, { count: rows * columns, columns, divisor })
  return Gradient.derive(out, [table], (gradient) => {
    const bins = entries * divisor
    const { offsets, order } = countingSort(ids, bins)
    const sums = Recording.scratch([bins, columns])
    Recording.step(segmentSum, { x: gradient, order, offsets, out: sums }, { bins, columns, rows })
    if (divisor === 1) return [sums]
    return [view(sumColumns(view(permute(view(sums, [entries, divisor, columns, 1])), [entries, columns, divisor])), [entries, columns])] // `divisor` ids share an entry
  })
}
