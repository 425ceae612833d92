import { describe, expect, test } from "@jest/globals"
import { Effect, Exit, Logger } from "effect"
import { readFileSync } from "node:fs"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Checkpoint from "./Checkpoint.ts"
import { configText } from "./configText.ts"
import * as Family from "./Family.ts"
import * as Model from "./Model.ts"
import * as Safetensors from "./Safetensors.ts"
import type { Plain } from "./StrictJson.ts"
import * as Tokenizer from "./Tokenizer.ts"
import * as Weights from "./Weights.ts"

type Config = Record<string, Plain>
const read = (config: Config, table?: Family.Table) => Effect.runPromise(Family.readConfig("config.json", config, table))
const failure = async (effect: Effect.Effect<unknown, Error>) => {
  const error = Exit.findErrorOption(await Effect.runPromiseExit(effect))
  return error._tag === "Some" ? error.value.message : "no error"
}
interface Published { readonly config: Config; readonly bytes?: number; readonly tensors?: number; readonly names?: ReadonlyArray<string> }
const published = JSON.parse(readFileSync(new URL("fixtures/published/models.json", import.meta.url), "utf8")) as Record<string, Published>
const configOf = (name: string): Config => published[name]!.config
const qwen2 = configOf("Qwen2.5-0.5B"), qwen2Moe = configOf("Qwen1.5-MoE-A2.7B"), olmoe = configOf("OLMoE-1B-7B-0924"), llama = configOf("Llama-3.2-1B"), smollm3 = configOf("SmolLM3")
const mistral: Config = {
  model_type: "mistral", vocab_size: 32, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2,
  max_position_embeddings: 64, rms_norm_eps: 1e-5, rope_theta: 10000, tie_word_embeddings: false, sliding_window: 8
}
const qwen3 = { ...mistral, model_type: "qwen3", head_dim: 8 }, qwen3Moe: Config = { ...qwen3, model_type: "qwen3_moe", num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 12 }

/** As published for Phi-3-mini-4k, Gemma 2 2B and Gemma 3 1B. */
const phi3: Config = {
  model_type: "phi3", architectures: ["Phi3ForCausalLM"], vocab_size: 32064, hidden_size: 3072, intermediate_size: 8192, num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 32, hidden_act: "silu",
  max_position_embeddings: 4096, original_max_position_embeddings: 4096, rms_norm_eps: 1e-5, rope_theta: 10000, sliding_window: 2047, tie_word_embeddings: false, attention_bias: false
}
const gemma2: Config = {
  model_type: "gemma2", vocab_size: 256000, hidden_size: 2304, intermediate_size: 9216, num_hidden_layers: 26, num_attention_heads: 8, num_key_value_heads: 4, head_dim: 256, max_position_embeddings: 8192,
  hidden_activation: "gelu_pytorch_tanh", query_pre_attn_scalar: 256, sliding_window: 4096, attn_logit_softcapping: 50, final_logit_softcapping: 30, rms_norm_eps: 1e-6, rope_theta: 10000
}
const gemma3: Config = {
  model_type: "gemma3_text", vocab_size: 262144, hidden_size: 1152, intermediate_size: 6912, num_hidden_layers: 26, num_attention_heads: 4, num_key_value_heads: 1, head_dim: 256, max_position_embeddings: 32768,
  hidden_activation: "gelu_pytorch_tanh", query_pre_attn_scalar: 256, sliding_window: 512, sliding_window_pattern: 6, rms_norm_eps: 1e-6, rope_theta: 1000000, rope_local_base_freq: 10000, attn_logit_softcapping: null
}

const gptOss: Config = { // gpt-oss-20b
  model_type: "gpt_oss", vocab_size: 201088, hidden_size: 2880, intermediate_size: 2880, num_hidden_layers: 24, num_attention_heads: 64, num_key_value_heads: 8, head_dim: 64, max_position_embeddings: 131072,
  num_local_experts: 32, num_experts_per_tok: 4, sliding_window: 128, rms_norm_eps: 1e-5, rope_theta: 150000, attention_bias: true, swiglu_limit: 7, tie_word_embeddings: false,
  rope_scaling: { rope_type: "yarn", factor: 32, beta_fast: 32, beta_slow: 1, truncate: false, original_max_position_embeddings: 4096 }
}

