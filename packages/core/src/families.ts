/**
 * Model families as data: how each names its tensors and its config.json keys. A new family is a new row; the code that reads rows is in
 * `Family.ts`. Hugging Face's words stay in this file.
 *
 * In patterns, {l} stands for a layer's number and {e} for an expert's. Names as of transformers 4, which every tool reads; what
 * transformers 5 writes instead (fused experts, `rope_parameters`, `dtype`) is read as well.
 */
import type { AttentionRow, Family, Field, Size } from "./familyRows.ts"

export type * from "./familyRows.ts"

const attention: Family["names"] = [
  ["embedding", "model.embed_tokens.weight"],
  ["norm", "model.norm.weight"],
  ["head", "lm_head.weight"],
  ["layers.{l}.attention.norm", "model.layers.{l}.input_layernorm.weight"],
  ["layers.{l}.attention.query", "model.layers.{l}.self_attn.q_proj.weight"],
  ["layers.{l}.attention.key", "model.layers.{l}.self_attn.k_proj.weight"],
  ["layers.{l}.attention.value", "model.layers.{l}.self_attn.v_proj.weight"],
  ["layers.{l}.attention.output", "model.layers.{l}.self_attn.o_proj.weight"],
  ["layers.{l}.feedForward.norm", "model.layers.{l}.post_attention_layernorm.weight"]
]

const decoder: ReadonlyArray<Size> = [
  { field: "vocabulary", keys: ["vocab_size"] },
  { field: "hidden", keys: ["hidden_size"] },
  { field: "layers", keys: ["num_hidden_layers"] },
  { field: "heads", keys: ["num_attention_heads"] },
  { field: "headSize", keys: ["head_dim"], missing: ["hidden", "heads"] }
]
const inner: Size = { field: "inner", keys: ["intermediate_size"] }

const feedForward: Family["names"] = [
  ["layers.{l}.feedForward.gate", "model.layers.{l}.mlp.gate_proj.weight"],
  ["layers.{l}.feedForward.up", "model.layers.{l}.mlp.up_proj.weight"],
  ["layers.{l}.feedForward.down", "model.layers.{l}.mlp.down_proj.weight"]
]
const biases: Family["names"] = [
  ["layers.{l}.attention.queryBias", "model.layers.{l}.self_attn.q_proj.bias"],
  ["layers.{l}.attention.keyBias", "model.layers.{l}.self_attn.k_proj.bias"],
  ["layers.{l}.attention.valueBias", "model.layers.{l}.self_attn.v_proj.bias"]
]
const norms: Family["names"] = [
  ["layers.{l}.attention.queryNorm", "model.layers.{l}.self_attn.q_norm.weight"],
  ["layers.{l}.attention.keyNorm", "model.layers.{l}.self_attn.k_norm.weight"]
]
const experts: Family["names"] = [
  ["layers.{l}.router.weight", "model.layers.{l}.mlp.gate.weight"],
  ["layers.{l}.experts.{e}.gate", "model.layers.{l}.mlp.experts.{e}.gate_proj.weight"],
  ["layers.{l}.experts.{e}.up", "model.layers.{l}.mlp.experts.{e}.up_proj.weight"],
  ["layers.{l}.experts.{e}.down", "model.layers.{l}.mlp.experts.{e}.down_proj.weight"]
]
const shared: Family["names"] = [
  ["layers.{l}.shared.gate", "model.layers.{l}.mlp.shared_expert.gate_proj.weight"],
  ["layers.{l}.shared.up", "model.layers.{l}.mlp.shared_expert.up_proj.weight"],
  ["layers.{l}.shared.down", "model.layers.{l}.mlp.shared_expert.down_proj.weight"],
  ["layers.{l}.shared.router", "model.layers.{l}.mlp.shared_expert_gate.weight"]
]
/** Experts as transformers 5 fuses them, the same in every family. */
const fused: Family["alternatives"] = [
  { canonical: "layers.{l}.experts.{e}.gate", file: "model.layers.{l}.mlp.experts.gate_up_proj", part: 0, parts: 2 },
  { canonical: "layers.{l}.experts.{e}.up", file: "model.layers.{l}.mlp.experts.gate_up_proj", part: 1, parts: 2 },
  { canonical: "layers.{l}.experts.{e}.down", file: "model.layers.{l}.mlp.experts.down_proj", part: 0, parts: 1 }
]

