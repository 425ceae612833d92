import { describe, expect, test } from "@jest/globals"
import { Checkpoint, type Model, Safetensors, Store, Pipeline, file, Tokenizer, Weights } from "@switchyard/core"
import { Op, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Effect, Exit, Option } from "effect"
import fc from "fast-check"
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Adapter from "./Adapter.ts"
import * as LanguageModel from "./LanguageModel.ts"
import { configFile, ownFile, weightsFile } from "./peft.ts"
import { test as matches } from "./peftTargets.ts"

const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
const at = (...path: ReadonlyArray<string>) => join(fileURLToPath(new URL("./fixtures/peft", import.meta.url)), ...path)
const tokenizer = Tokenizer.bytes()
const base = (name: string) => run(Checkpoint.open(at(name), { tokenizer }))
const expected = await run(Safetensors.open(at("expected.safetensors")))
const ids = new Uint32Array((await run(expected.bytes("ids"))).slice().buffer), tokens = ids.length

/** Logits [tokens, vocabulary] on the plain device. */
const logits = (model: Model.Model, weights: Weights.Weights, adapter?: Adapter.Adapter) => run(Effect.scoped(Effect.gen(function*() {
  const self = yield* LanguageModel.make(model, { batch: 1, tokens, ...adapter === undefined ? {} : { adapter: adapter.header } }), arena = yield* plainDevice().arena
  yield* LanguageModel.load(arena, self, adapter === undefined ? weights : Weights.overlay(weights, adapter.weights))
  const input = Tensor.kept([tokens], { dtype: "u32", sharded: true, label: "ids" }), program = Recording.record(() => Op.keep(LanguageModel.forward(self, input).logits, "logits"))
  yield* arena.upload(input, ids)
  yield* arena.submit(program)
  return Float32Array.from(yield* arena.read(program.outputs))
})))
const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)

const cases = [["patterns", "llama", 14], ["expression", "llama", 2], ["layers", "llama", 1], ["all-linear", "qwen2", 14], ["fused", "mixtral", 22], ["fused-down", "mixtral", 6], ["experts", "mixtral", 20]] as const

describe.each(cases)("%s on %s, against peft", (name, of, count) => {
  test("read and folded: peft's logits; written and read again: the same header and values", async () => {
    const { model, weights } = await base(of), adapter = await run(Adapter.open(at(name), { base: of, model }))
    expect([Adapter.matrices(adapter.header).size, expected.infos.get(name)!.shape]).toEqual([count, [tokens, 260]])
    const wanted = await run(expected.read(name)), found = await logits(model, Adapter.fold(weights, adapter))
    expect(difference(found, wanted)).toBeLessThan(2e-5)
    expect(difference(wanted, await run(expected.read(of)))).toBeGreaterThan(1) // it is a change
    if (model.feedForward.kind === "dense") expect(difference(await logits(model, weights, adapter), wanted)).toBeLessThan(2e-5) // applied beside the weights
    const folder = mkdtempSync(join(tmpdir(), "peft-"))
    try {
      await run(Adapter.write(adapter, join(folder, "x")))
      const back = await run(Adapter.open(join(folder, "x")))
      expect(back.header).toEqual(adapter.header)
      for (const info of adapter.weights.infos.keys()) expect(await run(back.weights.read(info))).toEqual(await run(adapter.weights.read(info)))
    } finally { rmSync(folder, { recursive: true }) }
  })
})

/** Opens a changed copy of a folder; its message. */
const changed = async (name: string, of: string, change: (settings: Record<string, unknown>) => object, also?: (folder: string) => Promise<void>): Promise<string> => {
  const folder = mkdtempSync(join(tmpdir(), "peft-")), { model } = await base(of)
  try {
    cpSync(at(name), folder, { recursive: true })
    const path = join(folder, configFile)
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")) as object, ...change(JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>) }))
    await also?.(folder)
    return await run(Effect.match(Adapter.open(folder, { base: of, model }), { onSuccess: () => "opened", onFailure: (error) => `${error._tag} ${"key" in error ? error.key : ""}: ${error.message}` }))
  } finally { rmSync(folder, { recursive: true }) }
}

