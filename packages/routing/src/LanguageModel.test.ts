import { describe, expect, test } from "@jest/globals"
import { Model, Random, Weights } from "@switchyard/core"
import { type Device, Gradient, Op, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Effect, Exit } from "effect"
import type { Decision } from "./Decision.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as Router from "./Router.ts"

const base: Model.Model = {
  family: "switchyard", vocabulary: 13, hidden: 8, layers: 2, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 64,
  normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, feedForward: { kind: "dense", inner: 10 }, extra: {}
}
const experts = 3, batch = 2, tokens = 6, rows = batch * tokens
const mixture = (router: Router.Router, expert: Model.Expert = { kind: "full" }): Model.Model => ({
  ...base, feedForward: { kind: "mixture", inner: 10, experts, active: Router.active(router, experts), expert, router, routerTensors: Router.tensors(router, { ...base, experts }), ...router.depth?.decide === "once" ? { routerLayers: [router.depth.layer] } : {} }
})
const lowRank = { kind: "lowRank", rank: 2, scale: 1.5 } as const
const numbers = (name: string, shape: ReadonlyArray<number>) => Random.fillNormal(Random.make(9, name), new Float32Array(Tensor.size(shape)), name.endsWith("norm") ? { mean: 1, deviation: 0.1 } : { deviation: 0.5 })
const weightsOf = (model: Model.Model) => Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) => [name, { shape, data: numbers(name, shape) }])))
const text = Uint32Array.from({ length: rows }, (_, row) => Random.below(Random.make(1, "ids"), row, base.vocabulary))

const ids = Tensor.kept([rows], { dtype: "u32", label: "ids" }), targets = Tensor.kept([rows], { dtype: "u32", label: "targets" })
/** Loads a model, runs what is recorded and reads it. */
const run = <K extends string>(model: Model.Model, build: (self: LanguageModel.LanguageModel) => Readonly<Record<K, Tensor.Tensor>>, options: {
  readonly router?: Router.Router; readonly adapter?: LanguageModel.Adapter; readonly weights?: Weights.Weights; readonly ids?: Uint32Array; readonly device?: Device.Service
} = {}) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const { device = plainDevice({ precision: "f64" }), router, adapter } = options
  const self = yield* LanguageModel.make(model, { batch, tokens, ...router === undefined ? {} : { router }, ...adapter === undefined ? {} : { adapter } })
  const arena = yield* device.arena
  yield* LanguageModel.load(arena, self, options.weights ?? weightsOf(model))
  yield* arena.upload(ids, options.ids ?? text)
  yield* arena.upload(targets, text.map((_, row) => row === rows - 1 ? Op.noTarget : text[row + 1]!))
  const program = Recording.record(() => Object.entries<Tensor.Tensor>(build(self)).map(([name, tensor]) => [name, Op.keep(tensor, name)] as const))
  yield* arena.submit(program)
  const read: Record<string, Array<number>> = {}
  for (const [name, tensor] of program.outputs) read[name] = [...yield* arena.read(tensor)]
  return read as Record<K, Array<number>>
})))
const logitsOf = async (model: Model.Model, options: Parameters<typeof run>[2] = {}) => (await run(model, (self) => ({ logits: LanguageModel.forward(self, ids).logits }), options)).logits
const apart = (a: ReadonlyArray<number>, b: ReadonlyArray<number>) => {
  expect(a.length).toBe(b.length)
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0)
}
const failure = async <E>(effect: Effect.Effect<unknown, E>): Promise<E> => {
  const error = Exit.findErrorOption(await Effect.runPromiseExit(effect))
  if (error._tag === "None") throw new Error("it did not fail")
  return error.value
}
/** The dense model that expert e is, its weights written by hand: W + scale · b·a. */
const alone = async (e: number, source: Weights.Weights): Promise<Weights.Weights> => {
  const held: Record<string, Weights.MemoryTensor> = {}
  for (const { name, shape } of Model.tensors(base)) {
    const data = Float32Array.from(await Effect.runPromise(source.read(name))), match = /^(layers\.\d+)\.feedForward\.(gate|up|down)$/.exec(name)
    if (match !== null) {
      const [a, b] = await Promise.all(["a", "b"].map((side) => Effect.runPromise(source.read(`${match[1]}.experts.${e}.${match[2]}.${side}`)))) as [Float32Array, Float32Array]
      const [out, input] = shape as readonly [number, number]
      for (let o = 0; o < out; o++) for (let i = 0; i < input; i++) for (let r = 0; r < lowRank.rank; r++) data[o * input + i]! += lowRank.scale * b[o * lowRank.rank + r]! * a[r * input + i]!
    }
    held[name] = { shape, data }
  }
  return Weights.fromMemory(held)
}

