/** The last axis as columns, all others together as rows. */
import { type Tensor } from "../Tensor.ts"

export const rowsAndColumns = (op: string, name: string, x: Tensor): readonly [rows: number, columns: number] => {
  if (x.dtype !== "f32") throw new Error(`${op}: ${name} must be f32, got ${x.dtype}`)
  const columns = x.shape.at(-1)
  if (columns === undefined) throw new Error(`${op}: ${name} must have at least one axis`)
  return [x.slot.length / columns, columns]
}
