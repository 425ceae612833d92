/**
 * Attention whose heads are divided over replicas that hold the same queries, keys and values: each computes some heads, which are then put side by side.
 * What `attention` gives, without sinks and without a gradient: for the prompts of a model whose matrices are split (Shoeybi et al., "Megatron-LM", 2019).
 *
 * Shapes: as `attention`; heads and groups u32 [each], sharded: which heads this replica computes, and the key-value head of each. In replica order, and without those
 * past the last, they are all heads: `each` is heads / replicas, rounded up, and who has none left does the last one once more.
 */
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { type AttentionOptions, mixStacks, type Weighing } from "./attention.ts"
import { gatherRows } from "./gatherRows.ts"
import { permute } from "./permute.ts"
import { sliceColumns } from "./sliceColumns.ts"
import { view } from "./view.ts"

/** Which heads a replica computes. */
export interface OwnHeads { readonly heads: Tensor; readonly groups: Tensor }

/** For all replicas, one after another: the numbers of the heads that each computes, and of their key-value heads. */
export const divideHeads = ({ heads, keyValueHeads, replicas }: { readonly heads: number; readonly keyValueHeads: number; readonly replicas: number }): { readonly each: number; readonly heads: Uint32Array; readonly groups: Uint32Array } => {
  const each = Math.ceil(heads / replicas), all = Uint32Array.from({ length: each * replicas }, (_, at) => Math.min(at, heads - 1))
  return { each, heads: all, groups: all.map((head) => Math.floor(head * keyValueHeads / heads)) }
}

export const splitAttention = (q: Tensor, k: Tensor, v: Tensor, own: OwnHeads, options: Omit<AttentionOptions, "sinks">): Tensor => {
  const { batch, headSize, keyValueHeads, tokens, valueSize = headSize } = options, rows = batch * tokens, [each] = own.heads.shape as readonly [number]
  expectShape("splitAttention", "k", k, [rows, keyValueHeads * headSize])
  expectShape("splitAttention", "v", v, [rows, keyValueHeads * valueSize])
  expectShape("splitAttention", "groups", own.groups, [each], "u32")
  const ofGroups = (x: Tensor, size: number) => view(gatherRows(view(permute(view(x, [1, rows, keyValueHeads, size])), [keyValueHeads, rows * size]), own.groups), [each * batch, tokens, size])
  return mixOwnHeads(q, ofGroups(k, headSize), ofGroups(v, valueSize), own, options)
}

/** Queries by token, keys and values of this replica's heads. Shapes: q [batch · tokens, heads · headSize], key [each · batch, keys, headSize], value [each · batch, keys, valueSize] → [batch · tokens, heads · valueSize]. */
export const mixOwnHeads = (q: Tensor, key: Tensor, value: Tensor, own: OwnHeads, options: Omit<AttentionOptions, "sinks">, weigh?: Weighing): Tensor => {
  const { batch, headSize, heads, tokens, valueSize = headSize } = options, rows = batch * tokens, [each] = own.heads.shape as readonly [number]
  expectShape("splitAttention", "q", q, [rows, heads * headSize])
  const query = view(gatherRows(view(permute(view(q, [1, rows, heads, headSize])), [heads, rows * headSize]), own.heads), [each * batch, tokens, headSize])
  const mixed = mixStacks(query, key, value, options, weigh) // [each · batch · tokens, valueSize]
  const columns = view(permute(view(mixed, [1, each, rows, valueSize])), [rows, each * valueSize])
  const joined = Recording.joinReplicas(columns), width = heads * valueSize // [rows, replicas · each · valueSize]
  return joined.shape[1] === width ? joined : sliceColumns(joined, 0, width)
}