describe("what a model computes", () => {
  test("forced to expert e, low-rank experts on a base are the dense model with that change, for every e", async () => {
    const model = mixture(Router.topK({ active: 2 }), lowRank), weights = weightsOf(model)
    for (let e = 0; e < experts; e++) expect(apart(await logitsOf(model, { router: Router.fixed([e]) }), await logitsOf(base, { weights: await alone(e, weights) }))).toBeLessThan(1e-5)
  })
  test("full experts that are copies of the dense feed-forward give the dense model under any router with weights of sum one", async () => {
    const dense = weightsOf(base), model = mixture(Router.topK({ active: 2 }))
    const names = new Map(Model.tensors(model).flatMap(({ name }) => {
      const match = /^(layers\.\d+)\.experts\.\d+\.(\w+)$/.exec(name)
      return match !== null ? [[name, `${match[1]}.feedForward.${match[2]}`] as const] : name.includes(".router.") ? [] : [[name, name] as const]
    }))
    const weights = Weights.overlay(Weights.select(weightsOf(model), (name) => name.includes(".router.")), Weights.rename(dense, names)), expected = await logitsOf(base)
    for (const router of [undefined, Router.fixed([1]), Router.prefix({ active: 3 })]) expect(apart(await logitsOf(model, { weights, ...router === undefined ? {} : { router } }), expected)).toBeLessThan(1e-12)
  })
  test("an adapter without weights begins as no change; with weights it is the expert of the same low-rank terms", async () => {
    expect(apart(await logitsOf(base, { adapter: lowRank }), await logitsOf(base))).toBe(0)
    const model = mixture(Router.topK({ active: 2 }), lowRank), weights = weightsOf(model)
    const names = new Map(Model.tensors(base).map(({ name }) => [name, name]))
    for (const { name } of Model.tensors(model)) { const match = /^(layers\.\d+)\.experts\.1\.(.+)$/.exec(name); if (match !== null) names.set(`${match[1]}.feedForward.${match[2]}`, name) }
    expect(apart(await logitsOf(base, { adapter: lowRank, weights: Weights.rename(weights, names) }), await logitsOf(model, { router: Router.fixed([1]) }))).toBeLessThan(1e-12)
  })
  test("causality: under every router, later tokens and other sequences change nothing earlier", async () => {
    for (const router of [Router.topK({ active: 2 }), Router.prefix({ active: 1, decay: 0.5 }), Router.prefixMlp({ active: 1, inner: 4, normalize: "whitened" }), Router.ngram({ active: 2, orders: 2, buckets: 31 }), { ...Router.topK({ active: 2 }), unit: { of: "prefix", pool: "evidence", decay: 0.9, temperature: 2 } } as const, Router.hash({ active: 1 }), Router.random({ active: 2 }), Router.phatgoose({ active: 1 }), Router.once(Router.prefixMlp({ active: 2, inner: 4 }), { layer: 1, before: [2] }), Router.prototypes({ active: 2, metric: "whitened" }), Router.likelihood({ decay: 0.9 }), Router.likelihood({ active: 1, trial: 2 })]) {
      const model = mixture(router, lowRank), changed = text.map((id, row) => row >= 3 ? (id + 5) % base.vocabulary : id)
      expect((await logitsOf(model, { ids: changed })).slice(0, 3 * base.vocabulary)).toEqual((await logitsOf(model)).slice(0, 3 * base.vocabulary))
    }
  })
})

