/** Losses by position add up to the documents' scores and equal a window run alone; weight and choice by hand where the router is fixed, and by a table. */
import { describe, expect, test } from "@jest/globals"
import { Checkpoint, Corpus, Model, Pipeline, Random, Stage, Store, Table, Tokenizer, Weights } from "@switchyard/core"
import { Device, Op, plain, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { LanguageModel, Router } from "@switchyard/routing"
import { Cause, Effect, Exit, Layer, Schema } from "effect"
import * as Evaluate from "./Evaluate.ts"
import * as Positions from "./Positions.ts"
import * as Task from "./Task.ts"

const experts = 3, tokens = 8
const described = (router: Router.Router): Model.Model => ({
  family: "switchyard", vocabulary: 260, hidden: 8, layers: 2, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 16, normEpsilon: 1e-5, ropeTheta: 1e4, tiedEmbeddings: true, extra: {},
  feedForward: { kind: "mixture", inner: 12, experts, active: Router.active(router, experts), expert: { kind: "full" }, router, routerTensors: Router.tensors(router, { experts, hidden: 8, vocabulary: 260, contextLength: 16 }) }
})
const mixture = (router: Router.Router) => {
  const model = described(router) as Model.Model & { readonly feedForward: Model.Mixture }
  return Checkpoint.make({
    model, tokenizer: Tokenizer.bytes(), lineage: [{ stage: "given", key: "given", inputs: {}, facts: { experts: ["law", "code", "any"] } }],
    weights: Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) => [name, { shape, data: Random.fillNormal(Random.make(4, name), new Float32Array(Tensor.size(shape)), { mean: name.endsWith("norm") ? 1 : 0, deviation: 0.4 }) }])))
  })
}
const corpus = (domain: string): Corpus.Corpus => ({ kind: "corpus", header: { domain }, domain, documents: [5, 21, 3].map((length, at) => ({ id: `${at}`, split: "report", text: (domain === "law" ? "no one shall pass " : "{x}; y(); z = ").repeat(3).slice(at, at + length) })) })
const given = Stage.make("test/mixture", {
  version: 1, inputs: [], options: Schema.Struct({ router: Router.Router }), output: Checkpoint.Mixture,
  *describe(_none, { router }) { return { header: mixture(router).header, cost: {} } },
  *run(_none, { router }) { return mixture(router) }
})
const text = Stage.make("test/text", {
  version: 1, inputs: [], options: Schema.Struct({ domain: Schema.String }), output: Corpus.Artifact,
  *describe(_none, { domain }) { return { header: { domain }, cost: {} } },
  *run(_none, { domain }) { return corpus(domain) }
})
const task = Task.bitsPerByte({ split: "report", tokens }), texts = () => ({ law: text({ domain: "law" }), code: text({ domain: "code" }) })
const running = async <A, E>(effect: Effect.Effect<A, E, Store.Store | Device.Device>) => {
  const exit = await Effect.runPromiseExit(Effect.provide(effect, Layer.mergeAll(Store.temporary, plain())))
  if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
  return exit.value
}
const measured = async (router: Router.Router, labels?: Readonly<Record<string, number>>) => Table.rows((await running(Pipeline.run(Pipeline.make("test", () => ({ found: Positions.positions(given({ router }), texts(), { task, ...labels === undefined ? {} : { labels } }) }))))).found)

describe("losses", () => {
  const router = Router.topK({ active: 2 })
  test("over the positions they add up to Evaluate.score's documents, and each token is counted once", async () => {
    const rows = await measured(router), scores = Table.rows((await running(Pipeline.run(Pipeline.make("test", () => ({ scores: Evaluate.score(given({ router }), texts(), { task }) }))))).scores)
    for (const domain of ["law", "code"]) {
      const sum = (of: (row: typeof rows[number]) => number) => rows.filter((row) => row.domain === domain).reduce((total, row) => total + of(row), 0), own = scores.filter((row) => row.domain === domain)
      expect(sum(({ tokens }) => tokens)).toBe(own.reduce((total, row) => total + row.tokens, 0))
      expect(sum(({ nats }) => nats)).toBeCloseTo(-own.reduce((total, row) => total + row.logLikelihood, 0), 6)
    }
    expect(new Set(rows.map(({ domain, position }) => `${domain} ${position}`)).size).toBe(rows.length)
    expect(Math.max(...rows.map(({ position }) => position))).toBe(tokens - 1) // a document of 21 bytes fills a window
  })
  test("of each position they are those of the windows run one by one", async () => {
    const expected = new Map<string, { nats: number; tokens: number }>(), { model, tokenizer, weights } = mixture(router)
    await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const arena = yield* plainDevice().arena, self = yield* LanguageModel.make(model, { batch: 1, tokens }), ids = Tensor.kept([tokens], { dtype: "u32" }), targets = Tensor.kept([tokens], { dtype: "u32" })
      yield* LanguageModel.load(arena, self, weights)
      const program = Recording.record(() => Op.keep(LanguageModel.lossOf(self, ids, targets).losses))
      for (const domain of ["law", "code"]) for (const window of yield* Corpus.windows(corpus(domain), { tokenizer, split: "report", tokens })) {
        const padded = (values: ArrayLike<number>) => Uint32Array.from({ length: tokens }, (_, at) => at < window.length ? values[at]! : 0)
        yield* arena.upload(ids, padded(window.ids))
        yield* arena.upload(targets, padded(window.targets))
        yield* arena.submit(program)
        const losses = yield* arena.read(program.outputs)
        for (let at = window.from; at < window.length; at++) {
          const before = expected.get(`${domain} ${at}`) ?? { nats: 0, tokens: 0 }
          expected.set(`${domain} ${at}`, { nats: before.nats + losses[at]!, tokens: before.tokens + 1 })
        }
      }
    })))
    const rows = await measured(router)
    expect(rows.length).toBe(expected.size)
    for (const { domain, nats, position, tokens } of rows) {
      expect(tokens).toBe(expected.get(`${domain} ${position}`)!.tokens)
      expect(nats).toBeCloseTo(expected.get(`${domain} ${position}`)!.nats, 6)
    }
  })
})