/** The sizes that a missing key leaves to the family's class in transformers. */
const defaults = (keyValueHeads: number | Field, contextLength: number, normEpsilon: number, ropeTheta = 10_000): ReadonlyArray<Size> => [
  { field: "keyValueHeads", keys: ["num_key_value_heads"], missing: keyValueHeads },
  { field: "contextLength", keys: ["max_position_embeddings"], missing: contextLength },
  { field: "normEpsilon", keys: ["rms_norm_eps"], missing: normEpsilon },
  { field: "ropeTheta", keys: ["rope_theta"], missing: ropeTheta }
]
const mixtureSizes = (...keys: readonly [string, ...Array<string>]): ReadonlyArray<Size> => [{ field: "experts", keys }, { field: "active", keys: ["num_experts_per_tok"] }]

const llama: Family = {
  name: "llama",
  architecture: "LlamaForCausalLM",
  feedForward: "dense",
  names: [...attention, ...feedForward],
  alternatives: [],
  recomputed: ["model.layers.{l}.self_attn.rotary_emb.inv_freq"],
  sizes: [...decoder, inner, ...defaults("heads", 2048, 1e-6)],
  fixed: { hidden_act: "silu", attention_bias: false, mlp_bias: false, partial_rotary_factor: 1 }
}

/** Jiang et al., "Mistral 7B", 2023. */
const mistral: Family = {
  ...llama, name: "mistral", architecture: "MistralForCausalLM",
  sizes: [...decoder, inner, ...defaults(8, 131_072, 1e-6)],
  fixed: { hidden_act: "silu", partial_rotary_factor: 1 },
  attention: { window: { key: "sliding_window", missing: 4096 } }
}

const qwenWindow: AttentionRow["window"] = { key: "sliding_window", missing: 4096, when: { key: "use_sliding_window", missing: false }, from: { key: "max_window_layers", missing: 28 } }

const qwen2: Family = {
  ...llama, name: "qwen2", architecture: "Qwen2ForCausalLM",
  names: [...attention, ...biases, ...feedForward],
  sizes: [...decoder, inner, ...defaults(32, 32_768, 1e-6)],
  fixed: { hidden_act: "silu", partial_rotary_factor: 1 },
  attention: { bias: true, window: qwenWindow }
}

const qwen3: Family = {
  ...llama, name: "qwen3", architecture: "Qwen3ForCausalLM",
  names: [...attention, ...norms, ...feedForward],
  sizes: [...decoder.filter(({ field }) => field !== "headSize"), { field: "headSize", keys: ["head_dim"], missing: 128 }, inner, ...defaults(32, 32_768, 1e-6)],
  fixed: { hidden_act: "silu", attention_bias: false, partial_rotary_factor: 1 },
  attention: { norms: "head", window: qwenWindow }
}

/** Some layers without rotary positions: Yang et al., "RoPE to NoPE and back again", 2025. */
const smollm3: Family = {
  ...llama, name: "smollm3", architecture: "SmolLM3ForCausalLM",
  sizes: [...decoder, inner, ...defaults(4, 32_768, 1e-6, 2_000_000)],
  fixed: { ...llama.fixed, use_sliding_window: false },
  attention: { noRope: { key: "no_rope_layers", interval: "no_rope_layer_interval", missing: 4 } },
  tied: true
}

