/** Tensors one after another along the first axis. Shapes: parts [rows of each, ...] → [sum of the rows, ...]. */
import { expectShape, type Tensor } from "../Tensor.ts"
import { joinColumns } from "./joinColumns.ts"
import { view } from "./view.ts"

export const joinRows = (parts: ReadonlyArray<Tensor>): Tensor => {
  if (parts[0] === undefined) throw new Error("joinRows: parts must not be empty")
  const rest = parts[0].shape.slice(1)
  parts.forEach((part, at) => expectShape("joinRows", `parts[${at}]`, part, [undefined, ...rest]))
  const rows = parts.reduce((sum, part) => sum + part.shape[0]!, 0)
  return view(joinColumns(parts.map((part) => view(part, [1, part.slot.length]))), [rows, ...rest]) // one long row
}
