import { describe, expect, test } from "@jest/globals"
import { Effect, Exit } from "effect"
import { readFileSync } from "node:fs"
import * as Family from "./Family.ts"
import * as Model from "./Model.ts"
import type { Plain } from "./StrictJson.ts"

const read = (config: Record<string, Plain>) => Effect.runPromise(Family.readConfig("config.json", config))
const failure = async (config: Record<string, Plain>) => {
  const error = Exit.findErrorOption(await Effect.runPromiseExit(Family.readConfig("config.json", config)))
  return error._tag === "Some" ? error.value.message : "no error"
}
const at = new URL("./fixtures/mixtral-8x7b/", import.meta.url)
const mixtralConfig = JSON.parse(readFileSync(new URL("config.json", at), "utf8")) as Record<string, Plain>
const mixtral = Family.find("mixtral")!, llama = Family.find("llama")!
const small = {
  model_type: "llama", hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, vocab_size: 32,
  max_position_embeddings: 64, rms_norm_eps: 1e-5, rope_theta: 10000, tie_word_embeddings: false
}

describe("names", () => {
  test("Mixtral-8x7B: the names of its published index, set-equal in both directions", async () => {
    const published = readFileSync(new URL("names.txt", at), "utf8").trim().split("\n")
    const model = await read(mixtralConfig), canonical = Model.tensors(model).map((tensor) => tensor.name)
    expect(published.length).toBe(995)
    expect(canonical.map((name) => Family.toFile(mixtral, name)).sort()).toEqual(published)
    expect(published.map((name) => Family.toCanonical(mixtral, name)).sort()).toEqual([...canonical].sort())
  })
  test("a name of another family, or nearly a name, has no counterpart", () => {
    for (const name of ["model.layers.01.mlp.up_proj.weight", "model.layers.0.mlp.up_projXweight", "model.layers.0.mlp.up_proj.weight.extra", "embedding", ""]) expect(Family.toCanonical(llama, name)).toBeUndefined()
    expect(Family.toFile(llama, "layers.0.experts.0.gate")).toBeUndefined()
    expect(Family.isRecomputed(llama, "model.layers.3.self_attn.rotary_emb.inv_freq")).toBe(true)
  })
  test("where transformers 5 keeps an expert's matrices", () => {
    expect(Family.alternative(mixtral, "layers.2.experts.5.up")).toMatchObject({ file: "model.layers.2.mlp.experts.gate_up_proj", expert: 5, part: 1, parts: 2 })
    expect(Family.alternative(mixtral, "layers.2.router.weight")).toMatchObject({ file: "model.layers.2.mlp.gate.weight" })
  })
})

describe("config.json", () => {
  test("read and written again, every key of Mixtral-8x7B keeps its value", async () => {
    const written = Family.writeConfig("mixtral", await read(mixtralConfig), "BF16")
    for (const [key, value] of Object.entries(mixtralConfig)) if (key !== "sliding_window") expect([key, written[key]]).toEqual([key, value])
    expect(await read(written as Record<string, Plain>)).toEqual(await read(mixtralConfig))
  })
  test("the keys of transformers 5 say the same as the older ones", async () => {
    const { rope_theta, ...rest } = small
    const modern = await read({ ...rest, rope_parameters: { rope_theta, rope_type: "default" }, dtype: "bfloat16" })
    expect(modern).toEqual(await read({ ...small, torch_dtype: "bfloat16" }))
    expect(Family.writeConfig("llama", modern, "BF16")).toMatchObject({ rope_theta: 10000, torch_dtype: "bfloat16", model_type: "llama", architectures: ["LlamaForCausalLM"] })
    expect(Family.writeConfig("llama", modern, "BF16")).not.toHaveProperty("rope_parameters")
  })
  test("keys that are not understood are carried", async () => {
    expect((await read({ ...small, bos_token_id: [1, 2], "__proto__x": { a: null } })).extra).toEqual({ bos_token_id: [1, 2], "__proto__x": { a: null } })
  })
  test("what nobody knows is told with the nearest known key; what changes no forward pass is not", async () => {
    const llama = Family.find("llama")!, told = async (more: Record<string, Plain>) => Family.carried(llama, await read({ ...small, ...more }))
    expect(await told({ bos_token_id: 1, use_cache: true, attention_dropout: 0.1, transformers_version: "4.57.0" })).toEqual([])
    expect(await told({ rms_norm_esp: 1e-6, mup_width: 4 })).toMatchObject([{ key: "rms_norm_esp", nearest: "rms_norm_eps" }, { key: "mup_width" }])
  })
  test("our own layout holds any model", async () => {
    const model: Model.Model = { ...await read(small), family: "llama", feedForward: { kind: "mixture", inner: 24, experts: 3, active: 2, expert: { kind: "lowRank", rank: 2, scale: 0.5 }, router: { unit: { of: "prefix" } }, routerTensors: { centres: [3, 16] } } }
    expect(await read(Family.writeConfig("switchyard", model, "F32") as Record<string, Plain>)).toEqual(model)
  })
  const { hidden_size: _, ...withoutHidden } = small
  const broken: ReadonlyArray<readonly [string, Record<string, Plain>, RegExp]> = [
    ["a missing key", withoutHidden, /config\.json: hidden_size: it is missing\. Remedy: add the key/],
    ["no family", { ...small, model_type: null }, /model_type: it is missing/],
    ["an unknown family", { ...small, model_type: "mixtal" }, /no family "mixtal"\. Remedy: the nearest known one is mixtral/],
    ["a fraction", { ...small, hidden_size: 16.5 }, /hidden_size: 16\.5 is not a positive integer/],
    ["a negative size", { ...small, vocab_size: -1 }, /vocab_size: -1 is not a positive integer/],
    ["a string", { ...small, vocab_size: "32" }, /vocab_size: "32" is not a positive integer/],
    ["heads that do not divide", { ...small, num_attention_heads: 3 }, /head_dim: it is missing, and hidden 16 is no multiple of heads 3/],
    ["groups that do not divide", { ...small, num_key_value_heads: 3 }, /4 heads cannot share 3 key-value heads/],
    ["two values of one number", { ...small, rope_parameters: { rope_theta: 1e6 } }, /rope_parameters\.rope_theta: 1000000 contradicts rope_theta = 10000/],
    ["two dtypes", { ...small, dtype: "float16", torch_dtype: "float32" }, /dtype: it contradicts torch_dtype/],
    ["another architecture", { ...small, architectures: ["MixtralForCausalLM"] }, /architectures: .* contradicts model_type "llama"/],
    ["scaled positions", { ...small, rope_scaling: { rope_type: "llama3", factor: 8 } }, /rope_scaling: rotary positions of type "llama3"/],
    ["a bias", { ...small, attention_bias: true }, /attention_bias: true is not computed/],
    ["another activation", { ...small, hidden_act: "gelu" }, /hidden_act: "gelu" is not computed/],
    ["a window where the family has none", { ...small, sliding_window: 8 }, /sliding_window: attention over the last 8 tokens/],
    ["more active experts than experts", { ...mixtralConfig, num_experts_per_tok: 9 }, /9 active experts of 8/],
    ["a flood of tensors", { ...small, num_hidden_layers: 1e12 }, /no such model exists/]
  ]
  test.each(broken)("%s", async (_, config, message) => expect(await failure(config)).toMatch(message))
})

