/**
 * DeepSeek V2 and V3 in GGUF, one architecture: V3 is the one whose router's scores are sigmoids. Heads of query and key rotate in neighbouring pairs, as
 * DeepSeek stores them.
 *
 * Older files hold the matrix that makes keys and values, and say the sizes of one head; newer ones hold it in two, the keys' part turned, and say the sizes of the
 * one wide head that attention over the small vector has, beside the true ones (`…_mla`). `joined` makes the older layout of the newer.
 */
import { Effect } from "effect"
import { type Architecture, decoder, denseKeys, experts, type Reading, sharedExpert, stacked } from "./ggufRows.ts"
import type { Plain } from "./StrictJson.ts"
import * as Weights from "./Weights.ts"

const { "attention.head_count_kv": _, "attention.key_length": __, ...keys } = denseKeys
const anew = "convert the model again"

/** The parts of a head: how many numbers of query and key stand still, and how many a value has. */
const headOf = ({ config, fail, number }: Reading): Readonly<Record<string, Plain>> => {
  const need = (key: string): number => number(key) ?? fail(key, "it is missing", anew)
  const rotated = need("rope.dimension_count"), rank = need("attention.kv_lora_rank"), key = need("attention.key_length"), value = need("attention.value_length"), heads = config["num_attention_heads"]
  const whole = number("attention.key_length_mla") ?? key, valueSize = number("attention.value_length_mla") ?? value, groups = number("attention.head_count_kv") ?? heads
  if (whole !== key && key !== rank + rotated) fail("attention.key_length", `${key} is not ${rank} + ${rotated}, the small vector and the rotated numbers`, anew)
  if (valueSize !== value && value !== rank) fail("attention.value_length", `${value} is not ${rank}, the small vector`, anew)
  if (whole <= rotated) fail("rope.dimension_count", `${rotated} rotated numbers of a head of ${whole}`, anew)
  if (groups !== heads && groups !== 1) fail("attention.head_count_kv", `${groups} is neither 1 nor ${String(heads)}`, anew)
  return { head_dim: rotated, qk_nope_head_dim: whole - rotated, v_head_dim: valueSize, num_key_value_heads: heads! }
}

const routerOf = ({ config, fail, value }: Reading): Readonly<Record<string, Plain>> => {
  const given = value("expert_gating_func") ?? 0, gating = given === 0 ? 1 : given, normalised = value("expert_weights_norm") ?? false, dense = value("leading_dense_block_count") ?? 0
  if (gating !== 1 && gating !== 2) fail("expert_gating_func", `${String(gating).slice(0, 60)} is neither 1 (softmax) nor 2 (sigmoid)`, "use a model with one of them")
  if (typeof normalised !== "boolean") return fail("expert_weights_norm", "it is not true or false", anew)
  if (typeof dense !== "number") return fail("leading_dense_block_count", "it is not a number", anew)
  const sigmoid = gating === 2, grouped = (config["n_group"] ?? 1) !== 1
  return {
    model_type: sigmoid ? "deepseek_v3" : "deepseek_v2", first_k_dense_replace: dense, norm_topk_prob: normalised, routed_scaling_factor: config["routed_scaling_factor"] ?? 1,
    ...sigmoid ? { n_group: config["n_group"] ?? 1, topk_group: config["topk_group"] ?? config["n_group"] ?? 1 } : { topk_method: grouped ? "group_limited_greedy" : "greedy" }
  }
}

