/**
 * GGUF's architectures as data: which family of `families.ts` each is, how it names its tensors, and its metadata keys with the keys of
 * config.json that say the same. A new architecture is a new row; the code that reads rows is in `ggufModel.ts`. llama.cpp's words stay here.
 */
import type { Family } from "./families.ts"
import type { Plain } from "./StrictJson.ts"

export interface Architecture {
  /** `general.architecture` */
  readonly name: string
  /** The family of a file without experts, and of one with them. */
  readonly dense?: string
  readonly mixture?: string
  /** Rows of query and key are stored with the two halves of every head interleaved, as the first Llama rotated them. */
  readonly interleaved: boolean
  readonly names: Family["names"]
  readonly alternatives: Family["alternatives"]
  /** Key, after the architecture's name and a dot → key of config.json. */
  readonly keys: Readonly<Record<string, string>>
  /** Keys whose value is already told by another; it must be that one's. */
  readonly repeated: Readonly<Record<string, string>>
  /** Several tensors of ours in one, rows after rows. */
  readonly packed?: Family["packed"]
  /** The key of config.json for the part of a head that rotates, where `rope.dimension_count` says it in numbers. */
  readonly rotated?: string
  /** What every file of the architecture means without saying it, as keys of config.json. */
  readonly meant?: Readonly<Record<string, Plain>>
}

const decoder: Family["names"] = [
  ["embedding", "token_embd.weight"],
  ["norm", "output_norm.weight"],
  ["head", "output.weight"],
  ["layers.{l}.attention.norm", "blk.{l}.attn_norm.weight"],
  ["layers.{l}.attention.query", "blk.{l}.attn_q.weight"],
  ["layers.{l}.attention.key", "blk.{l}.attn_k.weight"],
  ["layers.{l}.attention.value", "blk.{l}.attn_v.weight"],
  ["layers.{l}.attention.output", "blk.{l}.attn_output.weight"],
  ["layers.{l}.feedForward.norm", "blk.{l}.ffn_norm.weight"],
  ["layers.{l}.feedForward.gate", "blk.{l}.ffn_gate.weight"],
  ["layers.{l}.feedForward.up", "blk.{l}.ffn_up.weight"],
  ["layers.{l}.feedForward.down", "blk.{l}.ffn_down.weight"]
]
/** The first files of Mixtral held one tensor for each expert. */
const experts: Family["names"] = [
  ["layers.{l}.router.weight", "blk.{l}.ffn_gate_inp.weight"],
  ["layers.{l}.experts.{e}.gate", "blk.{l}.ffn_gate.{e}.weight"],
  ["layers.{l}.experts.{e}.up", "blk.{l}.ffn_up.{e}.weight"],
  ["layers.{l}.experts.{e}.down", "blk.{l}.ffn_down.{e}.weight"]
]
/** All experts of a layer in one tensor, [experts, out, in]. */
const stacked: Family["alternatives"] = [
  { canonical: "layers.{l}.experts.{e}.gate", file: "blk.{l}.ffn_gate_exps.weight", part: 0, parts: 1 },
  { canonical: "layers.{l}.experts.{e}.up", file: "blk.{l}.ffn_up_exps.weight", part: 0, parts: 1 },
  { canonical: "layers.{l}.experts.{e}.down", file: "blk.{l}.ffn_down_exps.weight", part: 0, parts: 1 }
]

const llama: Architecture = {
  name: "llama", dense: "llama", mixture: "mixtral", interleaved: true,
  names: [...decoder, ...experts],
  alternatives: stacked,
  keys: {
    "context_length": "max_position_embeddings", "embedding_length": "hidden_size", "block_count": "num_hidden_layers", "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads", "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps", "rope.freq_base": "rope_theta", "expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok"
  },
  repeated: { "vocab_size": "vocab_size", "rope.dimension_count": "head_dim", "attention.value_length": "head_dim" }
}

const biases: Family["names"] = [
  ["layers.{l}.attention.queryBias", "blk.{l}.attn_q.bias"],
  ["layers.{l}.attention.keyBias", "blk.{l}.attn_k.bias"],
  ["layers.{l}.attention.valueBias", "blk.{l}.attn_v.bias"]
]
const norms: Family["names"] = [
  ["layers.{l}.attention.queryNorm", "blk.{l}.attn_q_norm.weight"],
  ["layers.{l}.attention.keyNorm", "blk.{l}.attn_k_norm.weight"]
]
const { expert_count: _, expert_used_count: __, ...denseKeys } = llama.keys
const qwen2: Architecture = { name: "qwen2", dense: "qwen2", interleaved: false, names: [...decoder, ...biases], alternatives: [], keys: denseKeys, repeated: llama.repeated }
const qwen3: Architecture = { ...qwen2, name: "qwen3", dense: "qwen3", names: [...decoder, ...norms] }

/** llama.cpp computes the weights of the chosen experts as each of these two families does by default: divided by their sum, and not. */
const olmoe: Architecture = {
  name: "olmoe", mixture: "olmoe", interleaved: false, repeated: llama.repeated, names: [...decoder, ...norms, ...experts], alternatives: stacked,
  keys: { ...denseKeys, "expert_count": "num_experts", "expert_used_count": "num_experts_per_tok" }, meant: { norm_topk_prob: false }
}
const qwen3moe: Architecture = { ...olmoe, name: "qwen3moe", mixture: "qwen3_moe", keys: { ...olmoe.keys, "expert_feed_forward_length": "moe_intermediate_size" }, meant: { norm_topk_prob: true } }

const sharedExpert: Family["names"] = [
  ["layers.{l}.shared.gate", "blk.{l}.ffn_gate_shexp.weight"],
  ["layers.{l}.shared.up", "blk.{l}.ffn_up_shexp.weight"],
  ["layers.{l}.shared.down", "blk.{l}.ffn_down_shexp.weight"],
  ["layers.{l}.shared.router", "blk.{l}.ffn_gate_inp_shexp.weight"]
]
const qwen2moe: Architecture = {
  ...qwen3moe, name: "qwen2moe", mixture: "qwen2_moe", names: [...decoder, ...biases, ...experts, ...sharedExpert], meant: { norm_topk_prob: false },
  keys: { ...qwen3moe.keys, "expert_shared_feed_forward_length": "shared_expert_intermediate_size" }
}

/** llama.cpp leaves out the rotation of every fourth layer of every such file. */
const smollm3: Architecture = { ...qwen2, name: "smollm3", dense: "smollm3", interleaved: true, names: decoder, meant: { no_rope_layer_interval: 4 } }

/** Query, key and value in one matrix, gate and up in another. The part of a head that rotates is `rope.dimension_count`. */
const { "rope.dimension_count": ___, ...withoutRotated } = llama.repeated
const phi3: Architecture = {
  ...qwen2, name: "phi3", dense: "phi3", names: decoder.filter(([name]) => !/\.(query|key|value|gate|up)$/.test(name)),
  packed: [
    { file: "blk.{l}.attn_qkv.weight", of: ["layers.{l}.attention.query", "layers.{l}.attention.key", "layers.{l}.attention.value"] },
    { file: "blk.{l}.ffn_up.weight", of: ["layers.{l}.feedForward.gate", "layers.{l}.feedForward.up"] }
  ],
  keys: { ...denseKeys, "attention.sliding_window": "sliding_window", "rope.scaling.original_context_length": "original_max_position_embeddings" }, repeated: withoutRotated, rotated: "partial_rotary_factor"
}

export const architectures: ReadonlyArray<Architecture> = [llama, qwen2, qwen3, smollm3, phi3, olmoe, qwen2moe, qwen3moe]