/** Abdin et al., "Phi-3", 2024. Query, key and value in one matrix, gate and up in another. */
const phi3: Family = {
  ...llama, name: "phi3", architecture: "Phi3ForCausalLM",
  names: [...attention.filter(([name]) => !/query|key|value/.test(name)), feedForward[2]!],
  packed: [
    { file: "model.layers.{l}.self_attn.qkv_proj.weight", of: ["layers.{l}.attention.query", "layers.{l}.attention.key", "layers.{l}.attention.value"] },
    { file: "model.layers.{l}.mlp.gate_up_proj.weight", of: ["layers.{l}.feedForward.gate", "layers.{l}.feedForward.up"] }
  ],
  sizes: [...decoder, inner, ...defaults("heads", 4096, 1e-5)],
  fixed: { hidden_act: "silu", attention_bias: false },
  attention: { window: { key: "sliding_window", missing: null }, share: { key: "partial_rotary_factor" } },
  rope: { kinds: ["longrope"], words: { su: "longrope", yarn: "longrope" }, context: "original_max_position_embeddings" }
}

const gemmaNorms: Family["names"] = [
  ["layers.{l}.attention.outputNorm", "model.layers.{l}.post_attention_layernorm.weight"],
  ["layers.{l}.feedForward.norm", "model.layers.{l}.pre_feedforward_layernorm.weight"],
  ["layers.{l}.feedForward.outputNorm", "model.layers.{l}.post_feedforward_layernorm.weight"]
]
const gemmaSizes: ReadonlyArray<Size> = [...decoder.filter(({ field }) => field !== "headSize"), { field: "headSize", keys: ["head_dim"], missing: 256 }, inner]

/** Riviere et al., "Gemma 2", 2024. */
const gemma2: Family = {
  ...llama, name: "gemma2", architecture: "Gemma2ForCausalLM",
  names: [...attention.filter(([name]) => name !== "layers.{l}.feedForward.norm"), ...gemmaNorms, ...feedForward],
  sizes: [...gemmaSizes, ...defaults(4, 8192, 1e-6)],
  fixed: { hidden_act: "gelu_pytorch_tanh", hidden_activation: "gelu_pytorch_tanh", attention_bias: false, use_bidirectional_attention: false, partial_rotary_factor: 1 },
  attention: {
    window: { key: "sliding_window", missing: 4096, every: { missing: 2 } }, scale: { key: "query_pre_attn_scalar", missing: 256 }, softCap: { key: "attn_logit_softcapping", missing: 50 }
  },
  activation: { kind: "geluTanh" }, outputNorms: true, shiftedGains: true, scaledEmbeddings: true, logitCap: { key: "final_logit_softcapping", missing: 30 },
  tied: true
}

/** Kamath et al., "Gemma 3", 2025: its text model. */
const gemma3: Family = {
  ...gemma2, name: "gemma3_text", architecture: "Gemma3ForCausalLM",
  names: [...gemma2.names, ...norms],
  sizes: [...gemmaSizes, ...defaults(4, 131_072, 1e-6, 1_000_000)],
  fixed: { hidden_activation: "gelu_pytorch_tanh", attention_bias: false, use_bidirectional_attention: false, partial_rotary_factor: 1 },
  attention: {
    norms: "head", window: { key: "sliding_window", missing: 4096, every: { key: "sliding_window_pattern", missing: 6 } }, localTheta: { key: "rope_local_base_freq", missing: 10_000 },
    scale: { key: "query_pre_attn_scalar", missing: 256 }, softCap: { key: "attn_logit_softcapping", missing: null }
  },
  logitCap: { key: "final_logit_softcapping", missing: null }
}