export const deepseek2: Architecture = {
  name: "deepseek2", mixture: "deepseek_v2", interleaved: false,
  names: [
    ...decoder.filter(([name]) => !/attention\.(key|value)$/.test(name)), ...experts, ...sharedExpert,
    ["layers.{l}.router.correction", "blk.{l}.exp_probs_b.bias"],
    ["layers.{l}.attention.queryDown", "blk.{l}.attn_q_a.weight"], ["layers.{l}.attention.queryDownNorm", "blk.{l}.attn_q_a_norm.weight"], ["layers.{l}.attention.queryUp", "blk.{l}.attn_q_b.weight"],
    ["layers.{l}.attention.keyValueDown", "blk.{l}.attn_kv_a_mqa.weight"], ["layers.{l}.attention.keyValueDownNorm", "blk.{l}.attn_kv_a_norm.weight"], ["layers.{l}.attention.keyValue", "blk.{l}.attn_kv_b.weight"]
  ],
  alternatives: stacked,
  keys: {
    ...keys, "attention.q_lora_rank": "q_lora_rank", "attention.kv_lora_rank": "kv_lora_rank", "expert_feed_forward_length": "moe_intermediate_size", "expert_count": "n_routed_experts",
    "expert_used_count": "num_experts_per_tok", "expert_shared_count": "n_shared_experts", "expert_group_count": "n_group", "expert_group_used_count": "topk_group", "expert_weights_scale": "routed_scaling_factor"
  },
  repeated: { "vocab_size": "vocab_size" },
  further: {
    keys: [
      "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.key_length_mla", "attention.value_length_mla", "rope.dimension_count", "expert_gating_func",
      "expert_weights_norm", "leading_dense_block_count", "rope.scaling.yarn_log_multiplier"
    ],
    config: (reading) => ({ q_lora_rank: reading.config["q_lora_rank"] ?? null, ...headOf(reading), ...routerOf(reading) })
  },
  // a tenth of the weight of all dimensions; that of the rotated ones is the same, as in every model of DeepSeek's
  yarn: ({ number }) => {
    const tenth = number("rope.scaling.yarn_log_multiplier"), weight = tenth === undefined ? undefined : Number((10 * tenth).toPrecision(9))
    return weight === undefined ? {} : { mscale: weight, mscale_all_dim: weight }
  }
}

/** With `attn_kv_b` where a file has `attn_k_b` and `attn_v_b`. Shapes: attn_k_b [heads, rank, still], attn_v_b [heads, value, rank], attn_kv_b [heads · (still + value), rank]. */
export const joined = (stored: Weights.Weights): Weights.Weights => {
  const infos = new Map<string, Weights.TensorInfo>(), sizes = new Map<string, readonly [still: number, value: number]>()
  for (const [name, info] of stored.infos) {
    const [, at, part] = /^(blk\.\d+\.attn_)([kv])_b\.weight$/.exec(name) ?? [], keys = stored.infos.get(`${at}k_b.weight`)?.shape, values = stored.infos.get(`${at}v_b.weight`)?.shape
    const fits = at !== undefined && keys?.length === 3 && values?.length === 3 && keys[0] === values[0] && keys[1] === values[2] && !stored.infos.has(`${at}kv_b.weight`)
    if (!fits) infos.set(name, info) // and is named as a tensor too many
    else if (part === "k") {
      infos.set(`${at}kv_b.weight`, { dtype: info.dtype === stored.infos.get(`${at}v_b.weight`)!.dtype ? info.dtype : "F32", shape: [keys[0]! * (keys[2]! + values[1]!), keys[1]!] })
      sizes.set(`${at}kv_b.weight`, [keys[2]!, values[1]!])
    }
  }
  if (sizes.size === 0) return stored
  return Weights.make(infos, (name, { from, to }, { shape }) => {
    const size = sizes.get(name)
    if (size === undefined) return stored.read(name, { from, to })
    const [still, value] = size, both = still + value, rank = Weights.rowLength(shape), first = Math.floor(from / both), last = Math.ceil(to / both), at = name.slice(0, -"kv_b.weight".length)
    return Effect.zipWith(stored.read(`${at}k_b.weight`, { from: first, to: last }), stored.read(`${at}v_b.weight`, { from: first, to: last }), (keys, values) => {
      const out = new Float32Array((to - from) * rank) // [to − from, rank]
      for (let row = from; row < to; row++) {
        const head = Math.floor(row / both) - first, within = row % both, to0 = (row - from) * rank
        if (within >= still) out.set(values.subarray((head * value + within - still) * rank, (head * value + within - still + 1) * rank), to0)
        else for (let r = 0; r < rank; r++) out[to0 + r] = keys[(head * rank + r) * still + within]!
      }
      return out
    })
  })
}
