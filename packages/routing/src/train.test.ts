import { describe, expect, test } from "@jest/globals"
import { Corpus, Model, Random, Stage, Tokenizer, Weights } from "@switchyard/core"
import { Device, Op, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Schema } from "effect"
import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Balance from "./Balance.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as Router from "./Router.ts"
import { train } from "./train.ts"
import * as Training from "./Training.ts"
import type { Supervise } from "./trainStep.ts"

const dense: Model.Model = {
  family: "llama", vocabulary: 260, hidden: 16, layers: 2, heads: 2, keyValueHeads: 1, headSize: 8, contextLength: 16,
  normEpsilon: 1e-5, ropeTheta: 10000, tiedEmbeddings: true, feedForward: { kind: "dense", inner: 24 }, extra: {}
}
const router = Router.topK({ active: 1, weight: "prob" })
const mixture: Model.Model = { ...dense, feedForward: { kind: "mixture", inner: 24, experts: 2, active: 1, expert: { kind: "full" }, router, routerTensors: { weight: [2, 16] } } }
/** The same with a correction in its router. */
const corrected: Model.Model = { ...mixture, feedForward: { ...mixture.feedForward as Model.Mixture, router: Router.corrected(router), routerTensors: Router.tensors(Router.corrected(router), { experts: 2, hidden: 16 }) } }
const newborn = (model: Model.Model, spread = 0.2) => Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) => {
  const data = new Float32Array(shape.reduce((a, b) => a * b, 1))
  return [name, { shape, data: name.endsWith("norm") ? data.fill(1) : Random.fillNormal(Random.make(3, name), data, { deviation: spread }) }]
})))
const corpus = (domain: string, letters: string): Corpus.Corpus => ({
  kind: "corpus", header: { domain }, domain,
  documents: Array.from({ length: 4 }, (_, at) => ({ id: `${at}`, split: "train", text: Array.from({ length: 60 }, (_, i) => letters[(i + at) % letters.length]).join("") }))
})
const optionsOf = (given: Partial<Training.Options>): Training.Options => Schema.decodeUnknownSync(Training.Options)({ steps: 4, batch: 4, tokens: 12, learningRate: 1e-2, saveEvery: 2, ...given })

/** Saved states in a folder, as the store keeps them: each save in a folder of its own. */
const contextIn = (folder: string, last: string | undefined, seen: Array<string> = [], measured: Array<number | undefined> = []): Pick<Stage.Context, "resume" | "progress" | "metric" | "actual"> => {
  let saves = 0
  return {
    resume: { last, save: (write) => { const to = join(folder, `${last === undefined ? "first" : "second"}-${++saves}`); return Effect.andThen(Effect.promise(() => mkdir(to)), write(to)) } },
    progress: (done) => Effect.sync(() => { seen.push(`${done}`) }),
    metric: () => Effect.void, actual: ({ flops }) => Effect.sync(() => { measured.push(flops) })
  }
}
const latest = async (folder: string): Promise<string | undefined> => {
  const [last] = (await readdir(folder)).sort((a, b) => b.localeCompare(a, "en", { numeric: true }))
  return last === undefined ? undefined : join(folder, last)
}
interface Case { readonly model?: Model.Model; readonly weights?: Weights.Weights; readonly names?: LanguageModel.Selector | ReadonlyArray<LanguageModel.Selector>; readonly adapter?: LanguageModel.Adapter; readonly options?: Partial<Training.Options>; readonly balance?: ReadonlyArray<Balance.Balance>; readonly supervise?: Supervise; readonly device?: Device.Service }
/** Trains and gives the log and every parameter afterwards. */
const running = ({ adapter, balance = [], device = plainDevice(), model = dense, names = "all", options: given = {}, supervise, weights = newborn(model) }: Case, context: Pick<Stage.Context, "resume" | "progress" | "metric" | "actual">) => Effect.scoped(Effect.gen(function*() {
  const options = optionsOf(given), { batch, tokens } = options
  const self = yield* LanguageModel.make(model, { batch: Math.ceil(batch / device.replicas), tokens, ...adapter === undefined ? {} : { adapter } })
  const arena = yield* device.arena
  const batches = yield* Corpus.batches({ a: corpus("a", "abcab"), b: corpus("b", "xyzz ") }, { tokenizer: Tokenizer.bytes(), split: "train", batch, tokens, seed: 1 })
  const log = yield* train(self, LanguageModel.select(self, names), { arena, device, initialize: LanguageModel.load(arena, self, weights, { seed: 5 }), batches, options, aims: { balance, supervise }, context })
  const after = yield* LanguageModel.read(arena, self, [...self.parameters.keys()])
  const values = new Map<string, Float32Array>()
  for (const name of after.infos.keys()) values.set(name, (yield* after.read(name)).slice())
  return { log, values }
}))
const inFolder = async <A>(work: (folder: string) => Promise<A>): Promise<A> => {
  const folder = await mkdtemp(join(tmpdir(), "train-"))
  try { return await work(folder) } finally { await rm(folder, { recursive: true }) }
}
/** Works on a device that is closed afterwards. */
const on = <A>(layer: Layer.Layer<Device.Device, unknown>, work: (device: Device.Service) => Promise<A>): Promise<A> =>
  Effect.runPromise(Effect.provide(Effect.flatMap(Device.Device, (device) => Effect.promise(() => work(device))), layer))
