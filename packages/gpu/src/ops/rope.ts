/**
 * Rotary positions (Su et al. 2021) in Hugging Face's half-split order.
 *
 * Shapes: x [rows, heads · headSize], positions u32 [rows], tables [positions, headSize / 2] each. The gradient turns back by the same angle.
 */
import * as Gradient from "../Gradient.ts"
import { rope as kernel } from "../kernels/rope.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { joinColumns } from "./joinColumns.ts"
import { sliceColumns } from "./sliceColumns.ts"
import { view } from "./view.ts"

export interface RopeTables { readonly cosines: Tensor; readonly sines: Tensor }

/** Options: `rotated`, how many of a head's first numbers turn; the others stay (tables are then [positions, rotated / 2]). */
export const rope = (x: Tensor, positions: Tensor, tables: RopeTables, options: { readonly heads: number; readonly headSize: number; readonly rotated?: number }): Tensor => {
  const { headSize, heads, rotated = headSize } = options, { cosines, sines } = tables
  if (rotated < headSize) {
    expectShape("rope", "x", x, [undefined, heads * headSize])
    const rows = x.shape[0]!, each = view(x, [rows * heads, headSize])
    const turned = rope(view(sliceColumns(each, 0, rotated), [rows, heads * rotated]), positions, tables, { heads, headSize: rotated })
    return view(joinColumns([view(turned, [rows * heads, rotated]), sliceColumns(each, rotated, headSize - rotated)]), x.shape)
  }
  if (headSize % 2 !== 0) throw new Error(`rope: headSize must be even, got ${headSize}`)
  expectShape("rope", "x", x, [undefined, heads * headSize])
  expectShape("rope", "positions", positions, [x.shape[0]], "u32")
  expectShape("rope", "cosines", cosines, [undefined, headSize / 2])
  expectShape("rope", "sines", sines, cosines.shape)
  const turn = (from: Tensor, direction: number): Tensor => {
    const out = Recording.scratch(from.shape)
    Recording.step(kernel, { x: from, positions, cosines, sines, out }, { count: from.slot.length / 2, heads, headSize, direction })
    return out
  }
  return Gradient.derive(turn(x, 1), [x], (gradient) => [turn(gradient, -1)])
}
