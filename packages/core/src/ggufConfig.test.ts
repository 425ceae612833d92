import { describe, expect, test } from "@jest/globals"
import { Effect } from "effect"
import * as Family from "./Family.ts"
import { blockTypes } from "./ggufBlocks.ts"
import { configOf } from "./ggufConfig.ts"
import type { Value } from "./GgufHeader.ts"

type Keys = Readonly<Record<string, Value | undefined>>
/** The model of a file with these keys, named after the architecture, as its config.json would give it; or the message of what is wrong. */
const modelOf = (architecture: string, keys: Keys) => {
  const metadata = new Map<string, Value>([["general.architecture", architecture]])
  for (const [key, value] of Object.entries(keys)) if (value !== undefined) metadata.set(`${architecture}.${key}`, value)
  const tensors = new Map([["token_embd.weight", { type: blockTypes[0]!, shape: [24, 16], begin: 0, length: 1536 }]])
  return Effect.runSync(Family.readConfig("x.gguf", configOf("x.gguf", { metadata, tensors })[1]))
}
const problemOf = (architecture: string, keys: Keys): string => {
  try {
    return JSON.stringify(modelOf(architecture, keys))
  } catch (error) {
    return (error as Error).message
  }
}
const sizes: Keys = { "context_length": 64, "embedding_length": 16, "block_count": 7, "feed_forward_length": 20, "attention.head_count": 2, "attention.head_count_kv": 1, "attention.key_length": 10, "attention.value_length": 10, "attention.layer_norm_rms_epsilon": 1e-6 }
const yarn: Keys = { "rope.scaling.type": "yarn", "rope.scaling.factor": 4, "rope.scaling.original_context_length": 16 }

describe("yarn", () => {
  test("factor, context, turns; which model was trained so is no matter", () => {
    expect(modelOf("qwen3", { ...sizes, ...yarn, "rope.scaling.finetuned": true }).ropeScaling).toEqual({ kind: "yarn", factor: 4, originalContext: 16, fast: 32, slow: 1, whole: true })
    expect(modelOf("llama", { ...sizes, ...yarn, "rope.scaling.yarn_beta_fast": 8, "rope.scaling.yarn_beta_slow": 2 }).ropeScaling).toMatchObject({ fast: 8, slow: 2 })
  })
  test("its keys without it, and factors that llama.cpp knows beside it, are refused by name", () => {
    expect(problemOf("llama", { ...sizes, "rope.scaling.original_context_length": 16 })).toMatch(/llama.rope.scaling.original_context_length: it is not understood/)
    expect(problemOf("llama", { ...sizes, ...yarn, "rope.scaling.yarn_attn_factor": 2 })).toMatch(/llama.rope.scaling.yarn_attn_factor: it is not understood/)
    expect(problemOf("llama", { ...sizes, ...yarn, "rope.scaling.factor": undefined })).toMatch(/llama.rope.scaling.factor: "undefined" is not a positive number/)
  })
})

describe("Gemma", () => {
  const gemma = { ...sizes, "attention.sliding_window": 4 }
  test("scores are divided by the head size's root, in the 27B models by that of width over heads", () => {
    for (const [name, largest] of [["gemma2", 46], ["gemma3", 62]] as const) {
      expect(modelOf(name, gemma).attention?.scale).toBeUndefined()
      expect(modelOf(name, { ...gemma, "block_count": largest }).attention?.scale).toBe(1 / Math.sqrt(8))
    }
  })
  test("every sixth layer sees everything, every second of Gemma 2, or those that the file says", () => {
    const globalOf = (name: string, pattern?: Value) => modelOf(name, { ...gemma, "attention.sliding_window_pattern": pattern }).attention?.global
    expect([globalOf("gemma3"), globalOf("gemma2"), globalOf("gemma3", 3), globalOf("gemma3", Uint8Array.from([1, 0, 1, 1, 1, 1, 0])), globalOf("gemma3", 0)]).toEqual([[5], [1, 3, 5], [2, 5], [1, 6], undefined])
    expect(modelOf("gemma3", { ...gemma, "attention.sliding_window_pattern": 1 }).attention?.window).toBeUndefined()
    expect(modelOf("gemma3", { ...gemma, "attention.sliding_window": undefined }).attention?.window).toBeUndefined()
    for (const pattern of [1.5, "6", Uint8Array.from([1, 0])]) expect(problemOf("gemma3", { ...gemma, "attention.sliding_window_pattern": pattern })).toMatch(/gemma3.attention.sliding_window_pattern: it is neither a whole number nor a list for each of 7 layers/)
  })
  test("caps and thetas", () => {
    expect(modelOf("gemma2", { ...gemma, "attn_logit_softcapping": 3, "final_logit_softcapping": 5 })).toMatchObject({ attention: { softCap: 3 }, logitCap: 5 })
    const { attention, logitCap, ropeScaling } = modelOf("gemma3", { ...gemma, "rope.freq_base": 1e6, "rope.freq_base_swa": 500, "rope.scaling.type": "linear", "rope.scaling.factor": 8 })
    expect([attention?.localTheta, attention?.softCap, logitCap, ropeScaling]).toEqual([500, undefined, undefined, { kind: "linear", factor: 8 }])
  })
})

