import { afterAll, beforeAll, describe, expect, test } from "@jest/globals"
import { Effect, Exit, Logger } from "effect"
import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { promisify } from "node:util"
import * as Checkpoint from "./Checkpoint.ts"
import * as Digest from "./Digest.ts"
import * as Family from "./Family.ts"
import { file, isTemporaryName } from "./File.ts"
import { licenceOf } from "./licenceOf.ts"
import * as Model from "./Model.ts"
import { modelCard } from "./modelCard.ts"
import * as Pipeline from "./Pipeline.ts"
import * as Random from "./Random.ts"
import * as Safetensors from "./Safetensors.ts"
import * as Store from "./Store.ts"
import * as Tokenizer from "./Tokenizer.ts"
import * as Weights from "./Weights.ts"

let root: string
beforeAll(async () => { root = await mkdtemp(join(tmpdir(), "checkpoint-")) })
afterAll(() => rm(root, { recursive: true, force: true }))

const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
const failure = async <A, E extends Error>(effect: Effect.Effect<A, E>): Promise<E> => {
  const error = Exit.findErrorOption(await Effect.runPromiseExit(effect))
  if (error._tag === "None") throw new Error("it did not fail with a typed error")
  return error.value
}

const llama = {
  family: "llama", vocabulary: 260, hidden: 8, layers: 2, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 32, normEpsilon: 1e-5, ropeTheta: 10_000,
  tiedEmbeddings: false, feedForward: { kind: "dense", inner: 12 }, extra: { bos_token_id: 256 }
} as const
const mixtral = {
  ...llama, family: "mixtral", feedForward: {
    kind: "mixture", inner: 12, experts: 3, active: 2, expert: { kind: "full" },
    router: { unit: { of: "token" }, score: { by: "linear" }, select: { keep: "top", active: 2 }, weight: "softmaxKept" }, routerTensors: { weight: [3, 8] }
  }
} as const
const lowRank = {
  ...mixtral, tiedEmbeddings: true,
  feedForward: { ...mixtral.feedForward, expert: { kind: "lowRank", rank: 2, scale: 0.5 }, router: { unit: { of: "prefix", pool: "mean" } }, routerTensors: { centres: [3, 8], width: [3] } }
} as const

const made = <M extends Model.Model>(model: M) => {
  const tensors = Model.tensors(model).map(({ name, shape }) =>
    [name, { shape, data: Random.fillNormal(Random.make(1, name), new Float32Array(shape.reduce((a, b) => a * b, 1))) }] as const)
  return Checkpoint.make({ model, weights: Weights.fromMemory(new Map(tensors)), tokenizer: Tokenizer.bytes(), sideFiles: { "generation_config.json": Buffer.from("{ \"eos_token_id\" : [257] }\n") } })
}
const written = async (name: string, checkpoint: Checkpoint.Any, options: Checkpoint.WriteOptions = {}) => {
  const at = join(root, name)
  await run(Checkpoint.write(checkpoint, at, options))
  return at
}
const same = async (a: Checkpoint.Any, b: Checkpoint.Any) => {
  expect([...a.weights.infos.keys()].sort()).toEqual([...b.weights.infos.keys()].sort())
  for (const name of a.weights.infos.keys()) expect([name, await run(a.weights.read(name))]).toEqual([name, await run(b.weights.read(name))])
}

