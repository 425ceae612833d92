import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals"
import { Checkpoint, Corpus, Event, file, Pipeline, Random, Safetensors, Stage, Store } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { Upcycle } from "@switchyard/merge"
import { Finetune, Router } from "@switchyard/routing"
import { Cause, Effect, Exit, Fiber, Layer, Schema } from "effect"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { hashes, leftovers, writeTiny } from "./journey.ts"

// Real faults in real files, met by a real pipeline: what it says, and what it leaves in its folder.
const place = mkdtempSync(join(tmpdir(), "switchyard-faults-")), sound = join(place, "sound"), model = join(place, "model"), store = join(place, "store")
const lawText = join(place, "law.jsonl"), seaText = join(place, "sea.jsonl")
const paragraphs = (word: string, count: number, length: number) => Array.from({ length: count }, (_, at) => JSON.stringify({
  id: `${word} ${at}`, text: Array.from({ length }, (_, n) => `${word}${Random.below(Random.make(at, word), n, 500)}`).join(" ")
})).join("\n")
const device = Device.host({ workers: 0 })
const layer = Layer.mergeAll(Store.layer(store), device)

beforeAll(() => writeTiny(sound))
beforeEach(() => {
  for (const path of [model, store]) rmSync(path, { recursive: true, force: true })
  cpSync(sound, model, { recursive: true })
  writeFileSync(lawText, paragraphs("law", 40, 30))
  writeFileSync(seaText, paragraphs("sea", 40, 30))
})
afterAll(() => { rmSync(place, { recursive: true, force: true }) })

const training = { rank: 2, steps: 4, batch: 2, tokens: 64, saveEvery: 1 }
/** Two experts and a mixture of them: load, tune, upcycle, and train the routers. */
const domainExperts = (options: { readonly active?: number } = {}) => Pipeline.make("faults", () => {
  const texts = { law: Corpus.load({ at: file(lawText), domain: "law" }), sea: Corpus.load({ at: file(seaText), domain: "sea" }) }
  const seed = Checkpoint.load({ at: file(model) })
  const experts = Pipeline.each(texts, (text, domain) => Finetune.lora(seed, { [domain]: text }, training))
  const newborn = Upcycle.fromAdapters(seed, experts, { router: Router.topK({ active: options.active ?? 2 }) })
  return { routed: Finetune.train(newborn, texts, { trainable: "routers", steps: 4, batch: 2, tokens: 32, saveEvery: 1 }) }
})

const run = <O extends Pipeline.Outputs>(pipeline: Pipeline.Pipeline<O>) => Effect.runPromiseExit(Effect.provide(Pipeline.run(pipeline) as Effect.Effect<unknown, unknown, never>, layer) as Effect.Effect<unknown, unknown>)
const failure = async (pipeline: Pipeline.Pipeline<Pipeline.Outputs>) => {
  const exit = await run(pipeline)
  if (Exit.isSuccess(exit)) throw new Error("it should have failed")
  return Cause.squash(exit.cause) as Error & { readonly _tag?: string }
}
/** Stages with a result in the store. */
const kept = () => !existsSync(join(store, "results")) ? [] : readdirSync(join(store, "results"))
  .map((key) => (JSON.parse(readFileSync(join(store, "results", key, "provenance.json"), "utf8")) as { readonly stage: string }).stage).sort()
const loaded = ["corpus/load", "corpus/load"]

const editJson = (name: string, edit: (json: Record<string, any>) => void) => {
  const path = join(model, name), json = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>
  edit(json)
  writeFileSync(path, JSON.stringify(json))
}
/** Rewrites the header of model.safetensors; the data stays. */
const editHeader = (edit: (header: Record<string, { dtype: string; shape: Array<number>; data_offsets: [number, number] }>) => void) => {
  const path = join(model, "model.safetensors"), bytes = readFileSync(path), length = Number(bytes.readBigUInt64LE(0)), header = JSON.parse(bytes.subarray(8, 8 + length).toString("utf8"))
  edit(header)
  const text = Buffer.from(JSON.stringify(header)), size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(path, Buffer.concat([size, text, bytes.subarray(8 + length)]))
}
const query = "model.layers.0.self_attn.q_proj.weight", key = "model.layers.0.self_attn.k_proj.weight"

