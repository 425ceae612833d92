import { describe, expect, test } from "@jest/globals"
import { Checkpoint, Corpus, Model, Pipeline, Random, Stage, Store, Tokenizer, Weights } from "@switchyard/core"
import { type Device, Op, plain, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Cause, Effect, Exit, Layer, Schema } from "effect"
import * as LanguageModel from "./LanguageModel.ts"
import * as Prototypes from "./Prototypes.ts"
import * as Router from "./Router.ts"

const hidden = 8
const body = { family: "llama", vocabulary: 260, hidden, layers: 2, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 12, normEpsilon: 1e-5, ropeTheta: 1e4, tiedEmbeddings: true, extra: {} }
const described = (router: Router.Router) => ({ ...body, feedForward: { kind: "mixture" as const, inner: 12, experts: 2, active: 1, expert: { kind: "full" as const }, router: router as never, routerTensors: Router.tensors(router, { experts: 2, hidden }), ...router.depth?.decide === "once" ? { routerLayers: [router.depth.layer] } : {} } }) satisfies Model.Model
const filled = (model: Model.Model) => Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) => [name, { shape, data: Random.fillNormal(Random.make(2, name), new Float32Array(shape.reduce((a, b) => a * b, 1)), { deviation: 0.5 }) }])))
const letters = { law: "shall ", code: "{x};" }
const documents = (domain: "law" | "code") => Array.from({ length: 3 }, (_, at): Corpus.Document => ({ id: `${at}`, split: "train", text: letters[domain].repeat(4).slice(at) }))

const text = Stage.make("test/text", {
  version: 1, inputs: [], options: Schema.Struct({ domain: Schema.Literals(["law", "code"]) }), output: Corpus.Artifact,
  *describe(_none, { domain }) { return { header: { domain }, cost: {} } },
  *run(_none, { domain }) { return { kind: "corpus", header: { domain }, domain, documents: documents(domain) } }
})
const newborn = Stage.make("test/mixture", {
  version: 1, inputs: [], options: Schema.Struct({ router: Router.Router }), output: Checkpoint.Mixture,
  *describe(_none, { router }) { return { header: Checkpoint.headerOf(described(router), Tokenizer.bytes().hash), cost: {} } },
  *run(_none, { router }, context) {
    const model = described(router)
    return Checkpoint.make({ model, weights: filled(model), tokenizer: Tokenizer.bytes(), lineage: [{ stage: "test/mixture", key: context.key, inputs: {}, facts: { experts: ["law", "code"] } }] })
  }
})
const layer = Layer.mergeAll(Store.temporary, plain())
const running = <A, E>(effect: Effect.Effect<A, E, Store.Store | Device.Device>) => Effect.runPromiseExit(Effect.provide(effect, layer))
const fitted = (router: Router.Router, tokens = 1000) => Pipeline.make("test", () => ({ mixture: Prototypes.fit(newborn({ router }), { law: text({ domain: "law" }), code: text({ domain: "code" }) }, { tokens, batch: 2 }) }))

/** The states that the router of each layer reads while `expert` runs a window, pooled by a plain loop; rows that are scored only. */
const states = (router: Router.Router, expert: number, domain: "law" | "code", where: "feedForward.input" | "norm" = "feedForward.input") => Effect.scoped(Effect.gen(function*() {
  const model = described(router), self = yield* LanguageModel.make(model, { batch: 1, tokens: 12, router: Router.fixed([expert]) })
  const arena = yield* plainDevice().arena, ids = Tensor.kept([12], { dtype: "u32", sharded: true })
  yield* LanguageModel.load(arena, self, filled(model))
  const program = Recording.record(() => {
    const inputs: Array<Tensor.Tensor> = []
    LanguageModel.forward(self, ids, { tap: (point, at, x) => { if (point === where) inputs[at] = Op.keep(x) } })
    return inputs
  })
  const rows: Array<Array<ReadonlyArray<number>>> = [[], []]
  const corpus: Corpus.Corpus = { kind: "corpus", header: { domain }, domain, documents: documents(domain) }
  for (const window of yield* Corpus.windows(corpus, { tokenizer: Tokenizer.bytes(), split: "train", tokens: 12 })) {
    yield* arena.upload(ids, window.ids)
    yield* arena.submit(program)
    for (const [at, tensor] of program.outputs.entries()) {
      if (tensor === undefined) continue
      const x = yield* arena.read(tensor)
      for (let t = window.from; t < window.length; t++) rows[at]!.push(Array.from({ length: hidden }, (_, i) => {
        if (router.unit.of === "token") return x[t * hidden + i]!
        let sum = 0
        for (let s = 0; s <= t; s++) sum += x[s * hidden + i]!
        return sum / (t + 1)
      }))
    }
  }
  return rows
}))
const column = (rows: ReadonlyArray<ReadonlyArray<number>>, i: number) => rows.map((row) => row[i]!)
const mean = (values: ReadonlyArray<number>) => values.reduce((a, b) => a + b, 0) / values.length

