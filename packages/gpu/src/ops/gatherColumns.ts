/** out[row, rank] = x[row, ids[row, rank]]. Shapes: x [rows, columns], ids u32 [rows, active] → [rows, active]. */
import * as Gradient from "../Gradient.ts"
import { gatherColumns as kernel } from "../kernels/gatherColumns.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { scatterColumns } from "./scatterColumns.ts"

export const gatherColumns = (x: Tensor, ids: Tensor): Tensor => {
  expectShape("gatherColumns", "x", x, [undefined, undefined])
  expectShape("gatherColumns", "ids", ids, [x.shape[0], undefined], "u32")
  const columns = x.shape[1]!, active = ids.shape[1]!
  const out = Recording.scratch(ids.shape)
  Recording.step(kernel, { x, ids, out }, { count: ids.slot.length, columns, active })
  return Gradient.derive(out, [x], (gradient) => [scatterColumns(gradient, ids, columns)])
}