describe("written and opened again", () => {
  test.each([["llama", llama, "llama", 21], ["mixtral", mixtral, "mixtral", 35], ["our own layout", lowRank, "switchyard", 60]] as const)("%s: every tensor has its bytes", async (name, model, type, count) => {
    const checkpoint = made(model), at = await written(name, checkpoint), back = await run(Checkpoint.open(at))
    expect(JSON.parse(await readFile(join(at, "config.json"), "utf8")).model_type).toBe(type)
    expect(back.weights.infos.size).toBe(count)
    expect(back.header).toEqual({ form: model.feedForward.kind, model, tokenizer: Tokenizer.bytes().hash, parameters: Model.parameters(model), bytes: Checkpoint.storedBytes(back.weights) })
    expect(Buffer.from(back.sideFiles["generation_config.json"]!).toString()).toBe("{ \"eos_token_id\" : [257] }\n")
    await same(checkpoint, back)
  })
  test("sharded, in bf16: names of the family, half the bytes, nearest values", async () => {
    const at = await written("sharded", made(mixtral), { dtype: "BF16", shardBytes: 4096 }), back = await run(Checkpoint.open(at))
    expect((await readdir(at)).filter((name) => name.endsWith(".safetensors")).length).toBeGreaterThan(2)
    expect(JSON.parse(await readFile(join(at, "config.json"), "utf8")).torch_dtype).toBe("bfloat16")
    expect(back.weights.infos.get("layers.1.experts.2.up")).toEqual({ dtype: "BF16", shape: [12, 8] })
    const [a, b] = [await run(back.weights.read("embedding")), await run(made(mixtral).weights.read("embedding"))]
    expect(Math.max(...a.map((x, i) => Math.abs(x / b[i]! - 1)))).toBeLessThanOrEqual(2 ** -8)
  })
  test("lineage and model card tell every step", async () => {
    const step = { stage: "merge/models", key: "0123456789abcdef", inputs: { a: "fedcba9876543210" }, facts: { recipe: "linear" } }
    const base = made(llama), at = await written("lineage", Checkpoint.derive(base, { weights: base.weights, step })), back = await run(Checkpoint.open(at))
    expect(back.lineage).toEqual([step])
    const card = await readFile(join(at, "README.md"), "utf8")
    expect(card).toContain("| 1 | merge/models | `0123456789ab` | a `fedcba987654` | `{\"recipe\":\"linear\"}` |")
    expect(card).not.toMatch(/license|base_model/)
  })
  test("a card that the Hub understands: bases by id and how the model comes from them, tags, the licence of its sources and no other", async () => {
    const step = (stage: string, facts: Readonly<Record<string, string>>): Checkpoint.Step => ({ stage, key: "0123456789abcdef", inputs: {}, facts })
    const of = (mixture: boolean, ...lineage: ReadonlyArray<Checkpoint.Step>) => /^---\n(.*?)\n---\n/s.exec(modelCard(mixture ? "mixtral" : "llama", mixture ? mixtral : llama, lineage))![1]!.split("\n")
    const loaded = step("checkpoint/load", { id: "org/base", revision: "main", licence: "apache-2.0" }), always = ["library_name: transformers", "pipeline_tag: text-generation"]
    expect(of(false, loaded)).toEqual([...always, "base_model:", "- org/base", "tags:", "- switchyard", "license: \"apache-2.0\""])
    expect(of(true, loaded, step("upcycle/fromDense", {}))).toEqual([...always, "base_model:", "- org/base", "base_model_relation: finetune", "tags:", "- switchyard", "- moe", "- upcycled", "license: \"apache-2.0\""])
    expect(of(false, loaded, step("hub/load", { id: "org/other", licence: "mit" }), step("merge/models", {}))).toEqual([...always, "base_model:", "- org/base", "- org/other", "base_model_relation: merge", "tags:", "- switchyard", "- merge"])
    expect(of(false, step("checkpoint/load", { folder: "seed", licence: "other", licenceName: "house" }))).toEqual([...always, "tags:", "- switchyard", "license: \"other\"", "license_name: \"house\""])
  })
  test("a card says where choosing costs more than what is chosen", () => {
    const form = mixtral.feedForward as Model.Mixture, cardOf = (router: Model.Mixture["router"]) => modelCard("switchyard", { ...mixtral, feedForward: { ...form, router } }, [])
    expect(cardOf(form.router)).toMatch(/- active weights per token: [\d,]+\n/)
    expect(cardOf({ unit: { of: "token" }, score: { by: "likelihood" }, select: { keep: "top", active: 1 }, weight: "prob" })).toMatch(/- active weights per token: [\d,]+, once the experts are chosen; to choose, all of them run\n/)
  })
  test("a key of config.json that nobody knows is carried into what is written, and named once when the folder is opened", async () => {
    const at = await written("unknown", made(llama)), path = join(at, "config.json"), said: Array<string> = [], listen = Logger.make(({ message }) => { said.push(String(message)) })
    await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, "utf8")) as object, rms_norm_esp: 0.5 }))
    const open = () => run(Effect.provide(Checkpoint.open(at), Logger.layer([listen])))
    const { model } = await open()
    await open()
    expect(said).toEqual([`${path}: carried, not understood: rms_norm_esp (the nearest known key is rms_norm_eps)`])
    expect([model.normEpsilon, model.extra]).toEqual([1e-5, { bos_token_id: 256, rms_norm_esp: 0.5 }])
  })
  test("the licence of a source's card goes on; a card without one, or none, gives none", async () => {
    const at = await written("licence", made(llama)), path = join(at, "README.md"), card = await readFile(path, "utf8")
    expect(await run(licenceOf(at))).toEqual({})
    await writeFile(path, card.replace("---\n", "---\nlicense: apache-2.0\n"))
    expect(await run(licenceOf(at))).toEqual({ licence: "apache-2.0" })
    await writeFile(path, "---\nlicense: \"other\"\nlicense_name: house-1\n---\nlicense: mit\n")
    expect(await run(licenceOf(at))).toEqual({ licence: "other", licenceName: "house-1" })
    expect(await run(licenceOf(join(at, "nothing")))).toEqual({})
    const { model } = await run(Effect.provide(Pipeline.run(Pipeline.make("licence", () => ({ model: Checkpoint.load({ at }) }))), Store.temporary))
    expect(model.lineage.at(-1)!.facts).toMatchObject({ licence: "other", licenceName: "house-1" })
  })
})

