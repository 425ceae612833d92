/**
 * Causal scaled dot-product attention (Vaswani et al. 2017) with grouped queries (Ainslie et al. 2023): the heads of one key-value group
 * stand side by side as the rows of one product, so keys and values are never repeated.
 *
 * Shapes: q [batch · tokens, heads · headSize], k and v [batch · tokens, keyValueHeads · headSize] → like q (with `valueSize`, heads of v and of what comes out have that size). Options: `window` limits how many keys a query sees; `scale` of the
 * scores, 1 / √headSize unless given; `softCap`: scores become cap · tanh(score / cap) (Bello et al. 2016); `sinks`
 * [heads]: one more score of each head in the softmax, which gives nothing.
 */
import { expectShape, type Tensor } from "../Tensor.ts"
import { affine } from "./affine.ts"
import { causalSoftmax } from "./causalSoftmax.ts"
import { map } from "./map.ts"
import { matmul } from "./matmul.ts"
import { permute } from "./permute.ts"
import { scaleRows } from "./scaleRows.ts"
import { sinkShare } from "./sinkShare.ts"
import { stopGradient } from "./stopGradient.ts"
import { view } from "./view.ts"

export interface AttentionOptions {
  readonly batch: number; readonly tokens: number; readonly heads: number; readonly keyValueHeads: number; readonly headSize: number; readonly window?: number | undefined
  readonly scale?: number | undefined; readonly softCap?: number | undefined; readonly sinks?: Tensor | undefined; readonly valueSize?: number | undefined
}

/** What stands in place of causalSoftmax where the keys are not those of the queries' tokens: scores [stacks, queries, keys], their scale → weights. */
export type Weighing = (scores: Tensor, scale: number) => Tensor

export const attention = (q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor => {
  const { batch, headSize, heads, keyValueHeads, tokens, valueSize = headSize } = options
  if (heads % keyValueHeads !== 0) throw new Error(`attention: heads (${heads}) must be a multiple of keyValueHeads (${keyValueHeads})`)
  expectShape("attention", "k", k, [batch * tokens, keyValueHeads * headSize])
  expectShape("attention", "v", v, [batch * tokens, keyValueHeads * valueSize])
  const stacked = (x: Tensor, size: number) => view(permute(view(x, [batch, tokens, keyValueHeads, size])), [batch * keyValueHeads, tokens, size])
  return mixHeads(q, stacked(k, headSize), stacked(v, valueSize), options)
}

/** Queries by token, keys and values by head. Shapes: q [batch · tokens, heads · headSize], key [batch · keyValueHeads, keys, headSize], value [batch · keyValueHeads, keys, valueSize] → [batch · tokens, heads · valueSize]. */
export const mixHeads = (q: Tensor, key: Tensor, value: Tensor, options: AttentionOptions, weigh?: Weighing): Tensor => {
  const { batch, headSize, heads, keyValueHeads, tokens, valueSize = headSize } = options
  expectShape("attention", "q", q, [batch * tokens, heads * headSize])
  const query = view(permute(view(q, [batch, tokens, heads, headSize])), [batch * keyValueHeads, heads / keyValueHeads * tokens, headSize])
  return view(permute(view(mixStacks(query, key, value, options, weigh), [batch, heads, tokens, valueSize])), [batch * tokens, heads * valueSize])
}

/** Each stack's queries, some heads' one after another, mix its values. Shapes: query [stacks, heads of a stack · tokens, headSize], key [stacks, keys, headSize], value [stacks, keys, valueSize] → [all queries, valueSize]. */
export const mixStacks = (query: Tensor, key: Tensor, value: Tensor, { headSize, scale = 1 / Math.sqrt(headSize), sinks, softCap, tokens, window }: Pick<AttentionOptions, "headSize" | "scale" | "sinks" | "softCap" | "tokens" | "window">, weigh?: Weighing): Tensor => {
  const [stacks, queries] = query.shape as readonly [number, number], rows = stacks * queries, keys = key.shape[1]!
  const products = matmul(query, key, { transposeB: true }) // [stacks, queries, keys]
  const [scores, times] = softCap === undefined ? [products, scale] : [map(affine(products, { scale: scale / softCap }), "tanh"), softCap]
  const weights = weigh?.(scores, times) ?? causalSoftmax(scores, { queries: tokens, scale: times, window }) // [stacks, queries, keys]
  const mixed = view(matmul(weights, value), [rows, value.shape[2]!])
  if (sinks === undefined) return mixed
  return scaleRows(mixed, sinkShare(view(scores, [rows, keys]), stopGradient(view(weights, [rows, keys])), sinks, { scale: times, repeat: tokens }))
}