describe("refused by name", () => {
  test.each<[string, unknown]>([
    ["use_dora", true], ["modules_to_save", ["lm_head"]], ["bias", "all"], ["lora_bias", true], ["fan_in_fan_out", true], ["layer_replication", [[0, 2]]], ["trainable_token_indices", [1]], ["use_qalora", true],
    ["use_bdlora", {"nblocks": 2}], ["alora_invocation_tokens", [1]], ["arrow_config", { "top_k": 3 }], ["kasa_config", { "beta": 1 }], ["a_setting_of_tomorrow", 1],
    ["peft_type", "LOHA"], ["r", 0], ["lora_alpha", "8"], ["rank_pattern", { q_proj: 0.5 }], ["alpha_pattern", { q_proj: "1" }], ["target_modules", 3], ["layers_to_transform", [-1]], ["use_rslora", "yes"],
    ["init_lora_weights", "pissa"], ["init_lora_weights", "pissa_niter_4"], ["init_lora_weights", "olora"], ["init_lora_weights", "corda"], ["init_lora_weights", "loftq"], ["init_lora_weights", "lora_ga"]
  ])("%s: %j", async (key, value) => {
    expect(await changed("patterns", "llama", () => ({ [key]: value }))).toMatch(new RegExp(`^AdapterError ${key}: .*Remedy: `))
  })
  test.each([true, false, null, "gaussian", "eva", "orthogonal", "mica"])("first values that leave the base as it is change nothing: %j", async (first) => {
    expect(await changed("patterns", "llama", () => ({ init_lora_weights: first }))).toBe("opened")
  })
  test("keys beside the targets, targets without keys, ranks that are not as said", async () => {
    expect(await changed("patterns", "llama", () => ({ target_modules: ["q_proj", "k_proj"] }))).toMatch(/these 20 keys are not a low-rank change of a matrix that is a target/)
    expect(await changed("layers", "llama", () => ({ layers_to_transform: null }))).toMatch(/base_model\.model\.model\.layers\.0\.self_attn\.o_proj\.lora_A\.weight.*missing/)
    expect(await changed("patterns", "llama", () => ({ rank_pattern: {} }))).toMatch(/q_proj\.lora_A\.weight: shape \[2, 16\] instead of \[3, 16\]/)
    expect(await changed("fused", "mixtral", () => ({ target_parameters: ["experts.down_proj"] }))).toMatch(/base_layer\.lora_A\.weight/)
    expect(await changed("patterns", "llama", () => ({ target_modules: [] }))).toMatch(/not a low-rank change/)
    expect(await changed("patterns", "qwen2", () => ({}))).toMatch(/^opened/) // the same matrices: a base is known by its key, not by its family
    expect(await changed("patterns", "mixtral", () => ({}))).toMatch(/mlp\.gate_proj\.lora_A\.weight/)
  })
  test("matrices that the files pack into one: Phi-3's qkv_proj and gate_up_proj", async () => {
    const folder = mkdtempSync(join(tmpdir(), "peft-")), { model } = await run(Checkpoint.open(fileURLToPath(new URL("./fixtures/families/phi3", import.meta.url))))
    const tensors = ["model.layers.0.self_attn.qkv_proj", "model.layers.0.self_attn.o_proj"].flatMap((path) => ["A", "B"].map((half) => ({ name: `base_model.model.${path}.lora_${half}.weight`, shape: [2, 2], dtype: "F32" as const })))
    try {
      writeFileSync(join(folder, configFile), JSON.stringify({ ...JSON.parse(readFileSync(at("layers", configFile), "utf8")) as object, layers_to_transform: null, target_modules: ["qkv_proj", "o_proj"] }))
      await run(Safetensors.write(join(folder, weightsFile), tensors, () => Effect.succeed(new Float32Array(4))))
      const { message } = await run(Effect.flip(Adapter.open(folder, { base: "phi3", model })))
      expect(message).toMatch(/layers\.0\.self_attn\.qkv_proj\.lora_A\.weight, .*qkv_proj\.lora_B\.weight: these 2 keys .*phi3.*Remedy: /)
    } finally { rmSync(folder, { recursive: true }) }
  })
  test("expressions that are none, or that take for ever, within a second or so", async () => {
    expect(await changed("expression", "llama", () => ({ target_modules: "(" }))).toMatch(/the expression "\^\(\?:\(\)\$" is none/)
    const begun = process.cpuUsage()
    expect(() => matches(["^(a+)+$"], ["a".repeat(60) + "b"])).toThrow(/takes longer than 1000 ms/)
    const { system, user } = process.cpuUsage(begun) // of this process alone, whatever else the machine does
    expect((system + user) / 1000).toBeLessThan(5000)
  })
  test("an embedding's terms and whole modules in the file", async () => {
    const added = async (key: string) => changed("layers", "llama", () => ({}), async (folder) => {
      const stored = await run(Safetensors.open(join(folder, weightsFile))), values = new Map<string, Float32Array>()
      for (const name of stored.infos.keys()) values.set(name, await run(stored.read(name)))
      rmSync(join(folder, weightsFile))
      await run(Safetensors.write(join(folder, weightsFile), [...[...stored.infos].map(([name, { shape }]) => ({ name, shape, dtype: "F32" as const })), { name: key, shape: [1], dtype: "F32" as const }], (name) => Effect.succeed(values.get(name) ?? new Float32Array(1))))
    })
    for (const key of ["base_model.model.model.embed_tokens.lora_embedding_A", "base_model.model.lm_head.weight", "base_model.model.model.layers.1.self_attn.o_proj.lora_magnitude_vector"]) expect(await added(key)).toContain(`AdapterError ${key}: `)
  })
})