test("what transformers 5 writes is read, fused experts split: both of its layouts hold the same tensors", async () => {
  const at = new URL("./fixtures/mixtral-transformers/", import.meta.url).pathname
  const [original, fused] = [await run(Checkpoint.open(join(at, "original"))), await run(Checkpoint.open(join(at, "fused")))]
  expect([...(await run(Weights.fromFolder(join(at, "fused")))).infos.keys()].filter((name) => name.includes(".experts."))).toHaveLength(4)
  expect(fused.header.model).toMatchObject({ ...mixtral, vocabulary: 264, contextLength: 64, ropeTheta: 20_000, extra: { bos_token_id: 256, transformers_version: "5.23.0" } })
  expect(fused.tokenizer.hash).toBe(Tokenizer.bytes().hash)
  await same(original, fused)
  expect(await run(fused.weights.read("layers.1.experts.2.up", { from: 3, to: 5 }))).toEqual((await run(original.weights.read("layers.1.experts.2.up"))).slice(24, 40))
})

describe("bad folders fail by name", () => {
  const changed = async (name: string, change: (at: string) => Promise<void>) => {
    const at = await written(`bad ${name}`, made(llama))
    await change(at)
    return (await failure(Checkpoint.open(at))).message
  }
  const config = (edit: (config: Record<string, unknown>) => void) => async (at: string) => {
    const json = JSON.parse(await readFile(join(at, "config.json"), "utf8"))
    edit(json)
    await writeFile(join(at, "config.json"), JSON.stringify(json))
  }
  const tensors = (edit: (planned: Array<Safetensors.Planned>) => void) => async (at: string) => {
    const planned = [...(await run(Weights.fromFolder(at))).infos].map(([name, info]) => ({ name, ...info }))
    edit(planned)
    await rm(join(at, "model.safetensors"))
    await run(Safetensors.writeFolder(at, planned, (name) => {
      const { shape, dtype } = planned.find((one) => one.name === name)!, count = shape.reduce((a, b) => a * b, 1)
      return Effect.succeed(dtype === "I32" ? new Uint8Array(4 * count) : new Float32Array(count))
    }))
  }
  test.each<readonly [string, (at: string) => Promise<void>, RegExp]>([
    ["a key is missing", config((json) => { delete json["hidden_size"] }), /config\.json: hidden_size: it is missing/],
    ["a key stands twice", (at) => writeFile(join(at, "config.json"), "{\"model_type\":\"llama\",\"model_type\":\"mixtral\"}"), /config\.json: .*"model_type" stands twice/],
    ["not JSON", (at) => writeFile(join(at, "config.json"), "llama"), /config\.json: .*expected a value/],
    ["no config", (at) => rm(join(at, "config.json")), /cannot read .*config\.json/],
    ["one layer too many in the config", config((json) => { json["num_hidden_layers"] = 3 }), /9 missing: model\.layers\.2\.input_layernorm\.weight, /],
    ["one layer too few in the config", config((json) => { json["num_hidden_layers"] = 1 }), /9 unexpected: model\.layers\.1\./],
    ["a width that lies", config((json) => { json["intermediate_size"] = 13 }), /6 misshapen: model\.layers\.0\.mlp\.gate_proj\.weight \[12, 8\] instead of \[13, 8\]/],
    ["a tensor nobody knows", tensors((planned) => planned.push({ name: "model.layers.0.mlp.extra", shape: [1], dtype: "F32" })), /1 unexpected: model\.layers\.0\.mlp\.extra/],
    ["a head that should be tied", config((json) => { json["tie_word_embeddings"] = true }), /1 unexpected: lm_head\.weight/],
    ["integers for weights", tensors((planned) => { planned[0] = { ...planned[0]!, dtype: "I32" } }), /of dtype I32, which is not read as numbers/],
    ["cut off", async (at) => writeFile(join(at, "model.safetensors"), (await readFile(join(at, "model.safetensors"))).subarray(0, -4)), /model\.safetensors.*: .*ends at byte/],
    ["no tokenizer", (at) => rm(join(at, "tokenizer.json")), /tokenizer\.json: there is none/]
  ])("%s", async (name, change, message) => expect(await changed(name, change)).toMatch(message))
  test("a frequency table of old files is no tensor of its own, and not unexpected", async () => {
    const at = await written("frequencies", made(llama))
    await tensors((planned) => planned.push({ name: "model.layers.0.self_attn.rotary_emb.inv_freq", shape: [2], dtype: "F32" }))(at)
    expect((await run(Checkpoint.open(at))).weights.infos.size).toBe(21)
  })
  test("a tied head that files carry as a copy of the embedding is the embedding; another head is unexpected", async () => {
    const tied = made({ ...llama, tiedEmbeddings: true }), at = await written("copied head", tied), path = join(at, "model.safetensors")
    const write = async (head: (values: Float32Array) => Float32Array) => {
      const row = Family.find("llama")!, embedding = await run(tied.weights.read("embedding"))
      const planned = [...Model.tensors(tied.model).map(({ name, shape }) => ({ name: Family.toFile(row, name)!, shape, dtype: "F32" as const })), { name: "lm_head.weight", shape: [260, 8], dtype: "F32" as const }]
      await rm(path)
      await run(Safetensors.writeFolder(at, planned, (name) => name === "lm_head.weight" ? Effect.succeed(head(embedding)) : tied.weights.read(Family.toCanonical(row, name)!)))
    }
    await write((values) => values)
    await same(tied, await run(Checkpoint.open(at)))
    await write((values) => values.map((value) => 2 * value))
    expect((await failure(Checkpoint.open(at))).message).toMatch(/1 unexpected: lm_head\.weight/)
  })
  test("a tokenizer larger than the embedding is an error, a smaller one leaves padding rows", async () => {
    const at = await written("vocabulary", made({ ...llama, vocabulary: 270 }))
    expect((await run(Checkpoint.open(at))).weights.infos.get("embedding")!.shape).toEqual([270, 8])
    const json = JSON.parse(await readFile(join(at, "tokenizer.json"), "utf8"))
    json.added_tokens.push({ ...json.added_tokens[0], id: 270, content: "<|more|>" })
    await writeFile(join(at, "tokenizer.json"), JSON.stringify(json))
    expect((await failure(Checkpoint.open(at))).message).toMatch(/tokenizer\.json: it has 271 ids, the embedding only 270 rows/)
    expect(() => made({ ...llama, vocabulary: 200 })).toThrow(/axis vocabulary: the tokenizer has 260, the model 200/)
  })
})

