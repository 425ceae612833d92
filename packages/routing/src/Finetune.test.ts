import { describe, expect, test } from "@jest/globals"
import { Checkpoint, Corpus, Cost, file, Model, Pipeline, Random, Stage, Store, Table, Weights } from "@switchyard/core"
import { type Device, plain } from "@switchyard/gpu"
import { Cause, Effect, Exit, Layer, Schema } from "effect"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Adapter from "./Adapter.ts"
import * as Balance from "./Balance.ts"
import * as Finetune from "./Finetune.ts"
import * as Newborn from "./Newborn.ts"
import * as Router from "./Router.ts"

const sizes = { hidden: 16, layers: 2, heads: 2, inner: 24, contextLength: 16 }
const letters = { law: "shall be ", code: "{x: y};\n" }
const text = Stage.make("test/text", {
  version: 1, inputs: [], options: Schema.Struct({ domain: Schema.Literals(["law", "code"]) }), output: Corpus.Artifact,
  *describe(_, { domain }) { return { header: { domain }, cost: {} } },
  *run(_, { domain }) {
    const documents = Array.from({ length: 4 }, (_, at): Corpus.Document => ({ id: `${at}`, split: "train", text: letters[domain].repeat(8).slice(at) }))
    return { kind: "corpus", header: { domain }, domain, documents }
  }
})
/** A newborn mixture of two experts, beside the seed's other tensors. */
const mixture = Stage.make("test/mixture", {
  version: 1, inputs: [Stage.one("base", Checkpoint.Dense)], options: Schema.Struct({ router: Router.Router, named: Schema.Boolean.pipe(Stage.byDefault(true)) }), output: Checkpoint.Mixture,
  *describe({ base }, { router }) { return { header: Checkpoint.headerOf(mixed(base.model, router), base.tokenizer), cost: {} } },
  *run({ base }, { named, router }, context) {
    const model = mixed(base.model, router)
    const own = Weights.fromMemory(Object.fromEntries(Model.tensors(model).filter(({ name }) => /experts|router/.test(name)).map(({ name, shape }) =>
      [name, { shape, data: Random.fillNormal(Random.make(1, name), new Float32Array(shape.reduce((a, b) => a * b, 1)), { deviation: 0.2 }) }])))
    return Checkpoint.derive(base, { model, weights: Weights.overlay(Weights.select(base.weights, (name) => !/feedForward\.(gate|up|down)/.test(name)), own), step: { stage: "test/mixture", key: context.key, inputs: {}, facts: named ? { experts: ["law", "code"] } : {} } })
  }
})
const mixed = (model: Model.Model, router: Router.Router) => ({
  ...model, feedForward: { kind: "mixture" as const, inner: 24, experts: 2, active: Router.active(router, 2), expert: { kind: "full" as const }, router: router as never, routerTensors: Router.tensors(router, { experts: 2, hidden: 16 }) }
}) satisfies Model.Model
const texts = () => ({ law: text({ domain: "law" }), code: text({ domain: "code" }) })
const short = { steps: 3, batch: 4, tokens: 12, learningRate: 1e-2 }

const layer = Layer.mergeAll(Store.temporary, plain())
const running = <A, E>(effect: Effect.Effect<A, E, Store.Store | Device.Device>) => Effect.runPromise(Effect.provide(effect, layer))
const failure = async <E>(effect: Effect.Effect<unknown, E, Store.Store | Device.Device>): Promise<unknown> => {
  const exit = await Effect.runPromiseExit(Effect.provide(effect, layer))
  if (Exit.isSuccess(exit)) throw new Error("expected a failure")
  return Cause.squash(exit.cause)
}
const bits = (data: Float32Array) => Buffer.from(data.slice().buffer).toString("hex")