const lessening = 707 / 1000 // DeepSeek's weight, which only looks like √½
/** DeepSeek-V2-Lite and DeepSeek-V3. */
const deepseekV2: Config = {
  model_type: "deepseek_v2", vocab_size: 102400, hidden_size: 2048, intermediate_size: 10944, moe_intermediate_size: 1408, num_hidden_layers: 27, num_attention_heads: 16, num_key_value_heads: 16, n_shared_experts: 2,
  n_routed_experts: 64, num_experts_per_tok: 6, first_k_dense_replace: 1, moe_layer_freq: 1, n_group: 1, topk_group: 1, topk_method: "greedy", scoring_func: "softmax", norm_topk_prob: false, routed_scaling_factor: 1,
  q_lora_rank: null, kv_lora_rank: 512, qk_nope_head_dim: 128, qk_rope_head_dim: 64, v_head_dim: 128, max_position_embeddings: 163840, rms_norm_eps: 1e-6, rope_theta: 10000, attention_bias: false,
  rope_scaling: { type: "yarn", factor: 40, beta_fast: 32, beta_slow: 1, mscale: lessening, mscale_all_dim: lessening, original_max_position_embeddings: 4096 }
}
const deepseekV3: Config = {
  ...deepseekV2, model_type: "deepseek_v3", vocab_size: 129280, hidden_size: 7168, intermediate_size: 18432, moe_intermediate_size: 2048, num_hidden_layers: 61, num_attention_heads: 128, num_key_value_heads: 128,
  n_shared_experts: 1, n_routed_experts: 256, num_experts_per_tok: 8, first_k_dense_replace: 3, n_group: 8, topk_group: 4, topk_method: "noaux_tc", scoring_func: "sigmoid", norm_topk_prob: true, routed_scaling_factor: 2.5,
  q_lora_rank: 1536, num_nextn_predict_layers: 1
}

/** `{16}` in a pattern stands for 0 … 15. */
const expand = (pattern: string): ReadonlyArray<string> => {
  const hole = /\{(\d+)\}/.exec(pattern)
  return hole === null ? [pattern] : Array.from({ length: Number(hole[1]) }, (_, i) => pattern.replace(hole[0], String(i))).flatMap(expand)
}

describe("published models", () => {
  test.each(["OLMoE-1B-7B-0924", "Qwen1.5-MoE-A2.7B"])("%s: the names of its index, set-equal in both directions, and its bytes", async (name) => {
    const { bytes, config, names, tensors } = published[name]!, files = names!.flatMap(expand)
    const model = await read(config), row = Family.find(model.family)!, canonical = Model.tensors(model).map((tensor) => tensor.name)
    expect([files.length, canonical.length]).toEqual([tensors, tensors])
    expect(canonical.map((each) => Family.toFile(row, each)).sort()).toEqual([...files].sort())
    expect(files.map((each) => Family.toCanonical(row, each)).sort()).toEqual([...canonical].sort())
    expect(2 * Model.parameters(model)).toBe(bytes)
  })
  test.each([["Llama-3.2-1B", 146, 1_235_814_400], ["Qwen2.5-0.5B", 290, 494_032_768]] as const)("%s: %d tensors, %d weights", async (name, tensors, weights) => {
    const model = await read(configOf(name))
    expect([Model.tensors(model).length, Model.parameters(model)]).toEqual([tensors, weights])
  })
  test.each([["Phi-3-mini-4k", phi3, 3_821_079_552], ["Gemma 2 2B", gemma2, 2_614_341_888], ["Gemma 3 1B", gemma3, 999_885_952], ["gpt-oss-20b", gptOss, 20_914_757_184], ["DeepSeek-V2-Lite", deepseekV2, 15_706_484_224], ["DeepSeek-V3", deepseekV3, 671_026_419_200]] as const)("%s: the number of weights that is published", async (_, config, weights) => {
    expect(Model.parameters(await read(config))).toBe(weights)
  })
  test.each(Object.keys(published))("%s: its config read and written again keeps every key's value", async (name) => {
    const config = configOf(name), model = await read(config), written = Family.writeConfig(model.family, model, "BF16")
    for (const [key, value] of Object.entries(config)) if (value !== null) expect([key, written[key]]).toEqual([key, value])
    expect(await read(written as Config)).toEqual(model)
  })
  test("what is read beyond names and sizes", async () => {
    expect((await read(llama)).ropeScaling).toEqual({ kind: "llama3", factor: 32, lowFrequency: 1, highFrequency: 4, originalContext: 8192 })
    expect((await read(qwen2)).attention).toEqual({ bias: true })
    expect((await read(olmoe)).attention).toEqual({ norms: "width" })
    expect((await read(smollm3)).attention).toEqual({ noRope: [3, 7] })
    expect((await read(qwen2Moe)).feedForward).toMatchObject({ inner: 1408, shared: { inner: 5632, gate: true }, router: { weight: "prob", select: { keep: "top", active: 4 } } })
    expect(Model.activeParameters(await read(qwen2Moe)) / 1e9).toBeCloseTo(2.7, 1) // as its name says
  })
})

