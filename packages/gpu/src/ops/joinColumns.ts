/** Tensors side by side. Shapes: parts [rows, columns of each] → [rows, sum of the columns]. */
import * as Gradient from "../Gradient.ts"
import { copyColumns } from "../kernels/copyColumns.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { sliceColumns } from "./sliceColumns.ts"

export const joinColumns = (parts: ReadonlyArray<Tensor>): Tensor => {
  if (parts[0] === undefined) throw new Error("joinColumns: parts must not be empty")
  const rows = parts[0].shape[0]
  parts.forEach((part, at) => expectShape("joinColumns", `parts[${at}]`, part, [rows, undefined]))
  const widths = parts.map((part) => part.shape[1]!)
  const starts = widths.map((_, at) => widths.slice(0, at).reduce((sum, width) => sum + width, 0))
  const columns = widths.reduce((sum, width) => sum + width, 0)
  const out = Recording.scratch([rows!, columns])
  parts.forEach((x, at) => Recording.step(copyColumns, { x, out }, { count: x.slot.length, columns: widths[at]!, inputStride: widths[at]!, inputOffset: 0, outStride: columns, outOffset: starts[at]! }))
  return Gradient.derive(out, parts, (gradient, needs) => parts.map((_, at) => needs[at] ? sliceColumns(gradient, starts[at]!, widths[at]!) : undefined))
}
