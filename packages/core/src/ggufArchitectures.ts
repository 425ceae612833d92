/**
 * GGUF's architectures as data: which family of `families.ts` each is, how it names its tensors, and its metadata keys with the keys of
 * config.json that say the same. A new architecture is a new row; the code that reads rows is in `ggufConfig.ts` and `ggufModel.ts`.
 */
import { deepseek2 } from "./ggufDeepseek.ts"
import { gemma2, gemma3 } from "./ggufGemma.ts"
import { gptOss } from "./ggufGptOss.ts"
import { type Architecture, biases, decoder, denseKeys, experts, norms, repeated, sharedExpert, stacked } from "./ggufRows.ts"

export type { Architecture } from "./ggufRows.ts"

const llama: Architecture = {
  name: "llama", dense: "llama", mixture: "mixtral", interleaved: true, names: [...decoder, ...experts], alternatives: stacked, repeated,
  keys: { ...denseKeys, "expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok" }
}
const qwen2: Architecture = { name: "qwen2", dense: "qwen2", interleaved: false, names: [...decoder, ...biases], alternatives: [], keys: denseKeys, repeated }
const qwen3: Architecture = { ...qwen2, name: "qwen3", dense: "qwen3", names: [...decoder, ...norms] }

/** llama.cpp computes the weights of the chosen experts as each of these two families does by default: divided by their sum, and not. */
const olmoe: Architecture = {
  name: "olmoe", mixture: "olmoe", interleaved: false, repeated, names: [...decoder, ...norms, ...experts], alternatives: stacked,
  keys: { ...denseKeys, "expert_count": "num_experts", "expert_used_count": "num_experts_per_tok" }, meant: { norm_topk_prob: false }
}
const qwen3moe: Architecture = { ...olmoe, name: "qwen3moe", mixture: "qwen3_moe", keys: { ...olmoe.keys, "expert_feed_forward_length": "moe_intermediate_size" }, meant: { norm_topk_prob: true } }
const qwen2moe: Architecture = {
  ...qwen3moe, name: "qwen2moe", mixture: "qwen2_moe", meant: { norm_topk_prob: false },
  names: [...decoder, ...biases, ...experts, ...sharedExpert, ["layers.{l}.shared.router", "blk.{l}.ffn_gate_inp_shexp.weight"]],
  keys: { ...qwen3moe.keys, "expert_shared_feed_forward_length": "shared_expert_intermediate_size" }
}

/** llama.cpp leaves out the rotation of every fourth layer of every such file. */
const smollm3: Architecture = { ...qwen2, name: "smollm3", dense: "smollm3", interleaved: true, names: decoder, meant: { no_rope_layer_interval: 4 } }

/** Query, key and value in one matrix, gate and up in another. The part of a head that rotates is `rope.dimension_count`. */
const { "rope.dimension_count": _, ...withoutRotated } = repeated
const phi3: Architecture = {
  ...qwen2, name: "phi3", dense: "phi3", names: decoder.filter(([name]) => !/\.(query|key|value|gate|up)$/.test(name)),
  packed: [
    { file: "blk.{l}.attn_qkv.weight", of: ["layers.{l}.attention.query", "layers.{l}.attention.key", "layers.{l}.attention.value"] },
    { file: "blk.{l}.ffn_up.weight", of: ["layers.{l}.feedForward.gate", "layers.{l}.feedForward.up"] }
  ],
  keys: { ...denseKeys, "attention.sliding_window": "sliding_window", "rope.scaling.original_context_length": "original_max_position_embeddings" }, repeated: withoutRotated, rotated: "partial_rotary_factor"
}

export const architectures: ReadonlyArray<Architecture> = [llama, qwen2, qwen3, smollm3, phi3, gemma2, gemma3, olmoe, qwen2moe, qwen3moe, gptOss, deepseek2]
