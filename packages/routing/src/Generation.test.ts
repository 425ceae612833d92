/** Mixtures go on from a cache as the whole text says; routers that cannot are refused by name. */
import { describe, expect, jest, test } from "@jest/globals"
import { Checkpoint, Model, Pipeline, Random, Store, Tokenizer, Weights } from "@switchyard/core"
import { Device, Generate, plainDevice, Storage, Tensor } from "@switchyard/gpu"
import { Effect, Layer } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Generation from "./Generation.ts"
import { devices } from "./openDevice.ts"
import * as Router from "./Router.ts"

jest.setTimeout(60_000) // kernels compile on the processor, and processors are shared

const experts = 4, hidden = 16, window = 32
const base: Model.Model = {
  family: "switchyard", vocabulary: 260, hidden, layers: 2, heads: 4, keyValueHeads: 2, headSize: 4, contextLength: window,
  normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, feedForward: { kind: "dense", inner: 12 }, extra: {}
}
const mixture = (router: Router.Router, expert: Model.Expert = { kind: "full" }): Model.Model => ({
  ...base, feedForward: { kind: "mixture", inner: 12, experts, active: Router.active(router, experts), expert, router, routerTensors: Router.tensors(router, { ...base, experts }), ...router.depth?.decide === "once" ? { routerLayers: [router.depth.layer] } : {} }
})
const checkpointOf = (model: Model.Model) => Checkpoint.make({
  model, tokenizer: Tokenizer.bytes(),
  weights: Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) => [name, { shape, data: Random.fillNormal(Random.make(9, name), new Float32Array(Tensor.size(shape)), /norm$|deviation$/.test(name) ? { mean: 1, deviation: 0.1 } : { deviation: 0.5 }) }])))
})
const text = (seed: number, length: number) => Array.from(Random.fillUnsigned(Random.make(seed, "text"), new Uint32Array(length)), (word) => word % 256)
const farthest = (a: Float32Array, b: Float32Array) => a.reduce((most, value, at) => Math.max(most, Math.abs(value - b[at]!)), 0)
const models: Readonly<Record<string, Model.Model>> = {
  dense: base,
  "two of the experts by token": mixture(Router.topK({ active: 2 })),
  "low-rank experts by a pooled prefix": mixture(Router.prefix({ active: 2 }), { kind: "lowRank", rank: 2, scale: 1.5 }),
  "centroids of a fading prefix": mixture(Router.prototypes({ active: 1, unit: { of: "prefix", pool: "decay", decay: 0.7 } })),
  "one decision for all layers, by two pools": mixture({ ...Router.topK({ active: 2 }), unit: { of: "prefix", pool: "bank", decays: [1, 0.5], normalize: "rms" }, depth: { decide: "once", layer: 0 } }),
  "a bank in which a pool stands twice": mixture({ ...Router.topK({ active: 2 }), unit: { of: "prefix", pool: "bank", decays: [0.8, 0.5, 0.8] } }),
  "evidence that adds up": mixture({ ...Router.topK({ active: 2 }), unit: { of: "prefix", pool: "evidence", decay: 0.9, temperature: 4 } }),
  "n-grams of up to three tokens": mixture(Router.ngram({ active: 2, orders: 3, buckets: 50, decay: 0.9 })),
  "n-grams of the last four tokens alone, in each layer": mixture({ ...Router.ngram({ active: 1, orders: 4, buckets: 50 }), unit: { of: "token" }, weight: "prob", depth: { decide: "each" } }),
  "single tokens' evidence": mixture(Router.ngram({ active: 2, orders: 1, buckets: 300 })),
  "chance by position": mixture(Router.random({ active: 2 })),
  "a layer that is told, then a network over whitened pools": mixture(Router.once(Router.prefixMlp({ active: 1, inner: 3, normalize: "whitened" }), { layer: 1, before: [1, 0] }))
}