test.each<readonly [fault: string, inject: () => void, tag: string, says: RegExp, kept: ReadonlyArray<string>]>([
  ["truncated safetensors", () => { const path = join(model, "model.safetensors"), bytes = readFileSync(path); writeFileSync(path, bytes.subarray(0, bytes.length - 100)) }, "SafetensorsError", /model\.safetensors/, []],
  ["a header cut in the middle", () => { const path = join(model, "model.safetensors"); writeFileSync(path, readFileSync(path).subarray(0, 50)) }, "SafetensorsError", /model\.safetensors/, []],
  ["overlapping tensors", () => editHeader((header) => { header[key]!.data_offsets = header[query]!.data_offsets }), "SafetensorsError", /model\.safetensors.*(k_proj|q_proj)/, []],
  ["a tensor whose shape lies about its bytes", () => editHeader((header) => { header[key]!.shape = [64, 64] }), "SafetensorsError", /model\.safetensors.*k_proj/, []],
  ["a tensor of another shape than the config says", () => editHeader((header) => { header[key]!.shape.reverse() }), "TensorMismatch", /k_proj\.weight \[32, 16\] instead of \[16, 32\]/, []],
  ["a config without a key", () => editJson("config.json", (json) => { delete json["intermediate_size"] }), "ConfigError", /config\.json: intermediate_size: it is missing\. Remedy/, []],
  ["a tokenizer with more ids than the embedding has rows", () => editJson("tokenizer.json", (json) => { json["added_tokens"].push({ ...json["added_tokens"][0], id: 300, content: "<|more|>" }) }), "TokenizerError", /tokenizer\.json.*embedding/, []],
  ["an empty corpus", () => writeFileSync(lawText, ""), "CorpusError", /law/, []],
  ["a corpus shorter than a sequence", () => writeFileSync(lawText, paragraphs("l", 10, 1)), "CorpusError", /law.*train.*one row needs/, ["checkpoint/load", "corpus/load"]]
])("%s", async (_, inject, tag, says, expected) => {
  inject()
  const given = hashes(place, (path) => !path.startsWith("store"))
  const error = await failure(domainExperts())
  expect([error._tag, error.message]).toEqual([tag, expect.stringMatching(says)])
  expect(kept().filter((stage) => !loaded.includes(stage) || expected.includes(stage))).toEqual(expect.arrayContaining([...expected]))
  expect(kept().filter((stage) => !stage.endsWith("load"))).toEqual([]) // nothing that needed what was broken
  expect(existsSync(store) ? leftovers(store) : []).toEqual([])
  expect(hashes(place, (path) => !path.startsWith("store"))).toEqual(given) // and nothing given was touched
})

test("mended, the run goes on from what was kept", async () => {
  writeFileSync(lawText, "")
  await failure(domainExperts())
  const before = kept()
  expect(before.length).toBeGreaterThan(0)
  writeFileSync(lawText, paragraphs("law", 40, 30))
  const started: Array<string> = []
  await Effect.runPromise(Effect.provide(Event.listening(Pipeline.run(domainExperts()), (event) => { if (event._tag === "Started") started.push(event.stage) }), layer) as Effect.Effect<unknown, unknown>)
  expect([...before, ...started].sort()).toEqual(kept())
})

test("more active experts than experts: refused by the plan, before any work", async () => {
  const error = await failure(domainExperts({ active: 3 }))
  expect([error._tag, error.message]).toEqual(["RouterError", expect.stringMatching(/3 active experts of 2\. Choose at most 2/)])
  expect(kept()).toEqual([])
  expect(existsSync(store) ? leftovers(store) : []).toEqual([])
})

