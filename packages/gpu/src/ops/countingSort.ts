/**
 * Stable sort of small keys: `order` lists the places of `keys` by (key, place), `offsets[key]` says where a key's places begin in it.
 *
 * Shapes: keys u32 [...] of n elements → order u32 [n], offsets u32 [bins + 1]. Keys at or above `bins` stand at the end. No gradient.
 */
import { countingSort as kernel } from "../kernels/countingSort.ts"
import { sortFew } from "../kernels/sortFew.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

/** Up to so many bins each has a workgroup of its own, which reads all keys. */
const few = 256

export const countingSort = (keys: Tensor, bins: number): { readonly order: Tensor; readonly offsets: Tensor } => {
  expectShape("countingSort", "keys", keys, keys.shape, "u32")
  const count = keys.slot.length
  const order = Recording.scratch([count], "u32"), offsets = Recording.scratch([bins + 1], "u32")
  if (bins <= few) Recording.step(sortFew, { keys, order, offsets }, { count, bins })
  else Recording.step(kernel, { keys, order, offsets }, { rows: 1, count, bins })
  return { order, offsets }
}