const split = { name: "host, split over two workers", layer: () => Device.host({ workers: 2 }) }
const few: Readonly<Record<string, ReadonlyArray<string>>> = { software: ["low-rank experts by a pooled prefix", "n-grams of up to three tokens"], [split.name]: ["dense", "two of the experts by token", "low-rank experts by a pooled prefix", "n-grams of up to three tokens"] }
describe.each([...devices.filter(({ name }) => name !== "plain, f64"), split])("on $name", ({ layer, name }) => {
  test.each(few[name] ?? Object.keys(models))("%s: rows of a cache are what the whole text gives", (which) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const checkpoint = checkpointOf(models[which]!)
    const cached = yield* Generation.open(checkpoint, { batch: 2, window, chunk: 8 }), whole = yield* Generation.open(checkpoint, { window, cache: false })
    const held = [text(1, 11), text(2, 3)]
    const check = (rows: Parameters<typeof cached.advance>[0]) => Effect.gen(function*() {
      const logits = yield* cached.advance(rows)
      for (const [at, { row }] of rows.entries()) expect(farthest(logits[at]!, (yield* whole.advance([{ row: 0, ids: held[row]!, fresh: true }]))[0]!)).toBeLessThan(1e-4)
    })
    yield* check(held.map((ids, row) => ({ row, ids, fresh: true })))
    for (const rows of [[0, 1], [1], [0, 1]]) {
      for (const row of rows) held[row] = [...held[row]!, 40 + row]
      yield* check(rows.map((row) => ({ row, ids: [40 + row], fresh: false })))
    }
    held[0] = text(3, 5) // the row's pool begins anew with it
    yield* check([{ row: 0, ids: held[0], fresh: true }])
  })).pipe(Effect.provide(layer()))))
})