const run = (given: Case) => inFolder((folder) => Effect.runPromise(running(given, contextIn(folder, undefined))))

describe("train", () => {
  test("the loss of the whole model falls, and the log says every step", async () => {
    const { log } = await run({ options: { steps: 25, learningRate: 2e-2 } })
    expect(log.map(({ step }) => step)).toEqual(Array.from({ length: 25 }, (_, at) => at + 1))
    expect(log[0]!.loss).toBeGreaterThan(4)
    expect(log.at(-1)!.loss).toBeLessThan(0.6 * log[0]!.loss)
    expect(log[4]!.tokens).toBe(5 * 4 * 12)
  })

  test("only what was selected changes; the rest keeps its bits", async () => {
    const before = newborn(mixture)
    for (const [names, moves] of [["routers", /\.router\./], ["experts", /\.experts\./], [["routers", "norms"], /\.router\.|norm$/]] as const) {
      const { values } = await run({ model: mixture, names, options: { steps: 2 } })
      for (const [name, data] of values) {
        const same = Buffer.compare(Buffer.from(data.buffer), Buffer.from((await Effect.runPromise(before.read(name))).slice().buffer)) === 0
        expect([name, same]).toEqual([name, !moves.test(name)])
      }
    }
  })

  test("balance and supervision are logged, and both do what they are for", async () => {
    const supervise = { weight: 1, labels: [0, 1] }
    const { log } = await run({ model: mixture, names: "routers", options: { steps: 30, learningRate: 5e-2 }, balance: [Balance.switchLoss({ weight: 0.01 }), Balance.zLoss({ weight: 0.001 })], supervise })
    const column = (name: string) => log.map((row) => (row as unknown as Record<string, number>)[name]!)
    expect(column("balance.supervise")[0]).toBeGreaterThan(0.5)
    expect(column("balance.supervise").at(-1)).toBeLessThan(0.3)
    expect(column("balance.switch").at(-1)).toBeLessThan(1.3)
    expect(column("balance.z").every(Number.isFinite)).toBe(true)
  })

  test("detached supervision leaves the experts to the text's loss, to the bit", async () => {
    const experts = async (supervise?: Supervise) => {
      const { values } = await run({ model: mixture, names: "experts", options: { steps: 1, clip: 0 }, ...supervise === undefined ? {} : { supervise } })
      return [...values].filter(([name]) => name.includes(".experts.")).map(([, data]) => [...data])
    }
    const alone = await experts(), supervise = { weight: 3, labels: [0, 1] }
    expect(await experts({ ...supervise, detach: true })).toEqual(alone)
    expect(await experts(supervise)).not.toEqual(alone)
  })

  test("a generalist is the target at first and gives way to the domain's expert, by loops", async () => {
    const logitsOf = () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const self = yield* LanguageModel.make(mixture, { batch: 4, tokens: 12 }), arena = yield* plainDevice().arena, ids = Tensor.kept([48], { dtype: "u32" })
      const batch = (yield* Corpus.batches({ a: corpus("a", "abcab"), b: corpus("b", "xyzz ") }, { tokenizer: Tokenizer.bytes(), split: "train", batch: 4, tokens: 12, seed: 1 })).at(0)
      yield* LanguageModel.load(arena, self, newborn(mixture))
      yield* arena.upload(ids, batch.ids)
      const program = Recording.record(() => LanguageModel.forward(self, ids).decisions.map(({ logits }) => Op.keep(logits)))
      yield* arena.submit(program)
      return { batch, layers: yield* Effect.forEach(program.outputs, arena.read) }
    })))
    const { batch, layers } = await logitsOf(), supervise = { weight: 1, labels: [1, 0], generalist: { expert: 1, until: 5 } }
    let expected = 0, counted = 0
    for (let row = 0; row < 48; row++) {
      if (batch.targets[row] === Op.noTarget) continue
      counted++
      const domain = supervise.labels[batch.domains[Math.floor(row / 12)]!]!, general = Math.max(0, (5 - row % 12) / 5)
      for (const logits of layers) {
        const two = [logits[row * 2]!, logits[row * 2 + 1]!], normalizer = Math.log(Math.exp(two[0]!) + Math.exp(two[1]!))
        expected += (general * (normalizer - two[1]!) + (1 - general) * (normalizer - two[domain]!)) / layers.length
      }
    }
    for (const detach of [false, true]) {
      const { log } = await run({ model: mixture, names: "routers", options: { steps: 1 }, supervise: { ...supervise, detach } })
      expect((log[0] as unknown as Record<string, number>)["balance.supervise"]).toBeCloseTo(expected / counted, 5)
    }
  })

  test("an adapter begins as no change and only it learns", async () => {
    const adapter = { rank: 2, scale: 2 }
    const { log, values } = await run({ adapter, names: "adapter", options: { steps: 3 } })
    const first = (await run({ options: { steps: 1 } })).log[0]!
    expect(log[0]!.loss).toBeCloseTo(first.loss, 6)
    expect(values.get("layers.1.feedForward.down.b")!.some((value) => value !== 0)).toBe(true)
    expect(values.get("layers.0.feedForward.gate")).toEqual(await Effect.runPromise(newborn(dense).read("layers.0.feedForward.gate")))
  })

  test("with rate 0 a correction keeps its bits, and so does all that is trained; another rate moves it, whatever is trainable, and leaves the step's gradient alone", async () => {
    const balance = (rate: number) => [Balance.zLoss({ weight: 0.01 }), Balance.lossFree({ rate })], options = { steps: 3, batch: 3, tokens: 11 }, given: Case = { model: corrected, names: "experts", options }
    const [held, still, moved] = [await run({ ...given, balance: balance(0).slice(0, 1) }), await run({ ...given, balance: balance(0) }), await run({ ...given, balance: balance(0.25) })]
    const bits = ({ values }: typeof held) => [...values].map(([name, data]) => [name, Buffer.from(data.buffer).toString("hex")])
    const numbers = ({ log }: typeof held, steps: number) => log.slice(0, steps).map(({ gradientNorm, loss, ...row }) => [loss, (row as unknown as Record<string, number>)["balance.z"], gradientNorm])
    expect(bits(still)).toEqual(bits(held))
    expect(numbers(still, 3)).toEqual(numbers(held, 3))
    expect(numbers(moved, 1)).toEqual(numbers(held, 1)) // the step itself was made with the correction as it was
    const name = "layers.0.router.correction", before = still.values.get(name)!, distances = moved.values.get(name)!.map((value, expert) => Math.abs(value - before[expert]!))
    expect([...before]).toEqual([...await Effect.runPromise(newborn(corrected).read(name))])
    for (const distance of distances) expect([0.25, 0.75]).toContain(Math.round(distance * 1e4) / 1e4) // three steps of a quarter, each up or down: of an odd number of rows neither expert has the mean
    expect(moved.values.get("layers.0.router.weight")).toEqual(held.values.get("layers.0.router.weight"))
  })

  test.each<[string, Layer.Layer<Device.Device, unknown>, Case]>([
    ["on the plain device", Device.plain(), {}], ["on the host", Device.host({ workers: 0 }), {}], ["with corrections that move", Device.plain(), { model: corrected, balance: [Balance.lossFree({ rate: 0.1 })] }]
  ])("interrupted between two steps and resumed %s, the run ends in the same bits", (_case, layer, given) => inFolder((folder) => on(layer, async (device) => {
    const options = { steps: 6, saveEvery: 4, warmup: 2 }
    const measured: Array<number | undefined> = []
    const whole = await inFolder((other) => Effect.runPromise(running({ ...given, options, device }, contextIn(other, undefined, [], measured))))
    const seen: Array<string> = [], again: Array<string> = []
    await Effect.runPromise(Effect.gen(function*() {
      const reached = yield* Deferred.make<void>()
      const context = contextIn(folder, undefined, seen)
      const fiber = yield* Effect.forkChild(running({ ...given, options, device }, { ...context, progress: (done, total, unit) => Effect.andThen(context.progress(done, total, unit), done === 3 ? Effect.andThen(Deferred.succeed(reached, undefined), Effect.never) : Effect.void) }))
      yield* Deferred.await(reached)
      yield* Fiber.interrupt(fiber)
    }))
    const resumed = await Effect.runPromise(running({ ...given, options, device }, contextIn(folder, await latest(folder), again, measured)))
    expect([seen, again]).toEqual([["1", "2", "3"], ["4", "5", "6"]])
    expect(measured[1]).toBe(measured[0]) // operations of both processes are counted
    expect(resumed.log.map(({ loss, step }) => [step, loss])).toEqual(whole.log.map(({ loss, step }) => [step, loss]))
    for (const [name, data] of whole.values) expect([name, Buffer.compare(Buffer.from(data.buffer), Buffer.from(resumed.values.get(name)!.buffer))]).toEqual([name, 0])
  })))

  test("loss, balance, corrections and gradient do not depend on how many replicas share the batch, not even when it cannot be shared equally", async () => {
    const given: Case = { model: corrected, options: { steps: 2, batch: 3 }, balance: [Balance.switchLoss({ weight: 0.1 }), Balance.zLoss({ weight: 0.1 }), Balance.lossFree({ rate: 0.01 })] }
    const [one, two] = [await run(given), await on(Device.host({ workers: 2 }), (device) => run({ ...given, device }))]
    for (const at of [0, 1]) for (const column of ["loss", "balance.switch", "balance.z", "balance.load", "gradientNorm"] as const) {
      const value = (log: ReadonlyArray<unknown>) => (log[at] as Readonly<Record<string, number>>)[column]!
      expect([column, Math.abs(value(two.log) / value(one.log) - 1) < 1e-5]).toEqual([column, true])
    }
    for (const layer of [0, 1]) two.values.get(`layers.${layer}.router.correction`)!.forEach((value, expert) => expect(value).toBeCloseTo(one.values.get(`layers.${layer}.router.correction`)![expert]!, 6))
  }, 60_000)

  test("a run that leaves the finite stops with step and layer and keeps the state before", () => inFolder(async (folder) => {
    // a gain so large in layer 1 that its block overflows once training has raised it
    const bad = newborn(dense), data = await Effect.runPromise(bad.read("layers.1.feedForward.down"))
    data.fill(1.5e38)
    const exit = await Effect.runPromiseExit(running({ weights: bad, options: { steps: 6 } }, contextIn(folder, undefined)))
    if (Exit.isSuccess(exit)) throw new Error("it should have failed")
    const error = Cause.squash(exit.cause)
    expect(error).toMatchObject({ _tag: "TrainingDiverged", step: 1, layer: 1 })

    const later = await Effect.runPromiseExit(running({ options: { steps: 9, learningRate: 1e25, clip: 0, schedule: "constant", saveEvery: 100 } }, contextIn(folder, undefined)))
    if (Exit.isSuccess(later)) throw new Error("it should have failed")
    const found = Cause.squash(later.cause) as Training.TrainingDiverged
    expect(found).toBeInstanceOf(Training.TrainingDiverged)
    expect([found.step, found.layer]).toEqual([2, 0])
    expect(found.message).toMatch(/step 2.*layer 0/)
    const kept = await latest(folder) // step 1, done again from the beginning and kept, since nothing had been saved
    expect(JSON.parse(await readFile(join(kept!, "state.json"), "utf8")).step).toBe(1)
    expect((await Effect.runPromise(Weights.fromFile(join(kept!, "state.safetensors")).pipe(Effect.flatMap((state) => state.read("parameter/norm"))))).every(Number.isFinite)).toBe(true)
  }))

  test("the learning rate rises, then falls to its last part", () => {
    const options = optionsOf({ steps: 10, warmup: 2, learningRate: 1, schedule: "cosine", finalRate: 0.1 })
    const rates = Array.from({ length: 10 }, (_, at) => Training.rateAt(options, at + 1))
    expect(rates[0]).toBeCloseTo(0.5)
    expect(rates[1]).toBeCloseTo(1)
    expect(rates[5]).toBeCloseTo(0.55)
    expect(rates[9]).toBeCloseTo(0.1)
  })
})

test("an average that keeps all of what was is no average: betas are below one", () => {
  const options = (given: object) => Schema.decodeUnknownSync(Training.Options)({ steps: 1, ...given })
  expect(options({ beta1: 0, beta2: 0.999 })).toMatchObject({ beta1: 0, beta2: 0.999 })
  for (const given of [{ beta1: 1 }, { beta2: 1 }, { beta1: -0.1 }]) expect(() => options(given)).toThrow(/beta[12]/)
})