describe("deciding once", () => {
  test("layers before are told, those after take over: the dense model that carries the experts they visit", async () => {
    for (const [layer, carried] of [[0, [2, 2]], [1, [1, 2]]] as const) {
      const router = Router.once(Router.prefixMlp({ active: 1, inner: 4 }), { layer, ...layer === 0 ? {} : { before: [1] } }), model = mixture(router)
      // its bias makes the layer that decides ask expert 2, whatever it reads; the other layers have no router at all
      const weights = Weights.overlay(weightsOf(model), Weights.fromMemory({ [`layers.${layer}.router.bias`]: { shape: [experts], data: Float32Array.of(-50, -50, 50) } }))
      expect(Model.tensors(model).filter(({ name }) => name.includes(".router.")).every(({ name }) => name.startsWith(`layers.${layer}.`))).toBe(true)
      const names = new Map(carried.flatMap((expert, at) => ["gate", "up", "down"].map((matrix): readonly [string, string] => [`layers.${at}.feedForward.${matrix}`, `layers.${at}.experts.${expert}.${matrix}`])))
      const dense = Weights.overlay(Weights.select(weights, (name) => !/\.(experts|router)\./.test(name)), Weights.rename(Weights.select(weights, (name) => [...names.values()].includes(name)), names))
      expect(apart(await logitsOf(model, { weights }), await logitsOf(base, { weights: dense }))).toBeLessThan(1e-9)
    }
  })
  test("the decision taken over is the one made, choices and weights; told weights are as told", async () => {
    const found = await run(mixture(Router.once(Router.topK({ active: 2 }), { layer: 0 })), (self) => {
      const [first, second] = LanguageModel.forward(self, ids).decisions as [Decision, Decision]
      expect([first.made, second.made, second.layer]).toEqual([undefined, "carried", 1])
      return { firstWeights: first.weights, secondWeights: second.weights }
    })
    expect(found.secondWeights).toEqual(found.firstWeights)
    const told = await run(mixture(Router.once(Router.topK({ active: 1 }), { layer: 1, before: [2, 0], weights: [0.75, 0.25] })), (self) => ({ experts: LanguageModel.forward(self, ids).decisions[0]!.experts, weights: LanguageModel.forward(self, ids).decisions[0]!.weights }))
    expect([told.experts.slice(0, 4), told.weights.slice(0, 4)]).toEqual([[2, 0, 2, 0], [0.75, 0.25, 0.75, 0.25]])
  })
  test("a layer that is not there, or that has no router tensors, is refused by name", async () => {
    const once = (layer: number) => Router.once(Router.topK({ active: 1 }), { layer, before: [0] }), model = mixture(once(1))
    expect(await failure(LanguageModel.make(model, { batch, tokens, router: once(2) }))).toMatchObject({ at: "the router given.depth.layer", problem: "layer 2 decides, the model has 2 layers" })
    expect(await failure(LanguageModel.make(model, { batch, tokens, router: once(0) }))).toMatchObject({ at: "the router given.depth", problem: expect.stringMatching(/layer 0 decides, only 1 has/) })
    expect((await Effect.runPromise(LanguageModel.make(model, { batch, tokens, router: Router.fixed([1]) }))).router).toEqual(Router.fixed([1]))
  })
  test.each<[string, Router.Router]>([
    ["pools", Router.prefixMlp({ active: 2, inner: 4 })], ["evidence that adds up", { ...Router.prefixMlp({ active: 2, inner: 4 }), unit: { of: "prefix", pool: "evidence", decay: 0.8, temperature: 3, normalize: "rms" } }]
  ])("detached: the same logits, whose gradient stops before what the router read: %s", async (_, router) => {
    const model = mixture(router), expert = "layers.0.experts.gate", own = "layers.1.router.inner.weight"
    const found = await run(model, (self) => {
      const decision = LanguageModel.forward(self, ids).decisions[1]!, detached = LanguageModel.detached(self, decision), gradient = (logits: Tensor.Tensor, name: string) => Gradient.of(Op.sumAll(Op.multiply(logits, logits)), [self.parameters.get(name)!])[0]!
      expect(() => gradient(detached, expert)).toThrow(/does not depend on layers\.0\.experts\.gate/)
      return { logits: decision.logits, detached, wholeExpert: gradient(decision.logits, expert), whole: gradient(decision.logits, own), cut: gradient(detached, own) }
    })
    expect(found.detached).toEqual(found.logits)
    expect(found.wholeExpert.some((value) => Math.abs(value) > 1e-6)).toBe(true)
    expect(apart(found.cut, found.whole)).toBeLessThan(1e-12)
  })
})