describe("writing is all or nothing", () => {
  test("a process killed while it writes leaves the earlier model as it was, and the next one writes", async () => {
    const parent = join(root, "killed"), at = join(parent, "model")
    await mkdir(parent)
    await run(Checkpoint.write(made(llama), at))
    const before = await readFile(join(at, "model.safetensors"))
    const module = (name: string) => JSON.stringify(new URL(`./${name}.ts`, import.meta.url).href)
    const program = `
      import { Effect } from "effect"
      const Checkpoint = await import(${module("Checkpoint")}), Weights = await import(${module("Weights")})
      const one = await Effect.runPromise(Checkpoint.open(${JSON.stringify(at)}))
      let read = 0
      const weights = Weights.make(one.weights.infos, (name, rows) => ++read < 10 ? one.weights.read(name, rows) : Effect.sync(() => process.kill(process.pid, "SIGKILL")))
      await Effect.runPromise(Checkpoint.write({ ...one, weights }, ${JSON.stringify(at)}))`
    await expect(promisify(execFile)(process.execPath, ["--import", "tsx", "--conditions=@switchyard/source", "--input-type=module", "-e", program])).rejects.toMatchObject({ signal: "SIGKILL" })
    expect(await readFile(join(at, "model.safetensors"))).toEqual(before)
    const left = (await readdir(parent)).filter((name) => name !== "model")
    expect(left).toHaveLength(1) // what the killed process was writing, under a name that is nobody's model
    expect(isTemporaryName(left[0]!)).toBe(true)
    await run(Checkpoint.write(made({ ...llama, ropeTheta: 500 }), at))
    expect((await run(Checkpoint.open(at))).model.ropeTheta).toBe(500)
  })
  test("a tensor that cannot be read leaves the earlier model as it was, and nothing else", async () => {
    const parent = join(root, "atomic"), at = join(parent, "model")
    await mkdir(parent)
    await run(Checkpoint.write(made(llama), at))
    const before = await readFile(join(at, "model.safetensors")), good = made(llama)
    const broken = { ...good, weights: Weights.make(good.weights.infos, (name, rows) => name === "norm" ? Effect.fail(new Weights.WeightsError({ tensor: name, problem: "lost", remedy: "none" })) : good.weights.read(name, rows)) }
    expect(await failure(Checkpoint.write(broken, at))).toMatchObject({ _tag: "WeightsError", tensor: "norm" })
    expect(await readdir(parent)).toEqual(["model"])
    expect(await readFile(join(at, "model.safetensors"))).toEqual(before)
  })
  test("an interruption leaves nothing", async () => {
    const parent = join(root, "interrupted"), good = made(llama)
    await mkdir(parent)
    const endless = { ...good, weights: Weights.make(good.weights.infos, (name, rows) => name === "norm" ? Effect.never : good.weights.read(name, rows)) }
    await expect(Effect.runPromise(Checkpoint.write(endless, join(parent, "model")), { signal: AbortSignal.timeout(100) })).rejects.toThrow()
    expect(await readdir(parent)).toEqual([])
  })
  test("what a family cannot express is refused before anything is written", async () => {
    const error = await failure(Checkpoint.write(made(lowRank), join(root, "refused"), { family: "mixtral" }))
    expect(error).toMatchObject({ _tag: "CannotExpress", family: "mixtral" })
    expect(error.message).toMatch(/experts of kind lowRank; router tensors .*; router\.score = missing/)
    expect(existsSync(join(root, "refused"))).toBe(false)
  })
  test("a folder of something else is not replaced", async () => {
    const at = join(root, "letters")
    await mkdir(at)
    await writeFile(join(at, "letter.txt"), "dear")
    expect((await failure(Checkpoint.write(made(llama), at))).message).toMatch(/something other than a model/)
    expect(await readdir(at)).toEqual(["letter.txt"])
  })
})

