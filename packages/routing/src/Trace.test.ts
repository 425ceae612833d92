import { describe, expect, test } from "@jest/globals"
import { Checkpoint, type Corpus, Model, Random, Table, type Tables, Tokenizer, Weights } from "@switchyard/core"
import { Device, plainDevice } from "@switchyard/gpu"
import { Effect, Exit, type Layer } from "effect"
import { createHash } from "node:crypto"
import { naiveRoute } from "./naiveRoute.ts"
import * as Router from "./Router.ts"
import * as Trace from "./Trace.ts"

const experts = 4, hidden = 8, tokenizer = Tokenizer.bytes()
const model = (router: Router.Router) => ({
  family: "switchyard", vocabulary: tokenizer.vocabulary, hidden, layers: 2, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 16,
  normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, extra: {},
  feedForward: { kind: "mixture", inner: 6, experts, active: Router.active(router, experts), expert: { kind: "full" }, router, routerTensors: Router.tensors(router, { experts, hidden }), ...router.depth?.decide === "once" ? { routerLayers: [router.depth.layer] } : {} }
}) satisfies Model.Model
const weights = (of: Model.Model) => Weights.fromMemory(Object.fromEntries(Model.tensors(of).map(({ name, shape }) =>
  [name, { shape, data: Random.fillNormal(Random.make(2, name), new Float32Array(shape.reduce((a, b) => a * b, 1)), name.endsWith("norm") ? { mean: 1, deviation: 0 } : { deviation: 0.5 }) }])))
const mixture = (router: Router.Router, of: ReturnType<typeof model> = model(router)) => Checkpoint.make({ model: of, weights: weights(of), tokenizer })
const corpus = (domain: string, texts: ReadonlyArray<string>): Corpus.Corpus => ({ kind: "corpus", header: { domain }, domain, documents: texts.map((text, at) => ({ id: String(at), text, split: "report" })) })
const texts = { sea: corpus("sea", ["Call me Ishmael. Some years ago", "never mind how long"]), law: corpus("law", ["THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND"]) }

interface Captured { readonly table: Table.Table<Tables.Trace>; readonly plan: unknown; readonly measured: ReadonlyArray<unknown>; readonly progress: ReadonlyArray<number> }
/** Runs the stage as a pipeline would. */
const capture = (router: Router.Router, options: Parameters<typeof Trace.capture>[2], from: Readonly<Record<string, Corpus.Corpus>> = texts, layer: Layer.Layer<Device.Device, Device.Failure> = Device.plain(), of?: ReturnType<typeof model>): Effect.Effect<Captured, unknown> => {
  const measured: Array<unknown> = [], progress: Array<number> = [], { definition } = Trace.capture
  const context = { key: "k", keys: {}, seed: 0, progress: (done: number) => Effect.sync(() => { progress.push(done) }), metric: () => Effect.void, actual: (each: unknown) => Effect.sync(() => { measured.push(each) }) }
  return Effect.scoped(Effect.gen(function*() {
    const given = mixture(router, of), all = { batch: 3, run: "r", ...options }
    const plan = yield* definition.describe({ mixture: { ...given.header, key: "m" }, texts: Object.fromEntries(Object.keys(from).map((name) => [name, { domain: name, key: name }])) }, all)
    const table = (yield* definition.run({ mixture: given, texts: from }, all, context)) as Table.Table<Tables.Trace>
    return { table, plan, measured, progress }
  })).pipe(Effect.provide(layer)) as Effect.Effect<unknown> as Effect.Effect<Captured, unknown>
}

