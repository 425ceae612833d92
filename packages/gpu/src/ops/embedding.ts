/** The table's row for each token. Shapes: table [vocabulary, hidden], ids u32 [rows] → [rows, hidden]. */
import { expectShape, type Tensor } from "../Tensor.ts"
import { gatherRows } from "./gatherRows.ts"

export const embedding = (table: Tensor, ids: Tensor): Tensor => {
  expectShape("embedding", "table", table, [undefined, undefined], "weight")
  expectShape("embedding", "ids", ids, [undefined], "u32")
  return gatherRows(table, ids)
}