const plain = Layer.succeed(Device.Device, Device.Device.of(plainDevice()))
const opened = (router: Router.Router, options: Generation.Options) => Effect.runPromise(Effect.scoped(Effect.asVoid(Generation.open(checkpointOf(mixture(router)), options))).pipe(Effect.provide(plain)))
test("a router by likelihood is refused with a cache, and runs without; one with a capacity is refused", async () => {
  await expect(opened(Router.likelihood(), { window })).rejects.toThrow(/score: scores by likelihood run every expert.*cache: false/)
  await opened(Router.likelihood(), { window, cache: false })
  for (const cache of [true, false]) await expect(opened(Router.limited(Router.topK({ active: 2 }), { perExpert: 1, scope: "sequence" }), { window, cache })).rejects.toThrow(/capacity/)
})
test.each(["f32", ...Storage.storages] as const)("split over workers or not, %s: the same bits", async (format) => {
  const model = models["two of the experts by token"]!, bytes: Array<number> = []
  const steps = (workers: number) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const device = yield* Device.Device, arena = yield* device.arena
    const generator = yield* Effect.provideService(Generation.open(checkpointOf(model), { batch: 2, window, storage: format === "f32" ? undefined : format }), Device.Device, Device.Device.of({ ...device, arena: Effect.succeed(arena) }))
    bytes.push((yield* arena.stats).liveBytes)
    const prompt = yield* generator.advance([{ row: 0, ids: text(1, 9), fresh: true }, { row: 1, ids: text(2, 4), fresh: true }])
    return [...prompt, ...yield* generator.advance([{ row: 0, ids: [7], fresh: false }, { row: 1, ids: [8], fresh: false }])]
  })).pipe(Effect.provide(Device.host({ workers }))))
  expect(await steps(2)).toEqual(await steps(0))
  expect(bytes[0]! / bytes[1]!).toBeLessThan(1.9) // of both workers: what is divided is held once
})
test("by n-grams, with a cache and without: the same answers, of prompts shorter and longer than an n-gram", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const checkpoint = checkpointOf(models["n-grams of up to three tokens"]!), prompts = ["a man", "t", "of two cities"], options = { maximum: 12, temperature: 1, seed: 5 }
  const answers = (cache: boolean) => Effect.scoped(Effect.gen(function*() { return yield* Generate.answers(yield* Generation.open(checkpoint, { batch: 3, window, cache, chunk: 8 }), checkpoint.tokenizer, prompts, options) }))
  const kept = yield* answers(true)
  expect(kept.every(({ ids }) => ids.length > 3)).toBe(true)
  expect(kept.map(({ ids }) => ids)).toEqual((yield* answers(false)).map(({ ids }) => ids))
})).pipe(Effect.provide(plain))))
test("a prompt whose heads are divided over workers, three of them over two, in groups, of two rows: the same but for rounding", async () => {
  const wide: Model.Model = { ...base, hidden: 24, heads: 6, keyValueHeads: 3, headSize: 4, contextLength: 64, feedForward: { kind: "dense", inner: 24 } }
  const both = [wide, { ...wide, heads: 3, keyValueHeads: 1, attention: { window: 5, softCap: 3 } }]
  const prompts = (workers: number) => Effect.runPromise(Effect.scoped(Effect.forEach(both, (model) => Effect.gen(function*() {
    const generator = yield* Generation.open(checkpointOf(model), { batch: 2, window: 64 })
    return yield* generator.advance([{ row: 0, ids: text(1, 50), fresh: true }, { row: 1, ids: text(2, 37), fresh: true }])
  }))).pipe(Effect.map((all) => all.flat()), Effect.provide(Device.host({ workers }))))
  const [divided, whole] = [await prompts(2), await prompts(0)]
  for (const [row, logits] of divided.entries()) expect(farthest(logits, whole[row]!)).toBeLessThan(2e-5 * Math.max(...whole[row]!.map(Math.abs)))
})
test("a sampled answer of a mixture is the same alone and beside others", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const checkpoint = checkpointOf(models["low-rank experts by a pooled prefix"]!), options = { maximum: 8, temperature: 1, seed: 5 }, prompts = ["a man", "the", "of two cities"]
  const together = yield* Generate.answers(yield* Generation.open(checkpoint, { batch: 3 }), checkpoint.tokenizer, prompts, options), alone = yield* Generation.open(checkpoint)
  for (const [first, prompt] of prompts.entries()) expect(yield* Generate.run(alone, checkpoint.tokenizer, prompt, { ...options, first })).toEqual(together[first])
})).pipe(Effect.provide(plain))))
test("as a stage: planned, seeded, kept, and the answers that the library gives", async () => {
  const folder = mkdtempSync(join(tmpdir(), "switchyard-generation-"))
  try {
    const checkpoint = checkpointOf(models["two of the experts by token"]!), prompts = ["one", "three men", "boat"], sampling = { maximum: 6, temperature: 1 }
    await Effect.runPromise(Checkpoint.write(checkpoint, join(folder, "model")))
    const pipeline = (batch: number) => Pipeline.make("test", () => ({ said: Generation.answers(Checkpoint.loadMixture({ at: join(folder, "model") }), { prompts, batch, ...sampling }) }))
    const run = <A, E>(effect: Effect.Effect<A, E, Store.Store | Device.Device>, seed = 0) => Effect.runPromise(effect.pipe(Effect.provideService(Pipeline.Seed, seed), Effect.provide(Layer.mergeAll(Store.temporary, plain))))
    const expected = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      return yield* Generate.answers(yield* Generation.open(checkpoint, { batch: 3 }), checkpoint.tokenizer, prompts, sampling)
    })).pipe(Effect.provide(plain)))
    for (const batch of [1, 3]) expect((await run(Pipeline.run(pipeline(batch)))).said.answers).toEqual(expected.map((answer, at) => ({ prompt: prompts[at], ...answer })))
    expect((await run(Pipeline.run(pipeline(3)), 1)).said.answers.map(({ ids }) => ids)).not.toEqual(expected.map(({ ids }) => ids))
    const cost = (await run(Pipeline.plan(pipeline(3)))).find(({ stage }) => stage === "generation/answers")!.cost
    expect(cost.flops).toBeGreaterThan(6 * 3 * 2 * 260 * hidden) // at least the head, for six tokens of three rows
  } finally { rmSync(folder, { recursive: true, force: true }) }
})
test("an answer ends at the tokenizer's eos and those of generation_config.json", async () => {
  const checkpoint = checkpointOf(base), file = (json: string) => ({ ...checkpoint, sideFiles: { "generation_config.json": new TextEncoder().encode(json) } })
  expect(await Effect.runPromise(Generation.stopIds(checkpoint))).toEqual([257])
  expect(await Effect.runPromise(Generation.stopIds(file("{\"eos_token_id\": [257, 7]}")))).toEqual([257, 7])
  expect(await Effect.runPromise(Generation.stopIds(file("{}")))).toEqual([257])
  for (const json of ["{", "{\"eos_token_id\": \"x\"}", "[]"]) await expect(Effect.runPromise(Generation.stopIds(file(json)))).rejects.toThrow(/generation_config.json/)
})
