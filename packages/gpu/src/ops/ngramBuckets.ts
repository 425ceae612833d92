/**
 * Numbers of the hashed n-grams that end at each row, for orders 1 … orders, as keys of a table of orders · buckets entries; 0xffffffff where a text has fewer tokens. No gradient.
 *
 * Shapes: ids u32 [rows], the rows of one text after each other; places u32 [rows], each row's number of tokens before it → u32 [orders · rows], order after order.
 */
import { ngramBuckets as kernel } from "../kernels/ngramBuckets.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const ngramBuckets = (ids: Tensor, places: Tensor, { buckets, orders }: { readonly orders: number; readonly buckets: number }): Tensor => {
  expectShape("ngramBuckets", "ids", ids, [undefined], "u32")
  const rows = ids.shape[0]!
  expectShape("ngramBuckets", "places", places, [rows], "u32")
  const out = Recording.scratch([orders * rows], "u32")
  Recording.step(kernel, { ids, places, out }, { count: orders * rows, rows, buckets })
  return out
}