describe("Finetune", () => {
  test("lora gives an adapter of this base and its log; folded, only feed-forwards have changed", async () => {
    await running(Effect.gen(function*() {
      const { adapter, log, seed } = yield* Pipeline.run(Pipeline.make("test", () => {
        const seed = Newborn.dense(sizes), adapter = Finetune.lora(seed, { law: text({ domain: "law" }) }, { rank: 2, ...short, steps: 8, learningRate: 5e-2 })
        return { seed, adapter, log: adapter.log }
    }))
    expect(adapter.header).toMatchObject({ rank: 2, scale: 2, domains: ["law"] })
    expect(adapter.header.base).toMatch(/^[0-9a-f]{32}$/)
    const losses = Table.column(log, "loss")
    expect(losses.length).toBe(8)
    expect(losses[7]).toBeLessThan(losses[0]! - 0.2)
    const folded = Adapter.fold(seed.weights, adapter)
    for (const { name } of Model.tensors(seed.model)) {
      const same = bits(yield* folded.read(name)) === bits(yield* seed.weights.read(name))
      expect([name, same]).toEqual([name, !/feedForward\.(gate|up|down)$/.test(name)])
    }
    }))
  })

  test("train gives the kind it was given, with its lineage; what was not selected keeps its bits", async () => {
    await running(Effect.gen(function*() {
      const { before, routed } = yield* Pipeline.run(Pipeline.make("test", () => {
        const before = mixture(Newborn.dense(sizes), { router: Router.topK({ active: 1, weight: "prob" }) })
        return { before, routed: Finetune.train(before, texts(), { trainable: ["routers"], balance: [Balance.switchLoss({ weight: 0.01 })], supervise: { weight: 0.5 }, ...short }) }
    }))
    expect(routed.header.form satisfies "mixture").toBe("mixture")
    expect(routed.lineage.map(({ stage }) => stage)).toEqual(["newborn/dense", "test/mixture", "finetune/train"])
    expect(routed.lineage.at(-1)!.facts).toMatchObject({ trainable: ["routers"], steps: 3, tokens: 144 })
    for (const { name } of Model.tensors(before.model)) {
      const same = bits(yield* routed.weights.read(name)) === bits(yield* before.weights.read(name))
      expect([name, same]).toEqual([name, !name.includes(".router.")])
    }
    }))
  })

  test("lossFree moves DeepSeek-V3's corrections, which are exported under the name they came by", async () => {
    await running(Effect.gen(function*() {
      const folder = fileURLToPath(new URL("./fixtures/families/deepseek-v3", import.meta.url)), rate = 0.25, steps = 3
      const { log, trained } = yield* Pipeline.run(Pipeline.make("test", () => {
        const trained = Finetune.train(Checkpoint.loadMixture({ at: file(folder) }), texts(), { trainable: "norms", balance: [Balance.lossFree({ rate })], ...short, steps, tokens: 8, learningRate: 0 })
        return { trained, log: trained.log }
      }))
      const out = yield* Effect.promise(() => mkdtemp(join(tmpdir(), "corrected-"))), name = "model.layers.2.mlp.gate.e_score_correction_bias"
      yield* Effect.addFinalizer(() => Effect.promise(() => rm(out, { recursive: true })))
      yield* Checkpoint.write(trained, out)
      const [written, read] = [yield* Weights.fromFile(join(out, "model.safetensors")), yield* Weights.fromFile(join(folder, "model.safetensors"))]
      expect([...written.infos.keys()].sort()).toEqual([...read.infos.keys()].sort())
      for (const each of written.infos.keys()) expect([each, bits(yield* written.read(each)) === bits(yield* read.read(each))]).toEqual([each, !each.endsWith("e_score_correction_bias")])
      const moves = (yield* Effect.all([written.read(name), read.read(name)])).reduce((after, start) => after.map((value, expert) => Math.round((value - start[expert]!) / rate * 1e4) / 1e4))
      expect([...moves].every((move) => Number.isInteger(move) && Math.abs(move) <= steps)).toBe(true)
      yield* Checkpoint.write(trained, out, { dtype: "BF16" }) // a correction's last thousandths do not fit into BF16
      const narrow = yield* Weights.fromFile(join(out, "model.safetensors"))
      expect([...new Set([...narrow.infos].filter(([, { dtype }]) => dtype === "F32").map(([each]) => each.replace(/\d+/, "n")))]).toEqual([name.replace("2", "n")])
      expect(bits(yield* narrow.read(name))).toBe(bits(yield* trained.weights.read("layers.2.router.correction")))
      expect([...Table.column(log, "balance.load")].every((load) => load >= 1 && load <= 8 / 2)).toBe(true)
    }).pipe(Effect.scoped))
  })

  test("the plan foretells operations and device memory within a fifth", async () => {
    const pipeline = Pipeline.make("test", () => {
      const seed = Newborn.dense(sizes), routed = Finetune.train(mixture(seed, { router: Router.topK({ active: 2 }) }), texts(), { trainable: "all", ...short })
      return { adapter: Finetune.lora(seed, texts(), { rank: 2, ...short }), routed }
    })
    await running(Effect.gen(function*() {
        const before = yield* Pipeline.plan(pipeline)
        yield* Pipeline.run(pipeline)
        const after = yield* Pipeline.plan(pipeline, { everything: true })
        for (const stage of ["finetune/lora", "finetune/train"]) {
          const planned = before.find((row) => row.stage === stage)!.cost, actual = after.find((row) => row.stage === stage)!.actual!
          expect(planned.flops).toBeGreaterThan(1e6)
          const differences = Cost.compare(planned, actual)
          expect(differences.map(({ quantity }) => quantity)).toEqual(expect.arrayContaining(["flops", "deviceBytes"]))
          expect(differences.filter(({ flagged }) => flagged)).toEqual([])
          expect(Cost.compare({ ...planned, flops: 2 * planned.flops! }, actual).some(({ flagged, quantity }) => flagged && quantity === "flops")).toBe(true)
        }
    }))
  })

  test("texts named by numbers are supervised as any others: by their names, not by where a record puts them", async () => {
    const rows = (law: string, code: string) => running(Effect.gen(function*() {
      const { log } = yield* Pipeline.run(Pipeline.make("test", () => ({
        log: Finetune.train(mixture(Newborn.dense(sizes), { router: Router.topK({ active: 2 }) }), { [law]: text({ domain: "law" }), [code]: text({ domain: "code" }) }, { trainable: "routers", supervise: { weight: 1, labels: { [law]: 0, [code]: 1 } }, ...short }).log
      })))
      return Table.rows(log).map(({ tokensPerSecond: _, ...row }) => row)
    }))
    expect(await rows("10", "9")).toEqual(await rows("a", "b")) // "10" stands before "9", as "a" before "b"
  })

  test("what cannot be is refused by the plan, naming the option", async () => {
    const seed = Newborn.dense(sizes), top1 = mixture(seed, { router: Router.topK({ active: 1 }) })
    const refused = <O extends Pipeline.Outputs>(outputs: O) => failure(Pipeline.plan(Pipeline.make("test", () => outputs)))
    expect(await refused({ a: Finetune.train(seed, texts(), { trainable: "routers", ...short }) })).toMatchObject({ _tag: "TrainingError", option: "trainable" })
    expect(await refused({ a: Finetune.train(seed, texts(), { trainable: "all", balance: [Balance.zLoss({ weight: 1 })], ...short }) })).toMatchObject({ option: "balance" })
    const twice = Finetune.train(mixture(seed, { router: Router.topK({ active: 2 }) }), texts(), { trainable: "all", balance: [Balance.zLoss({ weight: 1 }), Balance.switchLoss({ weight: 1 }), Balance.zLoss({ weight: 2 })], ...short })
    expect(await refused({ a: twice })).toMatchObject({ option: "balance", problem: "balance.z stands there twice" })
    const uneven = (router: Router.Router, ...more: ReadonlyArray<Balance.Balance>) => refused({ a: Finetune.train(mixture(seed, { router }), texts(), { trainable: "experts", balance: [Balance.lossFree(), ...more], ...short }) })
    expect(await uneven(Router.topK({ active: 1 }))).toMatchObject({ _tag: "TrainingError", option: "balance", problem: expect.stringContaining("this router has none"), remedy: expect.stringContaining("Router.corrected") })
    expect(await uneven(Router.corrected(Router.all()))).toMatchObject({ option: "balance", problem: expect.stringContaining("whatever the router's correction") })
    expect(await uneven(Router.corrected(Router.topK({ active: 1 })), Balance.lossFree({ rate: 1 }))).toMatchObject({ option: "balance", problem: expect.stringContaining("twice") })
    expect(await refused({ a: Finetune.train(seed, texts(), { trainable: "all", balance: [Balance.lossFree()], ...short }) })).toMatchObject({ option: "balance", problem: "a dense model has no router" })
    expect(await refused({ a: Finetune.train(mixture(seed, { router: Router.corrected(Router.topK({ active: 1 })) }), texts(), { trainable: "routers", balance: [Balance.lossFree()], ...short }) })).toMatchObject({ option: "trainable" }) // no loss trains them
    expect(await refused({ a: Finetune.lora(seed, texts(), { ...short, tokens: 17 }) })).toMatchObject({ option: "tokens" })
    expect(await refused({ a: Finetune.train(top1, texts(), { trainable: "routers", ...short }) })).toMatchObject({ option: "trainable" })
    const packed = Stage.make("test/phi3", {
      version: 1, inputs: [Stage.one("base", Checkpoint.Dense)], options: Schema.Struct({}), output: Checkpoint.Dense,
      *describe({ base }) { return { header: { ...base, model: { ...base.model, family: "phi3" } }, cost: {} } }, *run({ base }) { return base }
    })
    expect(await refused({ a: Finetune.lora(packed(seed), texts(), short) })).toMatchObject({ _tag: "TrainingError", option: "seed", problem: expect.stringContaining("phi3 keeps gate and up in one matrix") })
    const unnamed = Finetune.train(mixture(seed, { router: Router.topK({ active: 1 }), named: false }), texts(), { trainable: "routers", supervise: { weight: 1 }, ...short })
    expect(await failure(Pipeline.run(Pipeline.make("test", () => ({ unnamed }))))).toMatchObject({ _tag: "TrainingError", option: "labels" })
  })

  test("the order in which texts are written down does not matter", async () => {
    const seed = Newborn.dense(sizes), { code, law } = texts()
    const values = (given: ReturnType<typeof texts> | { code: typeof code; law: typeof law }) => running(Effect.gen(function*() {
      const { adapter } = yield* Pipeline.run(Pipeline.make("test", () => ({ adapter: Finetune.lora(seed, given, { rank: 2, ...short }) })))
      return bits(yield* adapter.weights.read("layers.0.feedForward.gate.b"))
    }))
    expect(await values({ law, code })).toBe(await values({ code, law }))
  })

  test("a newborn model is seeded, of unit scale, and the same read by rows", async () => {
    const model: Model.Model = { family: "llama", vocabulary: 260, hidden: 64, layers: 2, heads: 2, keyValueHeads: 2, headSize: 32, contextLength: 16, normEpsilon: 1e-5, ropeTheta: 1e4, tiedEmbeddings: true, feedForward: { kind: "dense", inner: 96 }, extra: {} }
    const weights = Newborn.weights(model, 1), read = (name: string, rows?: Weights.Rows) => Effect.runPromise(weights.read(name, rows))
    const deviation = (data: Float32Array) => Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length)
    expect(deviation(await read("layers.0.feedForward.gate")) * 8).toBeCloseTo(1, 1)
    expect(deviation(await read("layers.1.feedForward.down")) * Math.sqrt(96) * 2).toBeCloseTo(1, 1)
    expect(await read("layers.0.attention.norm")).toEqual(new Float32Array(64).fill(1))
    expect(await read("embedding", { from: 3, to: 9 })).toEqual((await read("embedding")).slice(3 * 64, 9 * 64))
    expect(await Effect.runPromise(Newborn.weights(model, 2).read("embedding"))).not.toEqual(await read("embedding"))
  })
})