const throwing = Stage.make("test/throwing", {
  version: 1, inputs: [Stage.one("model", Checkpoint.Mixture)], options: Schema.Struct({}), output: Checkpoint.Mixture,
  *describe({ model: { key: _, ...header } }) { return { header, cost: {} } },
  *run(_inputs, _options, context) {
    yield* Effect.sync(() => { mkdirSync(join(context.directory, "half")); writeFileSync(join(context.directory, "half", "written"), "x") })
    throw new Error("axis experts: 3 is not 4")
  }
})
test("a stage that throws: the run dies with what it threw, all that was finished is kept, of the thrower nothing", async () => {
  const { outputs: { routed } } = domainExperts()
  const error = await failure(Pipeline.make("throws", () => ({ broken: throwing(routed) })))
  expect(error.message).toBe("axis experts: 3 is not 4")
  expect(kept()).toEqual(["checkpoint/load", ...loaded, "finetune/lora", "finetune/lora", "finetune/train", "upcycle/fromAdapters"].sort())
  expect(leftovers(store)).toEqual([])
  for (const row of await Effect.runPromise(Pipeline.verify(domainExperts()).pipe(Effect.provide(Store.layer(store))))) expect([row.stage, row.status]).toEqual([row.stage, "intact"])
})

test("interrupted at a dozen moments: no lock, nothing half-written, and in the end the same bits", async () => {
  const weights = () => Object.entries(hashes(join(store, "results"), (path) => path.endsWith(".safetensors")))
  const began = performance.now()
  expect(Exit.isSuccess(await run(domainExperts()))).toBe(true)
  const whole = weights(), took = performance.now() - began, chance = Random.make(3, "interrupt")
  rmSync(store, { recursive: true })
  for (let time = 0; time < 12; time++) {
    const fiber = Effect.runFork(Effect.provide(Pipeline.run(domainExperts()), layer) as Effect.Effect<unknown, unknown>)
    await new Promise((resolve) => { setTimeout(resolve, Random.uniform(chance, time) * took / 3) })
    await Effect.runPromise(Fiber.interrupt(fiber))
    if (existsSync(store)) expect(leftovers(store).filter((name) => !/^resume\/[0-9a-f]+(\/\d+(\/.*)?)?$/.test(name))).toEqual([])
    for (const entry of existsSync(join(store, "results")) ? weights() : []) expect(whole).toContainEqual(entry) // finished results are whole ones
  }
  expect(Exit.isSuccess(await run(domainExperts()))).toBe(true)
  expect(weights()).toEqual(whole)
  expect(leftovers(store)).toEqual([])
}, 60_000)

test("a loss that is not finite: the run stops, names step and layer, and keeps the last good state", async () => {
  const diverging = Pipeline.make("diverges", () => {
    const law = Corpus.load({ at: file(lawText), domain: "law" })
    return { trained: Finetune.train(Checkpoint.load({ at: file(model) }), { law }, { trainable: "feedForward", steps: 9, batch: 2, tokens: 32, learningRate: 1e25, clip: 0, schedule: "constant", saveEvery: 100 }) }
  })
  const error = await failure(diverging) as Error & { readonly step: number; readonly layer: number }
  expect(error).toMatchObject({ _tag: "TrainingDiverged", step: 2, layer: 0 })
  expect(error.message).toMatch(/step 2.*layer 0.*learning rate below 1e\+25/)
  expect(kept()).toEqual(["checkpoint/load", "corpus/load"])
  const [stage] = readdirSync(join(store, "resume")), [state] = readdirSync(join(store, "resume", stage!)), folder = join(store, "resume", stage!, state!)
  expect(JSON.parse(readFileSync(join(folder, "state.json"), "utf8"))).toMatchObject({ step: 1 })
  const saved = await Effect.runPromise(Safetensors.open(join(folder, "state.safetensors")))
  for (const [name, { dtype }] of saved.infos) if (dtype === "F32" && name.startsWith("parameter/")) {
    const values = await Effect.runPromise(saved.read(name))
    expect([name, (values as Float32Array).every(Number.isFinite)]).toEqual([name, true])
  }
  expect(leftovers(store).filter((name) => !name.startsWith("resume/"))).toEqual([])
  expect(await failure(diverging)).toMatchObject({ _tag: "TrainingDiverged", step: 2 }) // the same again, from the state kept
})