describe("plans", () => {
  const long = Stage.make("test/long", {
    version: 1, inputs: [], options: Schema.Struct({ domain: Schema.String }), output: Corpus.Artifact,
    *describe(_none, { domain }) { return { header: few(domain).header, cost: {} } },
    *run(_none, { domain }) { return few(domain) }
  })
  const few = (domain: string): Corpus.Corpus => {
    const documents = Array.from({ length: 10 }, (_, at) => ({ id: `${at}`, split: "report" as const, text: "no one shall pass, and so on; ".repeat(2).slice(0, 38 + at % 5) })), none = { documents: 0, bytes: 0 }
    return { kind: "corpus", domain, documents, header: { domain, splits: { train: none, choose: none, report: { documents: 10, bytes: documents.reduce((sum, { text }) => sum + text.length, 0) } } } }
  }
  test.each([["a few long documents, cut", { documentBytes: 20, maximumBytes: 1000 }], ["whole documents", {}], ["less than there is", { documentBytes: 20, maximumBytes: 110 }]])("of %s: operations within a fifth of what was counted", async (_, limits) => {
    const described = Pipeline.make("test", () => {
      const model = given({ router: Router.topK({ active: 1 }) }), texts = { law: long({ domain: "law" }), code: long({ domain: "code" }) }, task = Task.bitsPerByte({ split: "report", tokens, ...limits })
      return { positions: Positions.positions(model, texts, { task }), scores: Evaluate.score(model, texts, { task }) }
    })
    const [before, after] = await running(Effect.gen(function*() { return [yield* Pipeline.plan(described), (yield* Pipeline.run(described), yield* Pipeline.plan(described))] as const }))
    for (const stage of ["evaluate/positions", "evaluate/score"]) {
      const planned = before.find((row) => row.stage === stage)!.cost.flops!, actual = after.find((row) => row.stage === stage)!.actual!.flops!
      expect(actual).toBeGreaterThan(0)
      expect(Math.abs(planned / actual - 1)).toBeLessThan(0.2)
    }
  })
})

describe("the domain's own expert", () => {
  const shares = (rows: Awaited<ReturnType<typeof measured>>) => Object.fromEntries(["law", "code"].map((domain) => [domain, rows.filter((row) => row.domain === domain).map(({ chosen, tokens, weight }) => [Number((weight / tokens).toFixed(6)), Number((chosen / tokens).toFixed(6))])]))
  const every = (domain: "law" | "code", found: ReturnType<typeof shares>, share: readonly [number, number]) => expect(found[domain]!.every(([weight, chosen]) => weight === share[0] && chosen === share[1])).toBe(true)
  test("a router that always asks one expert gives its domain everything, at every position, and the others nothing", async () => {
    const found = shares(await measured(Router.fixed([1])))
    every("law", found, [0, 0])
    every("code", found, [1, 1])
    every("law", shares(await measured(Router.fixed([1]), { law: 1, code: 2 })), [1, 1])
  })
  test("a mean over layers: told three to one in the first, asked alone in the second", async () => {
    const found = shares(await measured(Router.once(Router.fixed([2]), { layer: 1, before: [0, 1], weights: [0.75, 0.25] }), { law: 0, code: 2 }))
    every("law", found, [0.375, 0.5]) // 0.75 and the most in one of two layers
    every("code", found, [0.5, 0.5])
    every("code", shares(await measured(Router.once(Router.fixed([2]), { layer: 1, before: [0, 1], weights: [0.75, 0.25] }), { law: 0, code: 1 })), [0.125, 0]) // a quarter in one layer, and never the most
  })
  test("by position: a table that asks another expert at each place is read at that place", async () => {
    const router = Router.random({ active: 1 }), rows = await measured(router), asked = await Effect.runPromise(Effect.forEach([0, 1], (layer) => mixture(router).weights.read(`layers.${layer}.router.table`)))
    const best = (layer: number, position: number) => [0, 1, 2].reduce((most, expert) => asked[layer]![expert * 16 + position]! > asked[layer]![most * 16 + position]! ? expert : most, 0)
    for (const { chosen, domain, position, tokens, weight } of rows) {
      const share = [0, 1].filter((layer) => best(layer, position) === (domain === "law" ? 0 : 1)).length / 2
      expect([weight / tokens, chosen / tokens]).toEqual([share, share])
    }
    expect(new Set(rows.map(({ chosen, tokens }) => chosen / tokens)).size).toBeGreaterThan(1)
  })
  test("a domain without an expert is refused by name", async () => {
    await expect(measured(Router.fixed([1]), { law: 0 })).rejects.toThrow(/no expert is known for "code"/)
  })
})