test("as stages: a folder of peft's is loaded for its base, refused on another, and folded into a mixture", async () => {
  const name = "experts", folder = mkdtempSync(join(tmpdir(), "peft-"))
  try {
    const mixtral = await base("mixtral"), llama = await base("llama")
    await run(Checkpoint.write(mixtral, join(folder, "mixtral")))
    await run(Checkpoint.write(llama, join(folder, "llama")))
    const made = Pipeline.make("peft", () => {
      const on = Checkpoint.loadMixture({ at: join(folder, "mixtral") })
      return { tuned: Adapter.apply(on, Adapter.load(on, { at: file(at(name)) })) }
    })
    const { tuned } = await run(Effect.provide(Pipeline.run(made), Store.layer(join(folder, "store"))))
    expect(difference(await logits(tuned.model, tuned.weights), await run(expected.read(name)))).toBeLessThan(2e-5)
    const wrong = Pipeline.make("wrong", () => {
      const on = Checkpoint.load({ at: join(folder, "llama") })
      return { tuned: Adapter.apply(on, Adapter.load(on, { at: file(at(name)) })) }
    })
    expect((await run(Effect.flip(Effect.provide(Pipeline.plan(wrong), Store.temporary))) as Error).message).toMatch(/keys are not a low-rank change/)
  } finally { rmSync(folder, { recursive: true }) }
})

test("what peft has no word for is not there: an adapter of peft's says its base when it is opened", async () => {
  expect((await run(Effect.flip(Adapter.open(at("layers"))))).message).toMatch(new RegExp(`${ownFile}: the folder does not say which base`))
})

const count = Number(process.env["SWITCHYARD_FUZZ"] ?? 120)
test(`${count} adapters with damaged settings or headers: opened, or refused with a remedy, soon`, async () => {
  const folder = mkdtempSync(join(tmpdir(), "peft-")), { model } = await base("llama"), settings = JSON.parse(readFileSync(at("patterns", configFile), "utf8")) as Record<string, unknown>
  try {
    cpSync(at("patterns"), folder, { recursive: true })
    const whole = readFileSync(join(folder, weightsFile)), header = 8 + Number(whole.readBigUInt64LE())
    let refused = 0, longest = 0
    await fc.assert(fc.asyncProperty(fc.constantFrom(...Object.keys(settings)), fc.oneof(fc.jsonValue(), fc.constantFrom<unknown>("(a+)+$", "(.*)*x", { "(": 1 }, ["", "."], -1, 1e308)), fc.nat(header - 1), fc.nat(255), fc.boolean(), async (key, value, place, byte, inHeader) => {
      const bytes = Buffer.from(whole)
      if (inHeader) bytes[place] = byte
      writeFileSync(join(folder, configFile), JSON.stringify(inHeader ? settings : { ...settings, [key]: value }))
      writeFileSync(join(folder, weightsFile), bytes)
      const begun = process.cpuUsage(), exit = await Effect.runPromiseExit(Adapter.open(folder, { base: "llama", model })), { system, user } = process.cpuUsage(begun)
      longest = Math.max(longest, (system + user) / 1000)
      if (Exit.isSuccess(exit)) return
      refused++
      const error = Option.getOrUndefined(Exit.findErrorOption(exit))
      expect([key, value, error?._tag ?? JSON.stringify(exit)]).toEqual([key, value, expect.stringMatching(/^(AdapterError|SafetensorsError|FileError)$/)])
    }), { seed: 6, numRuns: count })
    expect(refused).toBeGreaterThan(count / 3)
    expect(longest).toBeLessThan(4000)
  } finally { rmSync(folder, { recursive: true }) }
}, 3_600_000)