const mixtral: Family = {
  name: "mixtral",
  architecture: "MixtralForCausalLM",
  feedForward: "mixture",
  names: [
    ...attention,
    ["layers.{l}.router.weight", "model.layers.{l}.block_sparse_moe.gate.weight"],
    ["layers.{l}.experts.{e}.gate", "model.layers.{l}.block_sparse_moe.experts.{e}.w1.weight"],
    ["layers.{l}.experts.{e}.down", "model.layers.{l}.block_sparse_moe.experts.{e}.w2.weight"],
    ["layers.{l}.experts.{e}.up", "model.layers.{l}.block_sparse_moe.experts.{e}.w3.weight"]
  ],
  alternatives: [{ canonical: "layers.{l}.router.weight", file: "model.layers.{l}.mlp.gate.weight" }, ...fused],
  recomputed: ["model.layers.{l}.self_attn.rotary_emb.inv_freq"],
  sizes: [...decoder, inner, ...defaults(8, 131_072, 1e-5, 1_000_000), ...mixtureSizes("num_local_experts", "num_experts")],
  fixed: { hidden_act: "silu", partial_rotary_factor: 1 },
  attention: { window: { key: "sliding_window", missing: null } },
  router: { normalised: true }
}

/** Muennighoff et al., "OLMoE", 2024. */
const olmoe: Family = {
  ...mixtral, name: "olmoe", architecture: "OlmoeForCausalLM",
  names: [...attention, ...norms, ...experts],
  alternatives: fused,
  sizes: [...decoder, inner, ...defaults("heads", 4096, 1e-5), ...mixtureSizes("num_experts", "num_local_experts")],
  fixed: { hidden_act: "silu", attention_bias: false, clip_qkv: null, partial_rotary_factor: 1 },
  attention: { norms: "width" },
  router: { normalised: { key: "norm_topk_prob", missing: false } }
}

/** Every layer must be a mixture: one shape for all. */
const everyLayer = { decoder_sparse_step: 1, mlp_only_layers: [], use_sliding_window: false } as const
const expertInner: Size = { field: "inner", keys: ["moe_intermediate_size"] }

const qwen2Moe: Family = {
  ...olmoe, name: "qwen2_moe", architecture: "Qwen2MoeForCausalLM",
  names: [...attention, ...biases, ...experts, ...shared],
  sizes: [...decoder, expertInner, ...defaults(16, 32_768, 1e-6), ...mixtureSizes("num_experts", "num_local_experts"), { field: "sharedInner", keys: ["shared_expert_intermediate_size"] }],
  fixed: { hidden_act: "silu", partial_rotary_factor: 1, ...everyLayer },
  attention: { bias: { key: "qkv_bias", missing: true } },
  router: { normalised: { key: "norm_topk_prob", missing: false }, shared: { gate: true } }
}

const qwen3Moe: Family = {
  ...olmoe, name: "qwen3_moe", architecture: "Qwen3MoeForCausalLM",
  sizes: [...decoder, expertInner, ...defaults(4, 32_768, 1e-6), ...mixtureSizes("num_experts", "num_local_experts")],
  fixed: { hidden_act: "silu", attention_bias: false, partial_rotary_factor: 1, ...everyLayer },
  attention: { norms: "head" }
}

/** OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", 2025. Experts of a layer in one tensor, turned, gate and up by turns. */
const gptOss: Family = {
  name: "gpt_oss", architecture: "GptOssForCausalLM", feedForward: "mixture",
  names: [
    ...attention, ...biases,
    ["layers.{l}.attention.outputBias", "model.layers.{l}.self_attn.o_proj.bias"],
    ["layers.{l}.attention.sinks", "model.layers.{l}.self_attn.sinks"],
    ["layers.{l}.router.weight", "model.layers.{l}.mlp.router.weight"],
    ["layers.{l}.router.bias", "model.layers.{l}.mlp.router.bias"]
  ],
  alternatives: [],
  packed: [
    { file: "model.layers.{l}.mlp.experts.gate_up_proj", of: ["layers.{l}.experts.{e}.gate", "layers.{l}.experts.{e}.up"], alternating: true, turned: true },
    { file: "model.layers.{l}.mlp.experts.gate_up_proj_bias", of: ["layers.{l}.experts.{e}.gateBias", "layers.{l}.experts.{e}.upBias"], alternating: true },
    { file: "model.layers.{l}.mlp.experts.down_proj", of: ["layers.{l}.experts.{e}.down"], turned: true },
    { file: "model.layers.{l}.mlp.experts.down_proj_bias", of: ["layers.{l}.experts.{e}.downBias"] }
  ],
  recomputed: [],
  sizes: [...decoder, inner, ...defaults(8, 131_072, 1e-5, 150_000), ...mixtureSizes("num_local_experts", "num_experts")],
  fixed: { hidden_act: "silu", partial_rotary_factor: 1 },
  attention: { bias: { key: "attention_bias", missing: true }, outputBias: true, sinks: true, window: { key: "sliding_window", missing: 128, every: { missing: 2 } } },
  rope: { missing: { kind: "yarn", factor: 32, originalContext: 4096, fast: 32, slow: 1, whole: false } },
  activation: { kind: "clampedSilu", slope: { key: "swiglu_alpha", missing: 1.702 }, limit: { key: "swiglu_limit", missing: 7 } },
  router: { normalised: true, bias: true, expertBias: true }
}

