/**
 * Ids as a part of a table counts them: those from … from + entries − 1, less `from`; others become 0xffffffff. Also plain ranges of u32 vectors.
 *
 * Shapes: ids u32 [n] → u32 [count]: its elements start … start + count − 1. No gradient.
 */
import { idsWithin as kernel } from "../kernels/idsWithin.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const idsWithin = (ids: Tensor, options: { readonly start?: number; readonly count?: number; readonly from?: number; readonly entries?: number }): Tensor => {
  expectShape("idsWithin", "ids", ids, [undefined], "u32")
  const { start = 0, count = ids.shape[0]! - start, entries = 0xffffffff, from = 0 } = options
  if (start < 0 || count < 1 || start + count > ids.shape[0]!) throw new Error(`idsWithin: ids axis 0 has ${ids.shape[0]}, asked for ${start} … ${start + count - 1}`)
  const out = Recording.scratch([count], "u32")
  Recording.step(kernel, { ids, out }, { count, start, from, entries })
  return out
}
