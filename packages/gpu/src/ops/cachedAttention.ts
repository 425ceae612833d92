/**
 * Attention of new tokens to a cache of keys and values: what `attention` gives for the same tokens in one pass. Each sequence of the batch has
 * its own stretch of the cache, in which a token lies at its place, so sequences of different lengths stand side by side without a mask.
 * It has no gradient: it is for generation.
 *
 * Shapes: q [batch · tokens, heads · headSize], k and v [batch · tokens, keyValueHeads · headSize], keys and values of the cache [batch, capacity, keyValueHeads · headSize] (values with `valueSize`, as v has),
 * places u32 [batch · tokens] (0xffffffff: no token; gives zeros) → like q. Options: as `attention`; `fresh` when every sequence begins at place 0 in this
 * call, its tokens first and the places left out behind them: the keys of the call are then all there are, and matrix products do; `extent`, places of each
 * sequence that a token of this call may see (all of the cache's unless given): what lies beyond costs nothing. From eight tokens on matrix products do too, over the
 * extent (pastAttention); `own` heads of each replica divide these over replicas. Fewer tokens are bound by reading what they see, and read that alone.
 */
import { cachedMix } from "../kernels/cachedMix.ts"
import { cachedScores } from "../kernels/cachedScores.ts"
import { cachedSoftmax } from "../kernels/cachedSoftmax.ts"
import { cacheRows } from "../kernels/cacheRows.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { affine } from "./affine.ts"
import { attention, type AttentionOptions } from "./attention.ts"
import { map } from "./map.ts"
import { pastAttention } from "./pastAttention.ts"
import { scaleRows } from "./scaleRows.ts"
import { sinkShare } from "./sinkShare.ts"
import { type OwnHeads, splitAttention } from "./splitAttention.ts"
import { view } from "./view.ts"

/** One layer's keys and values so far: kept tensors [batch, capacity, keyValueHeads · headSize]. */
export interface LayerCache { readonly keys: Tensor; readonly values: Tensor }
export interface CachedAttentionOptions extends AttentionOptions { readonly fresh?: boolean; readonly own?: OwnHeads | undefined; readonly extent?: number | undefined }

/** From so many tokens of a sequence on, products over the extent replace a loop over the keys that each token sees: laying the extent out by heads costs a pass over it, which fewer tokens do not pay back. Reasoned, not measured. */
const productTokens = 8

export const cachedAttention = (q: Tensor, k: Tensor, v: Tensor, cache: LayerCache, places: Tensor, options: CachedAttentionOptions): Tensor => {
  const { batch, fresh = false, headSize, heads, keyValueHeads, own, scale = 1 / Math.sqrt(headSize), sinks, softCap, tokens, valueSize = headSize, window = 0 } = options, rows = batch * tokens, width = keyValueHeads * headSize
  const capacity = cache.keys.shape[1]!, extent = options.extent ?? capacity
  if (!(extent >= 1 && extent <= capacity)) throw new Error(`cachedAttention: an extent of ${extent} places (axis capacity), the cache has ${capacity}`)
  if (heads % keyValueHeads !== 0) throw new Error(`cachedAttention: heads (${heads}) must be a multiple of keyValueHeads (${keyValueHeads})`)
  expectShape("cachedAttention", "q", q, [rows, heads * headSize])
  expectShape("cachedAttention", "k", k, [rows, width])
  expectShape("cachedAttention", "v", v, [rows, keyValueHeads * valueSize])
  expectShape("cachedAttention", "places", places, [rows], "u32")
  expectShape("cachedAttention", "keys", cache.keys, [batch, undefined, width])
  expectShape("cachedAttention", "values", cache.values, [batch, capacity, keyValueHeads * valueSize])
  for (const [x, into] of [[k, cache.keys], [v, cache.values]] as const) Recording.step(cacheRows, { x, places, cache: into }, { count: x.slot.length, columns: x.shape[1]!, tokens, capacity })
  if (fresh) return own === undefined || sinks !== undefined ? attention(q, k, v, options) : splitAttention(q, k, v, own, options)
  if (tokens >= productTokens) return pastAttention(q, cache, places, { ...options, extent })
  const scores = Recording.scratch([rows * heads, extent]), weights = Recording.scratch([rows * heads, extent]), out = Recording.scratch([rows, heads * valueSize])
  const sizes = { tokens, heads, keyValueHeads, headSize, capacity, columns: extent, window }
  Recording.step(cachedScores, { q, keys: cache.keys, places, out: scores }, { count: rows * heads * extent, ...sizes, scale })
  const capped = softCap === undefined ? scores : affine(map(affine(scores, { scale: 1 / softCap }), "tanh"), { scale: softCap })
  Recording.step(cachedSoftmax, { x: capped, places, out: weights }, { rows: rows * heads, columns: extent, heads, window })
  Recording.step(cachedMix, { weights, values: cache.values, places, out }, { count: rows * heads * valueSize, ...sizes, headSize: valueSize })
  if (sinks === undefined) return out
  return view(scaleRows(view(out, [rows * heads, valueSize]), sinkShare(capped, weights, sinks, { repeat: 1 })), out.shape)
}