const latentSizes: ReadonlyArray<Size> = [
  ...decoder.filter(({ field }) => field !== "headSize"),
  { field: "rotated", keys: ["qk_rope_head_dim", "head_dim"], missing: 64 }, { field: "still", keys: ["qk_nope_head_dim"], missing: 128 }, { field: "headSize", keys: [], missing: { sum: ["rotated", "still"] } },
  { field: "valueSize", keys: ["v_head_dim"], missing: 128 }, { field: "keyValueRank", keys: ["kv_lora_rank"], missing: 512 }, { field: "queryRank", keys: ["q_lora_rank"], missing: 1536, zero: "none" },
  { field: "inner", keys: ["moe_intermediate_size"] }, { field: "denseInner", keys: ["intermediate_size"] }, { field: "experts", keys: ["n_routed_experts", "num_local_experts"] }, { field: "active", keys: ["num_experts_per_tok"] },
  { field: "sharedInner", keys: [], missing: { product: ["shared", "inner"] } }
]
const latentNames: Family["names"] = [
  ...attention.filter(([name]) => !/attention\.(key|value)$/.test(name)),
  ["layers.{l}.attention.queryUp", "model.layers.{l}.self_attn.q_b_proj.weight"],
  ["layers.{l}.attention.queryDown", "model.layers.{l}.self_attn.q_a_proj.weight"],
  ["layers.{l}.attention.queryDownNorm", "model.layers.{l}.self_attn.q_a_layernorm.weight"],
  ["layers.{l}.attention.keyValueDown", "model.layers.{l}.self_attn.kv_a_proj_with_mqa.weight"],
  ["layers.{l}.attention.keyValueDownNorm", "model.layers.{l}.self_attn.kv_a_layernorm.weight"],
  ["layers.{l}.attention.keyValue", "model.layers.{l}.self_attn.kv_b_proj.weight"],
  ...feedForward, ...experts,
  ...shared.slice(0, 3).map(([ours, theirs]) => [ours, theirs.replace("shared_expert", "shared_experts")] as const)
]

/** DeepSeek-AI, "DeepSeek-V2", 2024. */
const deepseekV2: Family = {
  name: "deepseek_v2", architecture: "DeepseekV2ForCausalLM", feedForward: "mixture",
  names: latentNames,
  alternatives: fused,
  recomputed: ["model.layers.{l}.self_attn.rotary_emb.inv_freq"],
  sizes: [...latentSizes, ...defaults("heads", 2048, 1e-6), { field: "shared", keys: ["n_shared_experts"], missing: 2 }, { field: "dense", keys: ["first_k_dense_replace"], missing: 0, zero: "zero" }],
  fixed: { hidden_act: "silu", attention_bias: false, mlp_bias: false, moe_layer_freq: 1, scoring_func: "softmax", norm_topk_prob: false, partial_rotary_factor: 1 },
  attention: { latent: { interleaved: true, epsilon: 1e-6 } },
  router: {
    normalised: false, shared: { gate: false }, scale: { key: "routed_scaling_factor", missing: 1 },
    groups: { count: "n_group", keep: "topk_group", by: "max", method: { key: "topk_method", without: "greedy", within: "group_limited_greedy" } }
  }
}

