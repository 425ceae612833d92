/**
 * `prefixPool` of new tokens that goes on from where it stood: what pooling the whole sequence in one pass gives. It has no gradient.
 *
 * Shapes: x [batch, tokens, columns], places u32 [batch · tokens] (0 begins anew, 0xffffffff: no token; gives zeros), state [2, batch, columns] kept → like x. Options: decay, mean.
 */
import { cachedPool as kernel } from "../kernels/cachedPool.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const cachedPool = (x: Tensor, places: Tensor, state: Tensor, options: { readonly decay?: number; readonly mean?: boolean } = {}): Tensor => {
  const { decay = 1, mean = false } = options
  expectShape("cachedPool", "x", x, [undefined, undefined, undefined])
  const [batch, tokens, columns] = x.shape as readonly [number, number, number]
  expectShape("cachedPool", "places", places, [batch * tokens], "u32")
  expectShape("cachedPool", "state", state, [2, batch, columns])
  const out = Recording.scratch(x.shape)
  Recording.step(kernel, { x, places, state, out }, { count: batch * columns, tokens, columns, decay, mean: mean ? 1 : 0 })
  return out
}