describe("in a pipeline", () => {
  test("what the stage keeps of a committed folder is what its version 1 kept (when it is not: raise the version, then the digests)", async () => {
    const store = join(root, "digest"), at = new URL("./fixtures/mixtral-transformers/original", import.meta.url).pathname
    await run(Pipeline.run(Pipeline.make("digest", () => ({ model: Checkpoint.loadMixture({ at: file(at) }) }))).pipe(Effect.provide(Store.layer(store))))
    const kept = (await run(Digest.folder(store))).filter(({ path }) => /(model\.safetensors|config\.json)$/.test(path) && !path.includes("tokenizer"))
    expect(Checkpoint.loadMixture.definition.version).toBe(1)
    expect(kept.map(({ path, sha256 }) => [basename(path), sha256.slice(0, 16)]).sort()).toEqual([
      ["config.json", "4a31af015775456a"], ["generation_config.json", "09b608bc4be74e62"], ["model.safetensors", "840b2139028c5d43"]
    ])
  })
  test("a folder is loaded once, kept, and read back from the store; the other form is refused by the plan", async () => {
    const at = await written("seed", made(llama), { dtype: "BF16" }), store = join(root, "store")
    const pipeline = Pipeline.make("load", () => ({ seed: Checkpoint.load({ at: file(at) }) }))
    const [planned] = await run(Pipeline.plan(pipeline).pipe(Effect.provide(Store.layer(store))))
    expect(planned).toMatchObject({ cost: { bytesRead: Model.parameters(llama) * 2 } })
    const { seed } = await run(Pipeline.run(pipeline).pipe(Effect.provide(Store.layer(store))))
    expect(seed.header.form).toBe("dense")
    expect(seed.lineage.at(-1)).toMatchObject({ stage: "checkpoint/load" })
    await same(seed, await run(Checkpoint.open(at)))
    expect(seed.weights.infos.get("embedding")!.dtype).toBe("BF16")
    await cp(at, join(root, "moved"), { recursive: true })
    await rm(at, { recursive: true })
    await run(seed.weights.read("embedding")) // from the store, not from where it came from
    const wrong = Pipeline.make("wrong", () => ({ seed: Checkpoint.loadMixture({ at: file(join(root, "moved")) }) }))
    expect((await failure(Pipeline.plan(wrong).pipe(Effect.provide(Store.layer(store))) as Effect.Effect<unknown, Error>)).message).toMatch(/holds a dense model, not a mixture one. Remedy: load it with Checkpoint\.load/)
  })
})

const data = process.env["SWITCHYARD_DATA"], stories = data === undefined ? undefined : join(data, "models/stories260K-hf")
;(stories !== undefined && existsSync(stories) ? test : test.skip)("stories260K: all 47 tensors are used, and written again with the same bytes (needs SWITCHYARD_DATA: models/stories260K-hf)", async () => {
  const checkpoint = await run(Checkpoint.open(stories!)), at = await written("stories", checkpoint)
  expect(checkpoint.weights.infos.size).toBe(47)
  expect(Model.parameters(checkpoint.model)).toBe(260_032)
  const [before, after] = [await run(Safetensors.open(join(stories!, "model.safetensors"))), await run(Safetensors.open(join(at, "model.safetensors")))]
  expect([...after.infos.keys()].sort()).toEqual([...before.infos.keys()].sort())
  for (const name of before.infos.keys()) expect(Buffer.compare(await run(after.bytes(name)), await run(before.bytes(name)))).toBe(0)
})