/** DeepSeek-AI, "DeepSeek-V3", 2024; its layer for predicting a second token is left out, as transformers leaves it out. */
const deepseekV3: Family = {
  ...deepseekV2, name: "deepseek_v3", architecture: "DeepseekV3ForCausalLM",
  further: { key: "num_nextn_predict_layers", names: "model.layers.{l}." },
  names: [...latentNames, ["layers.{l}.router.correction", "model.layers.{l}.mlp.gate.e_score_correction_bias"]],
  sizes: [...latentSizes, ...defaults("heads", 4096, 1e-6), { field: "shared", keys: ["n_shared_experts"], missing: 1 }, { field: "dense", keys: ["first_k_dense_replace"], missing: 3, zero: "zero" }],
  fixed: { hidden_act: "silu", attention_bias: false, moe_layer_freq: 1, scoring_func: "sigmoid", topk_method: "noaux_tc", partial_rotary_factor: 1 },
  attention: { latent: { interleaved: { key: "rope_interleave", missing: true }, epsilon: 1e-6 } },
  router: {
    normalised: { key: "norm_topk_prob", missing: true }, sigmoid: true, shared: { gate: false }, scale: { key: "routed_scaling_factor", missing: 2.5 },
    groups: { count: "n_group", keep: "topk_group", by: "top2sum" }
  }
}

/** Every family of Hugging Face's that is read and written, the simplest first: a model that several express is written as the first of them, its own aside. */
export const families: ReadonlyArray<Family> = [llama, mistral, qwen2, qwen3, smollm3, phi3, gemma2, gemma3, mixtral, olmoe, qwen2Moe, qwen3Moe, gptOss, deepseekV2, deepseekV3]

/**
 * Keys of config.json that change no number of a forward pass: training, generation, other heads, tokens' numbers, the file itself, or what another key says already. They are carried without a
 * word; any other that a row does not understand is carried and told of.
 */
export const idle: ReadonlySet<string> = new Set([
  "_name_or_path", "_sliding_window_pattern", "auto_map", "model_name", "transformers_version", "tokenizer_class", "unsloth_version", "use_bfloat16", "torchscript", "tf_legacy_loss", "quantization_config",
  "attention_dropout", "embd_pdrop", "hidden_dropout", "mlp_dropout", "resid_pdrop", "initializer_range", "gradient_checkpointing", "pretraining_tp", "ep_size", "aux_loss_alpha", "seq_aux", "router_aux_loss_coef", "router_jitter_noise", "output_router_logits",
  "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id", "use_cache", "cache_implementation", "return_dict", "output_attentions", "output_hidden_states", "max_length", "do_sample", "temperature", "top_k", "top_p",
  "chunk_size_feed_forward", "finetuning_task", "id2label", "label2id", "problem_type", "task_specific_params", "is_decoder", "is_encoder_decoder", "add_cross_attention", "cross_attention_hidden_size", "tie_encoder_decoder", "pruned_heads",
  "experts_per_token", "initial_context_length", "intermediate_size", "max_window_layers", "no_rope_layer_interval", "original_max_position_embeddings", "qk_head_dim", "sliding_window", "use_mrope"
])

/** Keys of config.json whose numbers transformers 5 takes only with a point. */
export const fractions: ReadonlySet<string> = new Set([
  "rms_norm_eps", "rope_theta", "initializer_range", "attention_dropout", "router_aux_loss_coef", "router_jitter_noise", "clip_qkv", "routed_scaling_factor", "final_logit_softcapping",
  "attn_logit_softcapping", "swiglu_alpha", "swiglu_limit", "factor", "low_freq_factor", "high_freq_factor", "rope_local_base_freq", "attention_factor", "beta_fast", "beta_slow",
  "mscale", "mscale_all_dim", "partial_rotary_factor"
])

/** `model_type` of our own layout: config.json holds the Model itself, tensors have their canonical names. It expresses everything. */
export const own = "switchyard"