describe("likelihood routers", () => {
  const decay = 0.8, temperature = 2, model = mixture(Router.likelihood({ decay, temperature }), lowRank)
  test("logits are what each expert alone made of the text so far, by loops", async () => {
    const found = await run(model, (self) => {
      const { decisions } = LanguageModel.forward(self, ids)
      return { first: decisions[0]!.logits, second: decisions[1]!.logits, weights: decisions[1]!.weights, experts: Op.gatherColumns(decisions[1]!.logits, decisions[1]!.experts) }
    })
    const expected = Array.from({ length: rows * experts }, () => 0)
    for (let e = 0; e < experts; e++) {
      const logits = await logitsOf(model, { router: Router.fixed([e]) })
      for (let sequence = 0; sequence < batch; sequence++) for (let t = 0; t < tokens; t++) for (let s = 1; s <= t; s++) {
        const before = logits.slice((sequence * tokens + s - 1) * base.vocabulary, (sequence * tokens + s) * base.vocabulary)
        const logProbability = before[text[sequence * tokens + s]!]! - Math.log(before.reduce((sum, logit) => sum + Math.exp(logit), 0))
        expected[(sequence * tokens + t) * experts + e]! += decay ** (t - s) * logProbability / temperature
      }
    }
    expect(apart(found.first, expected)).toBeLessThan(1e-9)
    expect(found.second).toEqual(found.first)
    expect(found.weights.slice(0, experts)).toEqual(Array(experts).fill(1 / experts)) // nothing is known at the first token
    const last = Array.from({ length: experts }, (_, rank) => Math.exp(found.experts[(rows - 1) * experts + rank]!)), sum = last.reduce((a, b) => a + b)
    expect(apart(found.weights.slice(-experts), last.map((each) => each / sum))).toBeLessThan(1e-12)
  })
  test.each([1, 4, 9])("with a trial of %i of six tokens: the logits without one, then those of the last tried", async (trial) => {
    const [whole, tried] = await Promise.all([model, mixture(Router.likelihood({ decay, temperature, active: 2, trial }), lowRank)].map((each) => run(each, (self) => {
      const { decisions, logits } = LanguageModel.forward(self, ids)
      return { scores: decisions[1]!.logits, experts: Op.affine(Op.gatherColumns(decisions[1]!.logits, decisions[1]!.experts), { scale: 1 }), logits }
    })))
    for (let row = 0; row < rows; row++) {
      const from = row - row % tokens + Math.min(row % tokens, trial - 1)
      expect(apart(tried!.scores.slice(row * experts, (row + 1) * experts), whole!.scores.slice(from * experts, (from + 1) * experts))).toBeLessThan(1e-12)
      const best = whole!.scores.slice(from * experts, (from + 1) * experts).sort((a, b) => b - a)
      expect(apart(tried!.experts.slice(row * 2, row * 2 + 2), best.slice(0, 2))).toBeLessThan(1e-12)
    }
  })
  test("after the trial no loser is run: rows of all products, and of the experts' own", () => {
    const counted = (router: Router.Router) => {
      const self = Effect.runSync(LanguageModel.make(mixture(router, lowRank), { batch, tokens })), { steps } = Recording.record(() => LanguageModel.forward(self, ids).logits)
      const sum = (kernel: string, at = 0) => steps.filter((step) => step.kernel === kernel && (at === 0 || step.params[0] === 1)).map(({ params }) => params[at]!).reduce((total, each) => total + each, 0)
      return { losses: sum("crossEntropy"), grouped: sum("groupedMatmulNT"), dense: sum("matmulNT", 1) } // rows; of attention's products there are several at once
    }
    const whole = counted(Router.likelihood({ active: 2 })), tried = counted(Router.likelihood({ active: 2, trial: 2 })), none = counted(Router.topK({ active: 2 })), body = counted(Router.fixed([0]))
    expect((tried.dense - body.dense) / (whole.dense - body.dense)).toBeCloseTo(2 / tokens, 12) // products of the experts alone
    expect([whole.losses, tried.losses]).toEqual([experts * batch * tokens, experts * batch * 2])
    expect([whole.grouped, tried.grouped]).toEqual([none.grouped, none.grouped]) // two visits of each row
  })
  test("the election itself trains nothing: gradients are those of fixed weights, and no step of the forced runs is repeated backwards", () => {
    const self = Effect.runSync(LanguageModel.make(model, { batch, tokens }))
    const steps = (wanted: boolean) => Recording.record(() => {
      const loss = Op.sumAll(LanguageModel.lossOf(self, ids, targets).losses)
      if (wanted) Gradient.of(loss, [self.parameters.get("layers.0.experts.gate.a")!])
    }).steps
    const backward = steps(true).slice(steps(false).length)
    expect(backward.filter(({ kernel }) => kernel === "prefixPoolGradient").length).toBe(0)
    expect(backward.filter(({ kernel }) => kernel === "crossEntropyGradient").length).toBe(1)
  })
})