describe("keys beyond sizes", () => {
  test("a window: Mistral's by default, Qwen's only where it is switched on, none where it is wider than the context", async () => {
    const windowOf = async (config: Config) => (await read(config)).attention?.window
    const { sliding_window: _, ...without } = mistral, on = { ...qwen3, use_sliding_window: true, max_window_layers: 0 }
    expect(await windowOf(mistral)).toBe(8)
    expect(await windowOf({ ...without, max_position_embeddings: 8192 })).toBe(4096)
    expect(await windowOf({ ...mistral, sliding_window: null })).toBeUndefined()
    expect(await windowOf({ ...mistral, sliding_window: 64 })).toBeUndefined()
    expect([await windowOf(qwen3), await windowOf(on), await windowOf({ ...on, max_window_layers: 2 })]).toEqual([undefined, 8, undefined])
    expect(await windowOf({ ...on, max_window_layers: 28, layer_types: ["sliding_attention", "sliding_attention"] })).toBe(8)
    for (const config of [mistral, on, { ...mistral, sliding_window: null }, { ...on, use_sliding_window: false }]) {
      const model = await read(config), back = await read(Family.writeConfig(model.family, model, "F32") as Config)
      expect(back.attention).toEqual(model.attention)
    }
  })
  test("a window that is switched off is carried, whatever its width", async () => {
    expect(await read(qwen3Moe)).toMatchObject({ extra: { sliding_window: 8 } })
    expect(await read({ ...qwen3, use_sliding_window: false })).toMatchObject({ extra: { sliding_window: 8 } })
  })
  test("layers without rotary positions by interval, and tied embeddings by default", async () => {
    const { no_rope_layers: _, tie_word_embeddings: __, ...rest } = smollm3
    expect(await read({ ...rest, no_rope_layer_interval: 2 })).toMatchObject({ attention: { noRope: [1, 3, 5, 7] }, tiedEmbeddings: true })
  })
  test("scaled rotary positions under both of transformers' keys", async () => {
    const { rope_scaling, rope_theta, ...rest } = llama
    expect((await read({ ...rest, rope_parameters: { ...rope_scaling as Config, rope_theta: rope_theta! } })).ropeScaling).toEqual((await read(llama)).ropeScaling)
    const linear = await read({ ...llama, rope_scaling: { type: "linear", factor: 2 } })
    expect([linear.ropeScaling, Family.writeConfig("llama", linear, "F32")["rope_scaling"]]).toEqual([{ kind: "linear", factor: 2 }, { rope_type: "linear", type: "linear", factor: 2 }])
  })
  test("YaRN: what is said is kept, what is left out has transformers' default", async () => {
    const of = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 32768 }, { ropeScaling, ...model } = await read({ ...llama, rope_scaling: of })
    expect(ropeScaling).toEqual({ kind: "yarn", factor: 4, originalContext: 32768, fast: 32, slow: 1, whole: true })
    expect(Family.writeConfig("llama", { ...model, ropeScaling: ropeScaling! }, "F32")["rope_scaling"]).toEqual({ ...of, type: "yarn", beta_fast: 32, beta_slow: 1, truncate: true })
  })
  test("Phi-3: longrope under its older words, the context beside it, a part of each head", async () => {
    const list = Array.from({ length: 36 }, (_, i) => 1 + i), model = await read({ ...phi3, partial_rotary_factor: 0.75, max_position_embeddings: 131072, rope_scaling: { type: "su", short_factor: list, long_factor: list } })
    expect([model.ropeScaling, model.attention]).toEqual([{ kind: "longrope", short: list, long: list, originalContext: 4096 }, { rotated: 72, window: 2047 }])
    const written = Family.writeConfig("phi3", model, "F32")
    expect(written).toMatchObject({ rope_scaling: { type: "longrope", short_factor: list, long_factor: list }, original_max_position_embeddings: 4096, partial_rotary_factor: 0.75 })
    expect(Object.keys(written["rope_scaling"] as Config).length).toBe(3) // transformers 4 takes no other
    expect(await read(written as Config)).toEqual(model)
  })
  test("Gemma: which layers see everything, thetas, caps and scales", async () => {
    const two = await read(gemma2), three = await read({ ...gemma3, rope_scaling: { rope_type: "linear", factor: 8 }, query_pre_attn_scalar: 168 })
    expect(two).toMatchObject({ attention: { window: 4096, global: [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25], softCap: 50 }, logitCap: 30, embeddingScale: 48, outputNorms: true, shiftedGains: true, activation: { kind: "geluTanh" }, tiedEmbeddings: true })
    expect(three).toMatchObject({ attention: { norms: "head", window: 512, global: [5, 11, 17, 23], localTheta: 10000, scale: 1 / Math.sqrt(168) }, ropeTheta: 1e6, ropeScaling: { kind: "linear", factor: 8 } })
    for (const model of [two, three]) {
      const written = Family.writeConfig(model.family, model, "F32") as Config
      expect(await read(written)).toEqual({ ...model, extra: model.extra })
      expect((written["layer_types"] as ReadonlyArray<string>)[5]).toBe("full_attention")
    }
    const { rope_theta, rope_local_base_freq, ...rest } = gemma3
    expect(await read({ ...rest, rope_parameters: { full_attention: { rope_theta: rope_theta! }, sliding_attention: { rope_theta: rope_local_base_freq! } } })).toEqual(await read(gemma3))
  })
  test("gpt-oss: biases, sinks, windows in every other layer, its inner function; positions scaled where nothing is said", async () => {
    const model = await read(gptOss), { rope_scaling, ...silent } = gptOss
    expect(model).toMatchObject({
      attention: { bias: true, outputBias: true, sinks: true, window: 128, global: Array.from({ length: 12 }, (_, i) => 2 * i + 1) }, activation: { kind: "clampedSilu", slope: 1.702, limit: 7 },
      feedForward: { expert: { kind: "full", bias: true }, router: { score: { by: "linear", bias: true } }, routerTensors: { weight: [32, 2880], bias: [32] } }
    })
    expect((Model.activeParameters(model) - model.vocabulary * model.hidden) / 1e9).toBeCloseTo(3.61, 2) // as its card says, the embedding left out
    expect((await read(silent)).ropeScaling).toEqual(model.ropeScaling)
    const { ropeScaling: _, ...plain } = model, written = Family.writeConfig("gpt_oss", plain, "F32") as Config
    expect([written["rope_scaling"], (await read(written)).ropeScaling]).toEqual([{ rope_type: "default" }, undefined])
    expect(await read(Family.writeConfig("gpt_oss", model, "F32") as Config)).toEqual(model)
  })
  test("DeepSeek: latent attention, a first layer without experts, V2's softmax and V3's sigmoids with their groups and scale", async () => {
    const lite = await read(deepseekV2), three = await read(deepseekV3)
    expect(lite).toMatchObject({ headSize: 192, attention: { rotated: 64, latent: { keyValue: 512, value: 128, interleaved: true, epsilon: 1e-6 } }, ropeScaling: { weight: lessening, weightAll: lessening } })
    expect(lite.feedForward).toMatchObject({ inner: 1408, dense: { layers: 1, inner: 10944 }, shared: { inner: 2816, gate: false } })
    const router = (model: Model.Model) => (model.feedForward as Model.Mixture).router
    expect(router(lite)).toEqual({ unit: { of: "token" }, score: { by: "linear" }, select: { keep: "top", active: 6 }, weight: "prob" })
    expect(router(three)).toEqual({ unit: { of: "token" }, score: { by: "linear" }, activation: "sigmoid", correction: true, groups: { count: 8, keep: 4, by: "top2sum" }, select: { keep: "top", active: 8 }, weight: "renorm", scale: 2.5 })
    expect(router(await read({ ...deepseekV2, topk_method: "group_limited_greedy", n_group: 8, topk_group: 3, routed_scaling_factor: 16 }))).toMatchObject({ groups: { count: 8, keep: 3, by: "max" }, weight: "prob", scale: 16 })
    expect([Math.round(Model.activeParameters(lite) / 1e8), Math.round(Model.activeParameters(three) / 1e9)]).toEqual([27, 38]) // 2.4 and 37 billion without the embedding
    for (const model of [lite, three]) {
      const config = model === lite ? deepseekV2 : deepseekV3, written = Family.writeConfig(model.family, model, "F32") as Config
      for (const [key, value] of Object.entries(config)) if (key !== "rope_scaling" && key !== "num_nextn_predict_layers") expect([key, written[key]]).toEqual([key, value])
      expect(await read(written)).toEqual(model)
    }
    expect(Family.writeConfig("deepseek_v3", three, "F32")["num_nextn_predict_layers"]).toBe(0) // none is written
    expect(Family.toFile(Family.find("deepseek_v3")!, "layers.4.attention.queryUp")).toBe("model.layers.4.self_attn.q_b_proj.weight")
  })
  test("Qwen: a window in the layers behind the first ones", async () => {
    const model = await read({ ...qwen3, use_sliding_window: true, max_window_layers: 1 }), written = Family.writeConfig("qwen3", model, "F32")
    expect([model.attention, written["layer_types"], written["max_window_layers"]]).toEqual([{ norms: "head", window: 8, global: [0] }, ["full_attention", "sliding_attention"], 1])
    expect(await read(written as Config)).toEqual(model)
  })
  test("weights of the chosen: as they are, or divided by their sum", async () => {
    const weightOf = async (config: Config) => ((await read(config)).feedForward as Model.Mixture).router as Config
    expect([(await weightOf(olmoe))["weight"], (await weightOf({ ...olmoe, norm_topk_prob: true }))["weight"]]).toEqual(["prob", "renorm"])
  })
  test("numbers that transformers 5 takes only as fractions keep their point", async () => {
    const text = configText(Family.writeConfig("mixtral", { ...await read(qwen3Moe), extra: { router_jitter_noise: 0, pad_token_id: 0, note: "router_jitter_noise: 0" } }, "F32"))
    expect(text).toMatch(/"router_jitter_noise": 0\.0,\n/)
    expect(text).toMatch(/"pad_token_id": 0,\n/)
    expect(JSON.parse(text)).toMatchObject({ router_jitter_noise: 0, note: "router_jitter_noise: 0", rms_norm_eps: 1e-5 })
  })
  const { shared_expert_intermediate_size: _, ...unshared } = qwen2Moe
  const scaled = (scaling: Config): Config => ({ ...llama, rope_scaling: scaling })
  test.each<readonly [string, Config, RegExp]>([
    ["another way of choosing", { ...deepseekV2, topk_method: "noaux_tc" }, /topk_method: "noaux_tc" is not computed by our decoder, only "greedy" and "group_limited_greedy" are/],
    ["sigmoids where the family has none", { ...deepseekV2, scoring_func: "sigmoid" }, /scoring_func: "sigmoid" is not computed/],
    ["groups that do not divide the experts", { ...deepseekV3, n_group: 7 }, /n_group: 4 of 7 groups of 256 experts/],
    ["more layers for further tokens than layers", { ...deepseekV3, num_nextn_predict_layers: 62 }, /num_nextn_predict_layers: 62 layers for further tokens behind 61/],
    ["half a layer for further tokens", { ...deepseekV3, num_nextn_predict_layers: 0.5 }, /num_nextn_predict_layers: 0.5 layers/],
    ["a mixture in no layer", { ...deepseekV3, first_k_dense_replace: 61 }, /61 dense layers of 61, none left for experts/],
    ["fewer key-value heads in latent attention", { ...deepseekV2, num_key_value_heads: 4 }, /4 key-value heads of 16 in latent attention/],
    ["a part of rotated numbers said twice", { ...deepseekV2, head_dim: 128 }, /head_dim: 128 contradicts qk_rope_head_dim = 64/],
    ["dynamic positions", scaled({ rope_type: "dynamic", factor: 4 }), /rope_scaling: rotary positions of type "dynamic" are not computed/],
    ["YaRN cut by a word", scaled({ rope_type: "yarn", factor: 4, truncate: "no" }), /type "yarn" need truncate, which is "no"/],
    ["a list that is none", { ...phi3, rope_scaling: { type: "longrope", short_factor: 1, long_factor: [1] } }, /type "longrope" need short_factor, which is 1/],
    ["a factor too few", { ...phi3, rope_scaling: { type: "su", short_factor: [1, 1], long_factor: [1] } }, /2 short factors for 48 frequencies/],
    ["another scaling than the family's", { ...phi3, rope_scaling: { type: "linear", factor: 2 } }, /rope_scaling: rotary positions of type "linear" are not known in this family/],
    ["two original contexts", { ...phi3, rope_scaling: { type: "longrope", short_factor: [1], long_factor: [1], original_max_position_embeddings: 8 } }, /original_max_position_embeddings: 4096 contradicts rope_scaling/],
    ["an odd part of a head", { ...phi3, partial_rotary_factor: 0.1 }, /partial_rotary_factor: 0\.1 of a head of 96 is not an even number/],
    ["another inner function", { ...gemma2, hidden_activation: "relu" }, /hidden_activation: "relu" is not computed by our decoder/],
    ["attention to both sides", { ...gemma3, use_bidirectional_attention: true }, /use_bidirectional_attention: true is not computed/],
    ["a cap below zero", { ...gemma2, final_logit_softcapping: -1 }, /final_logit_softcapping: -1 is not a positive number/],
    ["scaled positions in layers with a window", { ...gemma3, rope_parameters: { sliding_attention: { rope_type: "linear", factor: 2 }, full_attention: {} } }, /rope_parameters\.sliding_attention: scaled/],
    ["two thetas of the layers with a window", { ...gemma3, rope_parameters: { sliding_attention: { rope_theta: 1000 } } }, /rope_local_base_freq: 10000 contradicts rope_parameters/],
    ["a scaling without its numbers", scaled({ rope_type: "llama3", factor: 8 }), /type "llama3" need low_freq_factor, which is missing/],
    ["a scaling that cannot be", scaled({ rope_type: "llama3", factor: 8, low_freq_factor: 4, high_freq_factor: 1 }), /low frequency factor 4 is not below the high one, 1/],
    ["two scalings", { ...scaled({ type: "linear", factor: 2 }), rope_parameters: { rope_type: "linear", factor: 4 } }, /rope_parameters: it contradicts rope_scaling/],
    ["positions by layer", { ...qwen2, rope_parameters: { full_attention: { rope_theta: 1e6 } } }, /rope_parameters: rotary positions that differ between layers/],
    ["half-rotated heads", { ...qwen2, rope_parameters: { rope_theta: 1e6, partial_rotary_factor: 0.5 } }, /rope_parameters\.partial_rotary_factor: 0\.5/],
    ["clipped attention", { ...olmoe, clip_qkv: 8 }, /clip_qkv: 8 is not computed/],
    ["a mixture in every other layer", { ...qwen2Moe, decoder_sparse_step: 2 }, /decoder_sparse_step: 2 is not computed by our decoder, only 1 is/],
    ["dense layers among mixtures", { ...qwen3Moe, mlp_only_layers: [0] }, /mlp_only_layers: \[0\] is not computed by our decoder, only \[\] is/],
    ["layers of two types where the family has one", { ...mistral, layer_types: ["full_attention", "sliding_attention"] }, /layer_types: a window in some layers only/],
    ["fewer layer types than layers", { ...qwen3, use_sliding_window: true, layer_types: ["sliding_attention"] }, /layer_types: it lists 1 of 2 layers/],
    ["layers of another type", { ...qwen3, layer_types: ["linear_attention"] }, /layer_types: layers of type "linear_attention"/],
    ["a window switched off and on", { ...qwen3, layer_types: ["sliding_attention"] }, /layer_types: it contradicts use_sliding_window = false/],
    ["a window where the family has none", { ...qwen3Moe, use_sliding_window: true }, /use_sliding_window: true is not computed by our decoder, only false is/],
    ["layers with a window where the family has none", { ...qwen3Moe, layer_types: ["sliding_attention"] }, /layer_types: layers with a window/],
    ["a window of no tokens", { ...mistral, sliding_window: 0 }, /sliding_window: 0 is not an integer of at least 1/],
    ["a switch that is a word", { ...qwen2Moe, norm_topk_prob: "yes" }, /norm_topk_prob: "yes" is not true or false/],
    ["too few layers listed", { ...smollm3, no_rope_layers: [1, 0] }, /no_rope_layers: \[1,0\] is not a list of 0 and 1 for each of 8 layers/],
    ["a flood of layers", { ...smollm3, no_rope_layers: null, num_hidden_layers: 1e12 }, /num_hidden_layers: 1000000000000 layers\. Remedy: no such model exists/],
    ["a shared expert without a size", unshared, /shared_expert_intermediate_size: it is missing/],
    ["biases where the family has none", { ...qwen3, attention_bias: true }, /attention_bias: true is not computed/],
    ["a family that is not known", { ...qwen3, model_type: "qwen3_mo" }, /nearest known one is qwen3_moe/]
  ])("%s: refused by key", async (_, config, message) => expect(await failure(Family.readConfig("config.json", config))).toMatch(message))
})