describe("Trace.capture", () => {
  test("each token of the text once, for each layer and rank, in order", async () => {
    const { progress, table } = await Effect.runPromise(capture(Router.topK({ active: 2 }), { split: "report", tokens: 1000 }))
    const rows = Table.rows(table)
    const all = Object.keys(texts).sort().flatMap((domain) => texts[domain as "sea"].documents.flatMap(({ text }, document) => [...tokenizer.encode(text)].map((_, position) => ({ domain, document, position }))))
    expect(rows.length).toBe(all.length * 2 * 2)
    all.forEach((expected, at) => { for (let i = 0; i < 4; i++) expect(rows[at * 4 + i]).toMatchObject({ ...expected, run: "r", layer: i >> 1, rank: i & 1, dropped: false }) })
    // the token fed at position p is the document's token before p; the first is the beginning of text
    const sea = rows.filter(({ document, domain, layer, rank }) => domain === "sea" && document === 1 && layer === 0 && rank === 0).map(({ token }) => token)
    expect(sea).toEqual([tokenizer.bos, ...tokenizer.encode("never mind how long")].slice(0, -1))
    expect(progress.at(-1)).toBe(all.length)
  })
  test("layers that have a dense feed-forward leave no rows, the others keep their numbers", async () => {
    const { feedForward, ...rest } = model(Router.topK({ active: 2 })), dense = { layers: 1, inner: 5 }, of = { ...rest, layers: 3, feedForward: { ...feedForward, dense } }
    const { table } = await Effect.runPromise(capture(Router.topK({ active: 2 }), { split: "report", tokens: 1000 }, texts, Device.plain(), of)), rows = Table.rows(table)
    expect([...new Set(rows.map(({ layer }) => layer))]).toEqual([1, 2])
    expect(rows.length).toBe((await Effect.runPromise(capture(Router.topK({ active: 2 }), { split: "report", tokens: 1000 }))).table.arrow.numRows)
  })
  test("layers that are told other numbers of experts leave as many rows", async () => {
    const { plan, table } = await Effect.runPromise(capture(Router.once(Router.prefix({ active: 1 }), { layer: 1, before: [3, 0, 1] }), { split: "report", tokens: 20 }))
    const rows = Table.rows(table), told = rows.filter(({ layer }) => layer === 0)
    expect(told.slice(0, 3).map(({ expert, rank, weight }) => [rank, expert, Math.fround(weight)])).toEqual([[0, 3, Math.fround(1 / 3)], [1, 0, Math.fround(1 / 3)], [2, 1, Math.fround(1 / 3)]])
    expect([told.length, rows.length]).toEqual([3 * (rows.length - told.length), 4 * told.length / 3])
    expect(plan).toMatchObject({ header: { rows: 20 * 4 } })
  })
  test("what it says is what the router decided: the first layer's choices by loops over the embedding's rows", async () => {
    // attention's output matrix is zero in this model's first layer, so its feed-forward sees the normalised embedding alone
    const router = Router.topK({ active: 2 }), given = mixture(router), embedding = await Effect.runPromise(given.weights.read("embedding")), weight = await Effect.runPromise(given.weights.read("layers.0.router.weight"))
    const still = Weights.overlay(given.weights, Weights.fromMemory({ "layers.0.attention.output": { shape: [hidden, hidden], data: new Float32Array(hidden * hidden) } }))
    const { definition } = Trace.capture
    const table = await Effect.runPromise(Effect.scoped(definition.run({ mixture: { ...given, weights: still }, texts }, { split: "report", tokens: 40, batch: 2, run: "r" },
      { progress: () => Effect.void, actual: () => Effect.void })).pipe(Effect.provideService(Device.Device, Device.Device.of(plainDevice()))) as Effect.Effect<Table.Table<Tables.Trace>>)
    const rows = Table.rows(table).filter(({ layer }) => layer === 0)
    for (let at = 0; at < rows.length; at += 2) {
      const state = [...embedding.subarray(rows[at]!.token * hidden, (rows[at]!.token + 1) * hidden)], norm = Math.sqrt(state.reduce((sum, each) => sum + each * each, 0) / hidden + 1e-5)
      const [decision] = naiveRoute(router, { x: state.map((each) => each / norm), batch: 1, tokens: 1, hidden, experts, tensors: { weight } })
      for (const rank of [0, 1]) {
        expect(rows[at + rank]!.expert).toBe(decision!.experts[rank])
        expect(rows[at + rank]!.weight).toBeCloseTo(decision!.weights[rank]!, 4)
        expect(rows[at + rank]!.logit).toBeCloseTo(decision!.logits[decision!.experts[rank]!]!, 4)
      }
    }
    expect(rows.length).toBe(40 * 2)
  })
  test("two replicas and the software device trace the same: every choice, weights within 1e-4", async () => {
    const on = async (layer: Layer.Layer<Device.Device, Device.Failure>) => Table.rows((await Effect.runPromise(capture(Router.topK({ active: 2 }), { split: "report", tokens: 50 }, texts, layer))).table)
    const expected = await on(Device.plain())
    for (const layer of [Device.host({ workers: 2 }), Device.software()]) {
      const found = await on(layer)
      expect(found.map(({ weight: _, logit: __, ...exact }) => exact)).toEqual(expected.map(({ weight: _, logit: __, ...exact }) => exact))
      found.forEach(({ logit, weight }, row) => expect([Math.abs(weight - expected[row]!.weight) < 1e-4, Math.abs(logit - expected[row]!.logit) < 1e-4]).toEqual([true, true]))
    }
  }, 60_000)
  test("what finds its expert full is marked, and weighs nothing", async () => {
    const { table } = await Effect.runPromise(capture(Router.limited(Router.topK({ active: 2, weight: "prob" }), { perExpert: 0.75, scope: "sequence" }), { split: "report", tokens: 1000 }))
    const rows = Table.rows(table), dropped = rows.filter((row) => row.dropped)
    expect(dropped.length).toBeGreaterThan(0)
    expect(dropped.every(({ weight }) => weight === 0)).toBe(true)
    expect(rows.filter((row) => !row.dropped).every(({ weight }) => weight > 0)).toBe(true)
    expect(rows.filter(({ position }) => position < 2).some((row) => row.dropped)).toBe(false) // room for ⌈0.75 · 16 · 2 / 4⌉ = 6
  })
  test("a likelihood router's trace has all experts, the first token undecided", async () => {
    const { table } = await Effect.runPromise(capture(Router.likelihood(), { split: "report", tokens: 10 }, { sea: texts.sea }))
    const first = Table.rows(table).slice(0, experts)
    expect(first.map(({ weight }) => weight)).toEqual([0.25, 0.25, 0.25, 0.25])
    expect(first.map(({ expert }) => expert)).toEqual([0, 1, 2, 3])
  })
  test("the plan: rows, and FLOPs within 20 % of the measured, also when the batch is not full", async () => {
    const { measured, plan, table } = await Effect.runPromise(capture(Router.topK({ active: 2 }), { split: "report", tokens: 64 }))
    const { cost, header } = plan as { header: { rows: number }; cost: { flops: number; deviceBytes: number } }, actual = measured[0] as { flops: number; deviceBytes: number }
    expect(header.rows).toBe(Table.rows(table).length)
    expect(Math.abs(actual.flops / cost.flops - 1)).toBeLessThan(0.2)
    expect(Math.abs(actual.deviceBytes / cost.deviceBytes - 1)).toBeLessThan(0.2)
  })
  test("what the stage gives for this input is what its version says: raise the version when this changes on purpose", async () => {
    const { table } = await Effect.runPromise(capture(Router.topK({ active: 2 }), { split: "report", tokens: 24 }))
    const rounded = Table.rows(table).map(({ logit, weight, ...exact }) => [exact, weight.toFixed(3), logit.toFixed(3)])
    expect([Trace.capture.definition.version, createHash("sha256").update(JSON.stringify(rounded)).digest("hex").slice(0, 16)]).toEqual([1, "baa93bd840e5da52"])
  })
  test("an empty split and a router that cannot be are typed errors", async () => {
    const fails = async (effect: Effect.Effect<unknown, unknown, unknown>) => { const error = Exit.findErrorOption(await Effect.runPromiseExit(effect as Effect.Effect<unknown, unknown>)); return error._tag === "Some" ? error.value : undefined }
    expect(await fails(capture(Router.topK({ active: 2 }), { split: "train", tokens: 10 }))).toMatchObject({ _tag: "CorpusError" })
    const broken = { ...mixture(Router.topK({ active: 2 })).header, key: "m" } as { model: Model.Model; key: string }
    const described = Trace.capture.definition.describe({ mixture: { ...broken, model: { ...broken.model, feedForward: { ...broken.model.feedForward, router: {} } } }, texts: {} }, { split: "report", tokens: 10, batch: 1, run: "r" })
    expect(await fails(described)).toMatchObject({ _tag: "RouterError" })
  })
})