describe("losses", () => {
  test("cross-entropy of each row, by loops; left out rows give zero", async () => {
    const model = mixture(Router.topK({ active: 2 })), { logits, losses } = await run(model, (self) => { const { logits, losses } = LanguageModel.lossOf(self, ids, targets); return { logits, losses } })
    for (let row = 0; row < rows - 1; row++) {
      const of = logits.slice(row * base.vocabulary, (row + 1) * base.vocabulary)
      expect(losses[row]).toBeCloseTo(Math.log(of.reduce((sum, logit) => sum + Math.exp(logit), 0)) - of[text[row + 1]!]!, 10)
    }
    expect(losses[rows - 1]).toBe(0)
  })
  test.each(["full", "lowRank", "once"] as const)("gradients of every parameter by central differences, %s", async (kind) => {
    const router = kind === "once" ? Router.once(Router.prefixMlp({ active: 2, inner: 4, normalize: "rms" }), { layer: 0 }) : Router.topK({ active: 2, weight: "prob" })
    const model = mixture(router, kind === "full" ? { kind } : lowRank), weights = weightsOf(model)
    await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const self = yield* LanguageModel.make(model, { batch, tokens }), arena = yield* plainDevice({ precision: "f64" }).arena
      yield* LanguageModel.load(arena, self, weights)
      yield* arena.upload(ids, text)
      yield* arena.upload(targets, text.map((id) => (id + 3) % base.vocabulary))
      const names = LanguageModel.select(self, "all"), loss = () => Op.sumAll(LanguageModel.lossOf(self, ids, targets).losses)
      const value = Recording.record(() => Op.keep(loss())), gradient = Recording.record(() => Gradient.of(loss(), names.map((name) => self.parameters.get(name)!)).map((each) => Op.keep(each)))
      yield* arena.submit(gradient)
      for (const [at, name] of names.entries()) {
        const tensor = self.parameters.get(name)!, analytic = yield* arena.read(gradient.outputs[at]!), data = Float64Array.from(yield* arena.read(tensor))
        for (const i of Random.shuffle(Random.make(4, name), data.length).slice(0, 2)) {
          const sides: Array<number> = []
          for (const by of [1e-5, -1e-5]) {
            yield* arena.upload(tensor, data.map((each, j) => j === i ? each + by : each))
            yield* arena.submit(value)
            sides.push((yield* arena.read(value.outputs))[0]!)
          }
          yield* arena.upload(tensor, data)
          const numeric = (sides[0]! - sides[1]!) / 2e-5
          expect([name, i, Math.abs(numeric - analytic[i]!) < 1e-6 * Math.max(1, Math.abs(numeric))]).toEqual([name, i, true])
        }
      }
    })))
  })
})