describe("what a family can express", () => {
  const mixtureOf = async (config: Config, change: Partial<Model.Mixture> = {}): Promise<Model.Model> => {
    const model = await read(config)
    return { ...model, feedForward: {
      kind: "mixture", inner: 24, experts: 2, active: 1, expert: { kind: "full" }, routerTensors: { weight: [2, model.hidden] },
      router: { unit: { of: "token" }, score: { by: "linear" }, select: { keep: "top", active: 1 }, weight: "softmaxKept" }, ...change
    } }
  }
  const choose = (model: Model.Model, asked?: string) => Effect.runPromise(Family.choose(model, asked))
  const refusal = async (model: Model.Model, family: string) => failure(Family.choose(model, family))
  test("a mixture of a dense model's copies is written as the mixture with the same attention, else in our layout", async () => {
    const windowed = await mixtureOf(mistral)
    expect(await choose(windowed)).toBe("mixtral")
    expect(Family.writeConfig("mixtral", windowed, "F32")).toMatchObject({ sliding_window: 8, num_local_experts: 2 })
    expect(await choose(await mixtureOf(qwen3))).toBe("qwen3_moe")
    expect(Family.writeConfig("qwen3_moe", await mixtureOf(qwen3), "F32")).toMatchObject({ norm_topk_prob: true, head_dim: 8, moe_intermediate_size: 24, decoder_sparse_step: 1, mlp_only_layers: [] })
    expect(await choose(await mixtureOf(qwen2))).toBe("switchyard")
    expect(await choose(await mixtureOf(qwen2, { shared: { inner: 8, gate: true } }))).toBe("qwen2_moe")
    expect(await choose(await mixtureOf(smollm3))).toBe("switchyard")
  })
  test("what is in the way is named", async () => {
    expect(await refusal(await read(qwen2), "llama")).toMatch(/family llama cannot express biases of query, key and value\./)
    expect(await refusal(await read(llama), "qwen2")).toMatch(/attention without biases/)
    expect(await refusal(await read(qwen3), "llama")).toMatch(/norms of query and key by head/)
    expect(await refusal(await read(llama), "qwen3")).toMatch(/attention without norms/)
    expect(await refusal(await read(mistral), "llama")).toMatch(/attention over the last 8 tokens only/)
    expect(await refusal(await read(smollm3), "llama")).toMatch(/layers without rotary positions/)
    expect(await refusal(await read(gemma3), "llama")).toMatch(/norms of query and key by head; attention over the last 512 tokens only; theta 10000 in layers with a window; feed-forwards with geluTanh; norms behind attention and feed-forward; norms times 1 \+ gain; embeddings times 33\.9\d*\./)
    expect(await refusal(await read(llama), "gemma2")).toMatch(/feed-forwards with silu; no norms behind attention and feed-forward; norms times their gain alone; embeddings times 1\./)
    expect(await refusal(await read(gptOss), "mixtral")).toMatch(/biases of query, key and value; a window in some layers only; a bias of attention's output; sinks of attention; feed-forwards with clampedSilu; experts with biases; router tensors .*; router\.score/)
    expect(await refusal(await mixtureOf(llama), "gpt_oss")).toMatch(/attention without sinks; feed-forwards with silu; experts without biases/)
    expect(await refusal(await read(deepseekV3), "qwen3_moe")).toMatch(/latent attention; 3 dense layers|latent attention; .*3 dense layers before the mixtures; router\.activation = "sigmoid"; router\.correction = true; router\.groups = .*; router\.scale = 2\.5/)
    expect(await refusal(await read(olmoe), "deepseek_v3")).toMatch(/attention that is not latent; .*no shared expert; router\.activation/)
    expect(await refusal(await read(llama), "phi3")).toMatch(/rotary positions of type llama3/)
    expect(await refusal(await mixtureOf(qwen2, { shared: { inner: 8, gate: false } }), "qwen2_moe")).toMatch(/a shared expert without a gate/)
    expect(await refusal(await mixtureOf(qwen2), "qwen2_moe")).toMatch(/no shared expert/)
    expect(await refusal(await read(olmoe), "qwen3_moe")).toMatch(/norms of query and key by width/)
    expect(await refusal({ ...await read(olmoe), headSize: 64 }, "olmoe")).toMatch(/16 heads of 64 in a hidden width of 2048/)
  })
  test("our own layout holds every feature", async () => {
    for (const config of [...Object.values(published).map((one) => one.config), mistral, qwen3, qwen3Moe, phi3, gemma2, gemma3, gptOss, deepseekV2, deepseekV3]) {
      const model = await read(config)
      expect(await read(JSON.parse(JSON.stringify(Family.writeConfig(Family.own, model, "F32"))) as Config)).toEqual(model)
    }
  })
  test("models without these features are described as before", async () => {
    const { sliding_window: _, ...plain } = mistral
    expect(Object.keys(await read({ ...plain, model_type: "llama" }))).not.toEqual(expect.arrayContaining(["attention"]))
    expect(Object.keys(await read({ ...plain, model_type: "llama" }))).not.toEqual(expect.arrayContaining(["ropeScaling"]))
  })
})

describe("a table of one's own", () => {
  const base = Family.find("qwen3")!
  const mine: Family.Family = { ...base, name: "mine", architecture: "MineForCausalLM", names: base.names.map(([ours, theirs]) => [ours, theirs.replace("model.", "transformer.").replace("q_norm", "query_norm")]) }
  const families = [...Family.families, mine]
  test("is read and written like those of the package, and is unknown where it is not passed", async () => {
    const folder = join(await mkdtemp(join(tmpdir(), "switchyard-family-")), "model"), run = Effect.runPromise
    const model = await read({ ...qwen3, model_type: "mine", vocab_size: 264 }, families)
    const weights = Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }, at) => [name, { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(at) }])))
    await run(Checkpoint.write(Checkpoint.make({ model, weights, tokenizer: Tokenizer.bytes() }), folder, { families }))
    expect(JSON.parse(await readFile(join(folder, "config.json"), "utf8"))).toMatchObject({ model_type: "mine", architectures: ["MineForCausalLM"] })
    expect((await run(Weights.fromFolder(folder))).infos.has("transformer.layers.1.self_attn.query_norm.weight")).toBe(true)
    const back = await run(Checkpoint.open(folder, { families }))
    expect(back.model).toEqual(model)
    for (const { name } of Model.tensors(model)) expect(await run(back.weights.read(name))).toEqual(await run(weights.read(name)))
    expect(await failure(Checkpoint.open(folder))).toMatch(/there is no family "mine"\. Remedy: the nearest known one is .*passed as `families`/)
    await writeFile(join(folder, "config.json"), JSON.stringify({ ...qwen3, model_type: "mime" }))
    expect(await failure(Checkpoint.open(folder, { families }))).toMatch(/nearest known one is mine/)
    expect(await failure(Checkpoint.write(back, join(folder, "..", "other"), { family: "mine" }))).toMatch(/there is no family "mine"/)
  })
})

