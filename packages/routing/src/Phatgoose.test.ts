import { describe, expect, test } from "@jest/globals"
import { Checkpoint, Corpus, Model, Pipeline, Random, Stage, Store, Table, Tokenizer, Weights } from "@switchyard/core"
import { plain, plainDevice, Op, Recording, Tensor } from "@switchyard/gpu"
import { Cause, Effect, Exit, Layer, Schema } from "effect"
import * as LanguageModel from "./LanguageModel.ts"
import * as Phatgoose from "./Phatgoose.ts"
import * as Router from "./Router.ts"

const hidden = 8, experts = 2, tokens = 12
const lowRank = (scale: number): Model.Expert => ({ kind: "lowRank", rank: 2, scale })
const described = (expert: Model.Expert, router: Router.Router = Router.phatgoose({ active: 1 })) => ({
  family: "llama", vocabulary: 260, hidden, layers: 2, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: tokens, normEpsilon: 1e-5, ropeTheta: 1e4, tiedEmbeddings: true, extra: {},
  feedForward: { kind: "mixture" as const, inner: 6, experts, active: 1, expert, router: router as never, routerTensors: Router.tensors(router, { experts, hidden }) }
}) satisfies Model.Model
const filled = (model: Model.Model, change: (name: string, value: number) => number = (_, value) => value) => Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) =>
  [name, { shape, data: Random.fillNormal(Random.make(2, name), new Float32Array(shape.reduce((a, b) => a * b, 1)), { deviation: 0.5 }).map((value) => change(name, value)) }])))
const ids = Tensor.kept([2 * tokens], { dtype: "u32" }), labels = Tensor.kept([2 * tokens], { dtype: "u32" })
const text = Uint32Array.from({ length: 2 * tokens }, (_, row) => 1 + row * 7 % 250)
/** Logits of two sequences; the first belongs to expert 1, the second to expert 0. */
const logits = (model: Model.Model, weights: Weights.Weights, options: { readonly gated: boolean; readonly router?: Router.Router }) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const self = yield* LanguageModel.make(model, { batch: 2, tokens, ...options.router === undefined ? {} : { router: options.router } }), arena = yield* plainDevice({ precision: "f64" }).arena
  yield* LanguageModel.load(arena, self, weights)
  yield* arena.upload(ids, text)
  yield* arena.upload(labels, text.map((_, row) => row < tokens ? 1 : 0))
  const program = Recording.record(() => Op.keep(LanguageModel.forward(self, ids, options.gated ? { gated: labels } : {}).logits))
  yield* arena.submit(program)
  return [...yield* arena.read(program.outputs)]
})))
const apart = (a: ReadonlyArray<number>, b: ReadonlyArray<number>) => a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0)

describe("gates while they are trained", () => {
  test.each(["lowRank", "full"] as const)("a gate of zero is half open: each sequence is what its expert at half strength makes of it, %s", async (kind) => {
    const model = described(kind === "full" ? { kind } : lowRank(2)), halved = kind === "full" ? model : described(lowRank(1))
    const weights = filled(model, (name, value) => name.endsWith(".gates") ? 0 : value), half = filled(halved, (name, value) => kind === "full" && name.endsWith(".down") ? value / 2 : value)
    const found = await logits(model, weights, { gated: true }), [zero, one] = [await logits(halved, half, { gated: false, router: Router.fixed([0]) }), await logits(halved, half, { gated: false, router: Router.fixed([1]) })]
    const middle = found.length / 2
    expect(apart(found, [...one.slice(0, middle), ...zero.slice(middle)])).toBeLessThan(1e-9)
    expect(apart(zero, one)).toBeGreaterThan(0.01)
  })
})

const born = Stage.make("test/mixture", {
  version: 1, inputs: [], options: Schema.Struct({ router: Router.Router }), output: Checkpoint.Mixture,
  *describe(_none, { router }) { return { header: Checkpoint.headerOf(described(lowRank(2), router), Tokenizer.bytes().hash), cost: {} } },
  *run(_none, { router }, context) {
    const model = described(lowRank(2), router)
    return Checkpoint.make({ model, weights: filled(model), tokenizer: Tokenizer.bytes(), lineage: [{ stage: "test/mixture", key: context.key, inputs: {}, facts: { experts: ["code", "law"] } }] })
  }
})
const corpus = Stage.make("test/text", {
  version: 1, inputs: [], options: Schema.Struct({ domain: Schema.String }), output: Corpus.Artifact,
  *describe(_none, { domain }) { return { header: { domain }, cost: {} } },
  *run(_none, { domain }) { return { kind: "corpus", header: { domain }, domain, documents: [{ id: "1", split: "train", text: domain.repeat(20) }] } }
})
const layer = Layer.mergeAll(Store.temporary, plain())
const fitted = (options: object, router: Router.Router = Router.phatgoose({ active: 1 })) => Pipeline.make("test", () => {
  const fit = Phatgoose.fit(born({ router }), { law: corpus({ domain: "shall " }), code: corpus({ domain: "{x};" }) }, { steps: 12, batch: 4, tokens, learningRate: 0.1, ...options })
  return { mixture: fit, log: fit.log }
})

/** The log, and every tensor afterwards. */
const run = (options: object) => Effect.runPromise(Effect.provide(Effect.gen(function*() {
  const { log, mixture } = yield* Pipeline.run(fitted(options)), after = new Map<string, Float32Array>()
  for (const name of mixture.weights.infos.keys()) after.set(name, (yield* mixture.weights.read(name)).slice())
  return { log, after }
}), layer))

describe("Phatgoose.fit", () => {
  test("the loss falls, the gates have moved, and nothing else has", async () => {
    const { after, log } = await run({}), losses = Table.rows(log).map(({ loss }) => loss)
    expect(Math.min(...losses.slice(-3))).toBeLessThan(losses[0]! - 0.01)
    const before = filled(described(lowRank(2)))
    for (const name of before.infos.keys()) {
      const was = await Effect.runPromise(before.read(name)), is = after.get(name)!
      expect([name, Buffer.compare(Buffer.from(was.slice().buffer), Buffer.from(is.buffer)) === 0]).toEqual([name, !name.endsWith(".gates")])
    }
  })
  test("a gate meets its own expert's text alone: without any it stays where it began", async () => {
    const { after } = await run({ labels: { law: 1, code: 1 } })
    for (const at of [0, 1]) {
      const gates = after.get(`layers.${at}.router.gates`)!
      expect([...gates.subarray(0, hidden)]).toEqual(Array(hidden).fill(0))
      expect(gates.subarray(hidden).some((value) => Math.abs(value) > 0.01)).toBe(true)
    }
  })
  test("a router without gates is refused by the plan", async () => {
    const exit = await Effect.runPromiseExit(Effect.provide(Pipeline.plan(fitted({}, Router.topK({ active: 1 }))), layer))
    expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toMatchObject({ _tag: "TrainingError", option: "router", problem: expect.stringMatching(/by linear, it has no gates/) })
  })
})