describe("names", () => {
  const load = (model: Model.Model, weights: Weights.Weights) => Effect.scoped(Effect.gen(function*() {
    yield* LanguageModel.load(yield* plainDevice().arena, yield* LanguageModel.make(model, { batch, tokens }), weights)
  }))
  test("what is loaded is what is read: every canonical tensor, bit for bit", async () => {
    for (const model of [base, mixture(Router.topK({ active: 2 })), mixture(Router.prototypes({ active: 1, metric: "whitened" }), lowRank), mixture(Router.once(Router.prefixMlp({ active: 1 }), { layer: 1, before: [0] }))]) {
      const weights = weightsOf(model)
      await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
        const self = yield* LanguageModel.make(model, { batch, tokens }), arena = yield* plainDevice().arena
        yield* LanguageModel.load(arena, self, weights)
        const read = yield* LanguageModel.read(arena, self, [...self.parameters.keys()])
        expect([...read.infos.keys()].sort()).toEqual(Model.tensors(model).map(({ name }) => name).sort())
        for (const { name, shape } of Model.tensors(model)) {
          expect(read.infos.get(name)!.shape).toEqual(shape)
          expect(yield* read.read(name)).toEqual(yield* weights.read(name))
        }
      })))
    }
  })
  test("selectors take what their names say", async () => {
    const self = await Effect.runPromise(LanguageModel.make(mixture(Router.topK({ active: 2 }), lowRank), { batch, tokens }))
    expect(LanguageModel.select(self, "routers")).toEqual(["layers.0.router.weight", "layers.1.router.weight"])
    expect(LanguageModel.select(self, "experts").length).toBe(2 * 6)
    expect(LanguageModel.select(self, "feedForward").length).toBe(2 * 3)
    expect(LanguageModel.select(self, "attention").length).toBe(2 * 4)
    expect(LanguageModel.select(self, "norms").length).toBe(2 * 2 + 1)
    expect(LanguageModel.select(self, ["embeddings", "routers"])).toEqual(["embedding", "layers.0.router.weight", "layers.1.router.weight"])
    expect(new Set(LanguageModel.select(self, ["routers", "experts", "feedForward", "attention", "norms", "embeddings"]))).toEqual(new Set(LanguageModel.select(self, "all")))
    const whitened = await Effect.runPromise(LanguageModel.make(mixture({ ...Router.prefixMlp({ active: 2, normalize: "whitened" }), correction: true }), { batch, tokens }))
    expect(LanguageModel.select(whitened, "routers").filter((name) => name.startsWith("layers.0."))).toEqual(["inner.weight", "inner.bias", "weight", "bias"].map((name) => `layers.0.router.${name}`))
    const adapted = await Effect.runPromise(LanguageModel.make(base, { batch, tokens, adapter: lowRank }))
    expect(LanguageModel.select(adapted, "adapter").slice(0, 2)).toEqual(["layers.0.feedForward.gate.a", "layers.0.feedForward.gate.b"])
  })
  test("missing, unexpected and misshapen tensors are named", async () => {
    const model = mixture(Router.topK({ active: 2 })), weights = weightsOf(model)
    expect(await failure(load(model, Weights.select(weights, (name) => name !== "layers.1.experts.2.up")))).toMatchObject({ _tag: "LanguageModelError", tensor: "layers.1.experts.2.up" })
    const extra = Weights.overlay(weights, Weights.fromMemory({ "layers.0.router.bias": { shape: [experts], data: new Float32Array(experts) } }))
    expect(await failure(load(model, extra))).toMatchObject({ _tag: "LanguageModelError", tensor: "layers.0.router.bias", problem: expect.stringMatching(/no place/) })
    const wrong = Weights.overlay(weights, Weights.fromMemory({ "layers.0.router.weight": { shape: [4, 6], data: new Float32Array(24) } }))
    expect(await failure(load(model, wrong))).toMatchObject({ tensor: "layers.0.router.weight", problem: expect.stringMatching(/\[4, 6\].*\[3, 8\]/) })
  })
  test("routers that the model cannot run are refused when it is made", async () => {
    const model = mixture(Router.topK({ active: 2 }))
    expect(await failure(LanguageModel.make(model, { batch, tokens, router: Router.topK({ active: 4 }) }))).toMatchObject({ _tag: "RouterError", problem: "4 active experts of 3" })
    expect(await failure(LanguageModel.make(model, { batch, tokens, router: Router.prototypes({ active: 1 }) }))).toMatchObject({ _tag: "RouterError", problem: expect.stringMatching(/needs centroids \[3, 8\], the model has none/) })
    expect(await failure(LanguageModel.make({ ...model, feedForward: { ...model.feedForward as Model.Mixture, router: { score: "??" } } }, { batch, tokens }))).toMatchObject({ _tag: "RouterError", at: "the model's router" })
    // one fixed expert reads no score, so it needs no tensors
    expect((await Effect.runPromise(LanguageModel.make(mixture(Router.likelihood()), { batch, tokens, router: Router.fixed([2]) }))).router).toEqual(Router.fixed([2]))
  })
  test("withRouter shares the tensors", async () => {
    const self = await Effect.runPromise(LanguageModel.make(mixture(Router.topK({ active: 2 })), { batch, tokens })), forced = await Effect.runPromise(LanguageModel.withRouter(self, Router.fixed([1])))
    expect(forced.parameters).toBe(self.parameters)
    expect((await failure(LanguageModel.withRouter(self, Router.fixed([3])))).problem).toBe("there is no expert 3 among 3")
  })
})

describe("isolation", () => {
  const limited = Router.limited(Router.topK({ active: 2 }), { perExpert: 1, scope: "batch" }), size = { batch, tokens }
  test("a router whose capacity other sequences fill is refused by the types, and by name where it comes from a file", async () => {
    // @ts-expect-error batch capacity
    expect(await failure(LanguageModel.makeIsolated(mixture(Router.topK({ active: 2 })), { ...size, router: limited }))).toMatchObject({ _tag: "RouterError", at: "the router given.capacity" })
    expect(await failure(LanguageModel.makeIsolated(mixture(limited), size))).toMatchObject({ _tag: "RouterError", at: "the model's router.capacity" })
    expect((await Effect.runPromise(LanguageModel.makeIsolated(mixture(limited), { ...size, router: Router.topK({ active: 2 }) }))).router).toEqual(Router.topK({ active: 2 }))
    expect((await Effect.runPromise(LanguageModel.makeIsolated(base, size))).router).toBeUndefined()
  })
  test("the model's own capacity runs all the same where nobody asks for isolation", async () => {
    expect(apart(await logitsOf(mixture(limited)), await logitsOf(mixture(Router.topK({ active: 2 }))))).toBeGreaterThan(1e-3)
  })
})
