/**
 * Keys and values of the tokens so far, so that a new token costs one token's work. Each sequence of a batch has `capacity` places of its
 * own, and a token lies at the place of its position: sequences of different lengths need neither padding nor a mask.
 *
 * What changes from call to call (which tokens, where they stand) is uploaded data: one recorded program serves every token.
 * Paper: Pope et al., "Efficiently Scaling Transformer Inference", 2022.
 */
import type { Model } from "@switchyard/core"
import type { LayerCache } from "./ops/cachedAttention.ts"
import { kept, type Tensor } from "./Tensor.ts"

export interface KeyValueCache {
  readonly batch: number
  /** Places of each sequence. */
  readonly capacity: number
  /** One for each layer: keys and values [batch, capacity, keyValueHeads · headSize]. */
  readonly layers: ReadonlyArray<LayerCache>
}

/** A call's tokens: `tokens` for each sequence of the cache's batch. */
export interface Chunk {
  readonly cache: KeyValueCache
  readonly tokens: number
  /** u32 [batch · tokens]: where each token stands in its sequence; 0 where there is none. */
  readonly positions: Tensor
  /** u32 [batch · tokens]: the same; 0xffffffff where there is no token. */
  readonly places: Tensor
  /** Every sequence that has tokens in this call begins with it, its tokens first. */
  readonly fresh: boolean
  /** Places of each sequence that tokens of this call may see: every one of `places` is below. All of the cache's when left out. */
  readonly extent?: number | undefined
}

/** The place of a row without a token. */
export const noPlace = 0xffffffff

/** A cache, described: kept tensors without numbers. */
export const make = (model: Model.Model, options: { readonly batch: number; readonly capacity: number }): KeyValueCache => {
  const { batch, capacity } = options, shape = [batch, capacity, model.keyValueHeads * model.headSize], valueShape = shape.with(2, model.keyValueHeads * (model.attention?.latent?.value ?? model.headSize))
  const layers = Array.from({ length: model.layers }, (_, layer) => ({ keys: kept(shape, { label: `cache.${layer}.keys` }), values: kept(valueShape, { label: `cache.${layer}.values` }) }))
  return { batch, capacity, layers }
}

/** Every tensor of a cache. */
export const tensors = (cache: KeyValueCache): ReadonlyArray<Tensor> => cache.layers.flatMap(({ keys, values }) => [keys, values])