describe("what a family can express", () => {
  const linear = { unit: { of: "token" }, score: { by: "linear" }, select: { keep: "top", active: 2 }, weight: "softmaxKept" }
  const model = async (change: Partial<Model.Mixture>): Promise<Model.Model> => {
    const base = await read(mixtralConfig)
    return { ...base, feedForward: { ...base.feedForward as Model.Mixture, router: linear, ...change } }
  }
  const refusal = async (change: Partial<Model.Mixture>, family = "mixtral") => {
    const exit = await Effect.runPromiseExit(Family.choose(await model(change), family)), error = Exit.findErrorOption(exit)
    return error._tag === "Some" ? error.value : exit
  }
  test("Mixtral's own routing", async () => {
    expect(await Effect.runPromise(Family.choose(await model({}), "mixtral"))).toBe("mixtral")
    expect(await Effect.runPromise(Family.choose(await model({ router: { ...linear, weight: "renorm" } })))).toBe("mixtral")
    expect(await Effect.runPromise(Family.choose(await model({ active: 8, router: { score: { by: "linear" }, select: { keep: "all" }, weight: "prob" } })))).toBe("mixtral")
  })
  test.each<readonly [string, Partial<Model.Mixture>, RegExp]>([
    ["low-rank experts", { expert: { kind: "lowRank", rank: 4, scale: 1 } }, /experts of kind lowRank/],
    ["another unit", { router: { ...linear, unit: { of: "prefix", pool: "mean" } } }, /router\.unit = \{"of":"prefix","pool":"mean"\}/],
    ["another score", { router: { ...linear, score: { by: "distance" } } }, /router\.score/],
    ["a biased score", { router: { ...linear, score: { by: "linear", bias: true } } }, /router\.score/],
    ["weights that do not sum to one", { router: { ...linear, weight: "prob" } }, /router\.weight = "prob"/],
    ["all experts where fewer are active", { router: { ...linear, select: { keep: "all" } } }, /router\.select/],
    ["another number of active experts", { router: { ...linear, select: { keep: "top", active: 1 } } }, /router\.select/],
    ["a part that is not known", { router: { ...linear, carry: { over: "depth" } } }, /router\.carry/],
    ["other tensors", { routerTensors: { weight: [8, 4096], bias: [8] } }, /router tensors/]
  ])("%s cannot be Mixtral, is named, and is written in our own layout", async (_, change, what) => {
    const error = await refusal(change)
    expect(error).toMatchObject({ _tag: "CannotExpress", family: "mixtral" })
    expect((error as Family.CannotExpress).message).toMatch(what)
    expect(await Effect.runPromise(Family.choose(await model(change)))).toBe("switchyard")
  })
  test("a mixture is no Llama, and an unknown family is named", async () => {
    expect((await refusal({}, "llama") as Error).message).toMatch(/family llama cannot express a mixture feed-forward/)
    expect((await refusal({}, "lama") as Error).message).toMatch(/nearest known one is llama/)
  })
})
