/**
 * `ngramBuckets` of new tokens that goes on from where it stood: what the whole texts in one pass give. It has no gradient.
 *
 * Shapes: ids, places u32 [batch · tokens] (place: how many tokens of its text stand before; 0xffffffff: no token), held u32 [batch, orders − 1] kept, which says how
 * many orders there are, of at least two → u32 [orders · batch · tokens], order after order.
 */
import { cachedNgramBuckets as kernel } from "../kernels/cachedNgramBuckets.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const cachedNgramBuckets = (ids: Tensor, places: Tensor, held: Tensor, { buckets }: { readonly buckets: number }): Tensor => {
  expectShape("cachedNgramBuckets", "held", held, [undefined, undefined], "u32")
  const [batch, before] = held.shape as readonly [number, number], orders = before + 1, rows = ids.shape[0]!
  expectShape("cachedNgramBuckets", "ids", ids, [undefined], "u32")
  expectShape("cachedNgramBuckets", "places", places, [rows], "u32")
  if (rows % batch !== 0) throw new Error(`cachedNgramBuckets: ${rows} rows of ids for ${batch} texts (axis batch)`)
  const out = Recording.scratch([orders * rows], "u32")
  Recording.step(kernel, { ids, places, held, out }, { batch, tokens: rows / batch, orders, buckets })
  return out
}