describe("gpt-oss", () => {
  const oss = { ...sizes, "expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 20, "attention.sliding_window": 4 }
  test("yarn is as the file says: none is none, and its turns are not rounded", () => {
    expect(modelOf("gpt-oss", oss).ropeScaling).toBeUndefined()
    expect(modelOf("gpt-oss", { ...oss, ...yarn }).ropeScaling).toMatchObject({ kind: "yarn", factor: 4, whole: false })
    expect(modelOf("gpt-oss", oss).attention).toMatchObject({ window: 4, global: [1, 3, 5], sinks: true, bias: true, outputBias: true })
  })
  test("two widths of an expert contradict each other", () => {
    expect(problemOf("gpt-oss", { ...oss, "feed_forward_length": 30 })).toMatch(/gpt-oss.feed_forward_length: 30 contradicts 20, the intermediate size/)
  })
})

describe("DeepSeek", () => {
  const older = {
    ...sizes, "attention.head_count_kv": 2, "attention.value_length": 8, "attention.kv_lora_rank": 12, "rope.dimension_count": 4, "leading_dense_block_count": 1, "expert_feed_forward_length": 6, "expert_count": 8,
    "expert_used_count": 2, "expert_shared_count": 2, "expert_weights_scale": 2.5
  }
  const newer = { ...older, "attention.head_count_kv": 1, "attention.key_length": 16, "attention.value_length": 12, "attention.key_length_mla": 10, "attention.value_length_mla": 8 }
  const router = (model: ReturnType<typeof modelOf>) => model.feedForward.kind === "mixture" ? model.feedForward.router : undefined
  test("the older sizes and the newer ones say the same", () => {
    expect(modelOf("deepseek2", newer)).toEqual(modelOf("deepseek2", older))
    expect(modelOf("deepseek2", older)).toMatchObject({ family: "deepseek_v2", headSize: 10, keyValueHeads: 2, attention: { rotated: 4, latent: { keyValue: 12, value: 8, interleaved: true } }, feedForward: { inner: 6, shared: { inner: 12 }, dense: { layers: 1, inner: 20 } } })
    expect(modelOf("deepseek2", { ...older, "attention.q_lora_rank": 7 }).attention?.latent?.query).toBe(7)
  })
  test("sigmoids make it V3; groups, and whether weights are normalised, are as the file says", () => {
    expect(router(modelOf("deepseek2", older))).toMatchObject({ weight: "prob", scale: 2.5 })
    expect(router(modelOf("deepseek2", { ...older, "expert_group_count": 4, "expert_group_used_count": 2 }))).toMatchObject({ groups: { count: 4, keep: 2, by: "max" } })
    const third = { ...newer, "expert_gating_func": 2 }
    expect(modelOf("deepseek2", third).family).toBe("deepseek_v3")
    expect(router(modelOf("deepseek2", third))).toMatchObject({ activation: "sigmoid", correction: true, weight: "prob", scale: 2.5 })
    expect(router(modelOf("deepseek2", third))).not.toHaveProperty("groups")
    expect(router(modelOf("deepseek2", { ...third, "expert_weights_norm": true, "expert_group_count": 4, "expert_group_used_count": 2 }))).toMatchObject({ weight: "renorm", groups: { count: 4, keep: 2, by: "top2sum" } })
    expect(router(modelOf("deepseek2", { ...third, "expert_weights_scale": undefined }))).not.toHaveProperty("scale")
  })
  test("yarn's weight is ten times the file's multiplier", () => {
    expect(modelOf("deepseek2", { ...newer, ...yarn, "rope.scaling.yarn_log_multiplier": Math.fround(0.0807) }).ropeScaling).toMatchObject({ kind: "yarn", weight: 0.807, weightAll: 0.807 })
    expect(modelOf("deepseek2", { ...newer, ...yarn }).ropeScaling).not.toHaveProperty("weight")
    expect(modelOf("deepseek2", { ...newer, "rope.scaling.yarn_log_multiplier": 0.1 }).ropeScaling).toBeUndefined()
  })
  test.each<[string, Keys, RegExp]>([
    ["a key's length", { "attention.key_length": 15 }, /attention.key_length: 15 is not 12 \+ 4/],
    ["a value's length", { "attention.value_length": 11 }, /attention.value_length: 11 is not 12/],
    ["a head that rotates whole", { "attention.key_length_mla": 4 }, /rope.dimension_count: 4 rotated numbers of a head of 4/],
    ["groups of heads", { "attention.head_count": 4, "attention.head_count_kv": 2 }, /attention.head_count_kv: 2 is neither 1 nor 4/],
    ["no small vector", { "attention.kv_lora_rank": undefined }, /attention.kv_lora_rank: it is missing/],
    ["scores of another kind", { "expert_gating_func": 3 }, /expert_gating_func: 3 is neither 1 \(softmax\) nor 2/],
    ["a norm that is a number", { "expert_weights_norm": 1 }, /expert_weights_norm: it is not true or false/],
    ["dense layers that are a text", { "leading_dense_block_count": "1" }, /leading_dense_block_count: it is not a number/],
    ["normalised softmaxes", { "expert_weights_norm": true }, /norm_topk_prob: true is not computed/],
    ["no experts", { "expert_count": 0 }, /expert_count: files of deepseek2 have experts, and this one none/],
    ["too many of the words", { "expert_count": 8, "logit_scale": 2 }, /deepseek2.logit_scale: it is not understood/],
    ["layers for further tokens", { "nextn_predict_layers": 1 }, /deepseek2.nextn_predict_layers: it is not understood/]
  ])("%s is refused by name", (_, other, expected) => {
    expect(problemOf("deepseek2", { ...newer, ...other })).toMatch(expected)
  })
})
