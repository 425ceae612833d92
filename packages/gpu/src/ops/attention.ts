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

export const attention = (q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor => {
  const { batch, headSize, heads, keyValueHeads, scale = 1 / Math.sqrt(headSize), sinks, softCap, tokens, valueSize = headSize, window } = options
  if (heads % keyValueHeads !== 0) throw new Error(`attention: heads (${heads}) must be a multiple of keyValueHeads (${keyValueHeads})`)
  expectShape("attention", "q", q, [batch * tokens, heads * headSize])
  expectShape("attention", "k", k, [batch * tokens, keyValueHeads * headSize])
  expectShape("attention", "v", v, [batch * tokens, keyValueHeads * valueSize])
  const byHead = (x: Tensor, count: number, size = headSize) => permute(view(x, [batch, tokens, count, size])) // [batch, count, tokens, size]
  const stacks = batch * keyValueHeads, queries = heads / keyValueHeads * tokens
  const query = view(byHead(q, heads), [stacks, queries, headSize])
  const key = view(byHead(k, keyValueHeads), [stacks, tokens, headSize])
  const value = view(byHead(v, keyValueHeads, valueSize), [stacks, tokens, valueSize])
  const products = matmul(query, key, { transposeB: true }) // [stacks, queries, tokens]
  const [scores, times] = softCap === undefined ? [products, scale] : [map(affine(products, { scale: scale / softCap }), "tanh"), softCap]
  const weights = causalSoftmax(scores, { queries: tokens, scale: times, window }) // [stacks, queries, tokens]
  const mixed = view(matmul(weights, value), [batch * heads * tokens, valueSize])
  const rows = [batch * heads * tokens, tokens]
  const left = sinks === undefined ? mixed : scaleRows(mixed, sinkShare(view(scores, rows), stopGradient(view(weights, rows)), sinks, { scale: times, repeat: tokens }))
  return view(permute(view(left, [batch, heads, tokens, valueSize])), [batch * tokens, heads * valueSize])
}