describe("Prototypes", () => {
  for (const [unit, metric] of [[{ of: "token" }, "whitened"], [{ of: "prefix", pool: "mean" }, "euclidean"]] as const) {
    test(`centroids by ${unit.of} are the means of what each expert's router reads, and ${metric === "whitened" ? "the deviation is within domains" : "there is no deviation"}`, async () => {
      const router = Router.prototypes({ active: 1, metric, unit })
      const exit = await running(Effect.gen(function*() {
        const { mixture } = yield* Pipeline.run(fitted(router))
        for (const at of [0, 1]) {
          const of = [(yield* states(router, 0, "law"))[at]!, (yield* states(router, 1, "code"))[at]!] as const
          const centroids = yield* mixture.weights.read(`layers.${at}.router.centroids`)
          for (const expert of [0, 1] as const) for (let i = 0; i < hidden; i++) expect(centroids[expert * hidden + i]).toBeCloseTo(mean(column(of[expert], i)), 5)
          expect(mixture.weights.infos.has(`layers.${at}.router.deviation`)).toBe(metric === "whitened")
          if (metric !== "whitened") continue
          const deviation = yield* mixture.weights.read(`layers.${at}.router.deviation`)
          for (let i = 0; i < hidden; i++) {
            const within = of.flatMap((rows) => { const centre = mean(column(rows, i)); return column(rows, i).map((x) => (x - centre) ** 2) })
            expect(deviation[i]).toBeCloseTo(Math.sqrt(mean(within)), 4)
          }
        }
        expect(Buffer.compare(Buffer.from((yield* mixture.weights.read("layers.0.experts.1.up")).slice().buffer), Buffer.from((yield* filled(described(router)).read("layers.0.experts.1.up")).slice().buffer))).toBe(0)
      }))
      if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
    })
  }

  test("standardize: a whitened unit gets mean and deviation of all rows together, in the layer that decides; a decay weighs", async () => {
    const router = Router.once(Router.prefixMlp({ active: 1, inner: 3, decays: [1, 0.5], normalize: "whitened" }), { layer: 1, before: [0] })
    const exit = await running(Effect.gen(function*() {
      const { mixture } = yield* Pipeline.run(Pipeline.make("test", () => ({ mixture: Prototypes.standardize(newborn({ router }), { law: text({ domain: "law" }), code: text({ domain: "code" }) }, { tokens: 1000, batch: 2 }) })))
      const bare = (yield* states(router, 0, "law"))[1]!.concat((yield* states(router, 1, "code"))[1]!)
      const found = yield* mixture.weights.read("layers.1.router.pool.mean"), deviation = yield* mixture.weights.read("layers.1.router.pool.deviation")
      expect([found.length, deviation.length, mixture.weights.infos.has("layers.0.router.pool.mean")]).toEqual([2 * hidden, 2 * hidden, false])
      for (let i = 0; i < hidden; i++) { // the first pool is the running mean, which `states` gives
        const values = column(bare, i), centre = mean(values)
        expect(found[i]).toBeCloseTo(centre, 5)
        expect(deviation[i]).toBeCloseTo(Math.sqrt(mean(values.map((x) => (x - centre) ** 2))), 4)
      }
      expect(found.subarray(hidden)).not.toEqual(found.subarray(0, hidden))
      expect(yield* mixture.weights.read("layers.1.router.inner.weight")).toEqual(yield* filled(described(router)).read("layers.1.router.inner.weight"))
    }))
    if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
    const refused = await running(Pipeline.plan(Pipeline.make("test", () => ({ mixture: Prototypes.standardize(newborn({ router: Router.topK({ active: 1 }) }), { law: text({ domain: "law" }) }, { tokens: 10 }) }))))
    expect(Exit.isFailure(refused) && Cause.squash(refused.cause)).toMatchObject({ _tag: "TrainingError", problem: expect.stringMatching(/does not whiten/) })
  })
  test("embed: each expert's embedding is the mean of the last states over its text, and their mean stands beside them", async () => {
    const router = Router.nexus({ active: 1, embedding: hidden, inner: 3 })
    const last = (expert: number, domain: "law" | "code") => Effect.map(states(router, expert, domain, "norm"), ([, rows]) => Array.from({ length: hidden }, (_, i) => mean(column(rows!, i))))
    const exit = await running(Effect.gen(function*() {
      const { mixture } = yield* Pipeline.run(Pipeline.make("test", () => ({ mixture: Prototypes.embed(newborn({ router }), { law: text({ domain: "law" }), code: text({ domain: "code" }) }, { tokens: 1000, batch: 2 }) })))
      const expected = [yield* last(0, "law"), yield* last(1, "code")]
      for (const at of [0, 1]) {
        const found = yield* mixture.weights.read(`layers.${at}.router.embeddings`), middle = yield* mixture.weights.read(`layers.${at}.router.embeddings.mean`)
        expected.flat().forEach((value, i) => expect(found[i]).toBeCloseTo(value, 5))
        for (let i = 0; i < hidden; i++) expect(middle[i]).toBeCloseTo((expected[0]![i]! + expected[1]![i]!) / 2, 5)
      }
    }))
    if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
  })
  test("a router that is not by distance is refused by the plan", async () => {
    const exit = await running(Pipeline.plan(fitted(Router.topK({ active: 1 }))))
    expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toMatchObject({ _tag: "TrainingError", option: "router" })
  })
})
