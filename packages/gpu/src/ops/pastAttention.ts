/**
 * Attention of a pass's tokens to a cache that they have been laid down in, by matrix products: the part of the cache that the pass may see is laid out head by head, and the
 * heads of one key-value group stand side by side as the rows of one product, as in `attention`. It has no gradient.
 *
 * Shapes: q [batch · tokens, heads · headSize], places u32 [batch · tokens], those of one sequence going up by one, what is left out (0xffffffff; gives zeros) behind them → like q (with `valueSize`).
 * Options: as `cachedAttention`. A layer with a window is worked off over the window − 1 keys before the pass, and the pass.
 */
import { cachedHeads } from "../kernels/cachedHeads.ts"
import { placedSoftmax } from "../kernels/placedSoftmax.ts"
import * as Recording from "../Recording.ts"
import type { Tensor } from "../Tensor.ts"
import { mixHeads } from "./attention.ts"
import type { CachedAttentionOptions, LayerCache } from "./cachedAttention.ts"
import { gatherRows } from "./gatherRows.ts"
import { permute } from "./permute.ts"
import { mixOwnHeads } from "./splitAttention.ts"
import { view } from "./view.ts"

export const pastAttention = (q: Tensor, { keys, values }: LayerCache, places: Tensor, options: CachedAttentionOptions & { readonly extent: number }): Tensor => {
  const { batch, extent, headSize, heads, keyValueHeads, own, sinks, tokens, valueSize = headSize, window = 0 } = options, capacity = keys.shape[1]!
  const columns = window === 0 ? extent : Math.min(extent, window - 1 + tokens)
  const byHead = (cache: Tensor, size: number) => {
    const out = Recording.scratch([batch * keyValueHeads, columns, size])
    Recording.step(cachedHeads, { cache, places, out }, { count: out.slot.length, tokens, heads: keyValueHeads, headSize: size, capacity, columns, window })
    return out
  }
  /** Rows stand by sequence, head and token; where a replica has heads of its own, by head, sequence and token. */
  const weigh = (between: number) => (scores: Tensor, scale: number) => {
    const out = Recording.scratch(scores.shape)
    Recording.step(placedSoftmax, { x: scores, places, out }, { rows: scores.slot.length / columns, columns, batch, tokens, heads: between, window, scale })
    return out
  }
  const key = byHead(keys, headSize), value = byHead(values, valueSize) // [batch · keyValueHeads, columns, size]
  if (own === undefined || sinks !== undefined) return mixHeads(q, key, value, options, weigh(heads))
  const each = own.groups.shape[0]!
  const ofGroups = (x: Tensor, size: number) => {
    const groups = batch === 1 ? x : permute(view(x, [1, batch, keyValueHeads, columns * size])) // [keyValueHeads, batch, columns · size]
    return view(gatherRows(view(groups, [keyValueHeads, batch * columns * size]), own.groups), [each * batch, columns, size])
  }
  return mixOwnHeads(q, ofGroups(key, headSize), ofGroups(value, valueSize), own, options, weigh(1))
}