describe("DeepSeek-V3's layer for a further token", () => {
  const tiny: Config = { ...deepseekV3, vocab_size: 264, hidden_size: 8, intermediate_size: 8, moe_intermediate_size: 4, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 2, n_routed_experts: 4,
    num_experts_per_tok: 2, first_k_dense_replace: 1, n_group: 2, topk_group: 1, q_lora_rank: 4, kv_lora_rank: 4, qk_nope_head_dim: 4, qk_rope_head_dim: 2, v_head_dim: 4, max_position_embeddings: 16, num_nextn_predict_layers: 1 }
  const run = Effect.runPromise
  /** A written model with more tensors in it, and config.json saying so many layers for further tokens. */
  const withLayer = async (names: ReadonlyArray<string>, announced: number) => {
    const folder = join(await mkdtemp(join(tmpdir(), "switchyard-further-")), "model"), model = await read(tiny)
    const weights = Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }, at) => [name, { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(at) }])))
    await run(Checkpoint.write(Checkpoint.make({ model, weights, tokenizer: Tokenizer.bytes() }), folder))
    const stored = await run(Weights.fromFolder(folder)), tensors = new Map<string, Float32Array>()
    for (const name of stored.infos.keys()) tensors.set(name, await run(stored.read(name)))
    await rm(join(folder, Safetensors.single))
    await run(Safetensors.writeFolder(folder, [...[...stored.infos].map(([name, info]) => ({ name, shape: info.shape, dtype: "F32" as const })), ...names.map((name) => ({ name, shape: [3], dtype: "F32" as const }))],
      (name) => Effect.succeed(tensors.get(name) ?? new Float32Array(3))))
    const config = JSON.parse(await readFile(join(folder, "config.json"), "utf8")) as Config
    await writeFile(join(folder, "config.json"), JSON.stringify({ ...config, num_nextn_predict_layers: announced }))
    return { folder, model, weights }
  }
  const names = ["model.layers.2.eh_proj.weight", "model.layers.2.shared_head.head.weight"]
  test("is left out aloud: said when the folder is opened, in the lineage and on the card, never written", async () => {
    const { folder, model, weights } = await withLayer(names, 1), said: Array<string> = []
    const listen = Logger.make(({ message }) => { said.push(String(message)) })
    const opened = await run(Effect.provide(Checkpoint.open(folder), Logger.layer([listen])))
    expect(said).toEqual([`${folder}: left out: model.layers.2.* (2 tensors, a layer that predicts further tokens)`])
    expect(opened.model).toEqual(model)
    for (const { name } of Model.tensors(model)) expect(await run(opened.weights.read(name))).toEqual(await run(weights.read(name)))
    expect(opened.lineage.map(({ facts, stage }) => [stage, facts])).toEqual([["checkpoint/open", { leftOut: ["model.layers.2.* (2 tensors, a layer that predicts further tokens)"] }]])
    const again = join(folder, "..", "again")
    await run(Checkpoint.write(opened, again))
    expect([...(await run(Weights.fromFolder(again))).infos.keys()].filter((name) => name.startsWith("model.layers.2."))).toEqual([])
    expect(JSON.parse(await readFile(join(again, "config.json"), "utf8"))).toMatchObject({ num_nextn_predict_layers: 0 })
    expect(await readFile(join(again, "README.md"), "utf8")).toMatch(/leftOut.*model\.layers\.2/)
    expect((await run(Checkpoint.open(again))).lineage).toEqual(opened.lineage)
  })
  test("what config.json does not announce is an error by name", async () => {
    expect(await failure(Checkpoint.open((await withLayer(names, 0)).folder))).toMatch(/2 unexpected: model\.layers\.2\.eh_proj\.weight, model\.layers\.2\.shared_head/)
    expect(await failure(Checkpoint.open((await withLayer([...names, "model.layers.3.enorm.weight"], 1)).folder))).toMatch(/1 unexpected: model\.layers\.3\.enorm\.weight/)
  })
})
