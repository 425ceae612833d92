/** The decoder's gradients by central differences, its laws, and thirty steps of training on the plain device. */
import { Model, Random, Weights } from "@switchyard/core"
import { describe, expect, test } from "@jest/globals"
import { Effect, type Scope } from "effect"
import * as AdamW from "./AdamW.ts"
import { checkGradient, index, type Input } from "./checkGradient.ts"
import * as Decoder from "./Decoder.ts"
import type { Failure, Service } from "./Device.ts"
import * as Gradient from "./Gradient.ts"
import { hostDevice } from "./host/host.ts"
import { plainDevice } from "./host/plain.ts"
import * as Op from "./Op.ts"
import * as Recording from "./Recording.ts"
import * as Schedule from "./Schedule.ts"
import { kept, type Tensor } from "./Tensor.ts"

const model = (changes: Partial<Model.Model> = {}): Model.Model => ({
  family: "llama", vocabulary: 17, hidden: 16, layers: 2, heads: 4, keyValueHeads: 2, headSize: 4, contextLength: 32, normEpsilon: 1e-5, ropeTheta: 10000, tiedEmbeddings: false,
  feedForward: { kind: "dense", inner: 12 }, extra: {}, ...changes
})
const random = (of: Model.Model, seed = 3): Weights.Weights => Weights.fromMemory(Object.fromEntries(Model.tensors(of).map(({ name, shape }) =>
  [name, { shape, data: Random.fillNormal(Random.make(seed, name), new Float32Array(shape.reduce((a, b) => a * b, 1)), shape.length === 1 ? { mean: 1, deviation: 0.1 } : { deviation: 0.25 }) }])))
const size = { batch: 2, tokens: 5 }, rows = size.batch * size.tokens

/** Logits of ids through random weights of `of`. */
const logitsOf = (of: Model.Model, batches: ReadonlyArray<ReadonlyArray<number>>, options: Partial<Decoder.ForwardOptions> = {}) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* plainDevice().arena, decoder = Decoder.make(of, { sizes: [size] }), ids = kept([rows], { dtype: "u32" })
  yield* Decoder.load(arena, decoder, random(of))
  const program = Recording.record(() => Op.keep(Decoder.forward(decoder, ids, { ...size, ...options })))
  const results: Array<Float32Array> = []
  for (const batch of batches) {
    yield* arena.upload(ids, Uint32Array.from(batch))
    yield* arena.submit(program)
    results.push((yield* arena.read(program.outputs)) as Float32Array)
  }
  return results
})))
const tokens = Array.from(Random.fillUnsigned(Random.make(1, "ids"), new Uint32Array(rows)), (word) => word % 17)

describe("gradients of a whole decoder agree with central differences", () => {
  test.each<readonly [string, Partial<Model.Model>, number | undefined]>([
    ["untied", { tiedEmbeddings: false }, undefined],
    ["tied, window of two", { tiedEmbeddings: true }, 2],
    ["biases, norms of each head, a layer without rotation", { attention: { bias: true, norms: "head", noRope: [1] } }, undefined],
    ["norms over the width, the model's own window", { attention: { norms: "width", window: 2 } }, undefined]
  ])("%s, with low-rank terms", async (_name, change, window) => {
    const of = model(change), decoder = Decoder.make(of, { sizes: [size] }), weights = random(of)
    const ids = index([rows], tokens), { cosines, sines } = decoder.constants.tables
    const angles = (f: (x: number) => number) => Float64Array.from({ length: cosines.slot.length }, (_, i) => f(Math.floor(i / 2) * 10000 ** (-(i % 2) / 2)))
    const inputs: Array<Input> = [ids, { tensor: cosines, data: angles(Math.cos), checked: false }, { tensor: sines, data: angles(Math.sin), checked: false }]
    for (const { tensor } of decoder.constants.positions.values()) inputs.push({ tensor, data: Uint32Array.from(tokens, (_, row) => row % size.tokens), checked: false })
    for (const [name, tensor] of decoder.parameters) inputs.push({ tensor, data: Float64Array.from(await Effect.runPromise(weights.read(name))), checked: true })
    const adapters = new Map<string, { a: Tensor; b: Tensor; scale: number }>()
    for (const name of ["layers.0.attention.query", "layers.1.feedForward.up", "layers.1.feedForward.down"]) {
      const [out, wide] = decoder.parameters.get(name)!.shape as readonly [number, number], adapter = { a: kept([2, wide]), b: kept([out, 2]), scale: 1.7 }
      adapters.set(name, adapter)
      for (const [part, tensor] of [["a", adapter.a], ["b", adapter.b]] as const) inputs.push({ tensor, data: Float64Array.from(Random.fillNormal(Random.make(4, `${name}.${part}`), new Float32Array(tensor.slot.length), { deviation: 0.3 })), checked: true })
    }
    const worst = await checkGradient(inputs, () => Decoder.forward(decoder, ids.tensor, { ...size, window, adapters: (name) => adapters.get(name) }), { samples: 6 })
    expect(worst).toBeLessThan(1e-6)
  })
})

describe("laws", () => {
  test("a later token changes nothing before it, and rows of the batch do not see each other", async () => {
    const changed = tokens.map((id, row) => row === 3 ? (id + 1) % 17 : id)
    const [before, after] = await logitsOf(model(), [tokens, changed])
    for (let row = 0; row < rows; row++) {
      const same = row !== 3 && row !== 4 // row 3 changed; row 4 of the same document comes after it
      expect(before!.slice(row * 17, (row + 1) * 17).every((x, at) => x === after![row * 17 + at])).toBe(same)
    }
  })
  test("an adapter whose b is zero changes nothing; another feed-forward takes the place of the dense one", async () => {
    const a = kept([2, 16]), b = kept([16, 2]) // kept tensors are zero at first
    const [plain] = await logitsOf(model(), [tokens]), [adapted] = await logitsOf(model(), [tokens], { adapters: (name) => name.endsWith("attention.query") ? { a, b, scale: 3 } : undefined })
    expect(adapted).toEqual(plain)
    const seen: Array<number> = []
    const [without] = await logitsOf(model(), [tokens], { feedForward: (x, layer) => { seen.push(layer); return Op.affine(x, { scale: 0 }) } })
    expect(seen).toEqual([0, 1])
    expect(without).not.toEqual(plain)
  })
  test("a size that was not announced, and a mixture without its feed-forward, are defects that say what to do", () => {
    const decoder = Decoder.make(model()), ids = kept([rows], { dtype: "u32" })
    expect(() => Recording.record(() => Decoder.forward(decoder, ids, size))).toThrow(/2×5.*was not announced.*Decoder.prepare/)
    const mixture = model({ feedForward: { kind: "mixture", inner: 12, experts: 2, active: 1, expert: { kind: "full" }, router: {}, routerTensors: { weight: [2, 16] } } })
    expect([...Decoder.make(mixture).parameters.keys()].filter((name) => /experts|router|\.gate/.test(name))).toEqual([])
    expect(() => Recording.record(() => Decoder.forward(Decoder.make(mixture, { sizes: [size] }), ids, size))).toThrow(/mixture needs its feed-forward/)
  })
  test("weights that do not fit are named", async () => {
    const load = (weights: Weights.Weights) => Effect.runPromise(Effect.flip(Effect.scoped(Effect.gen(function*() { yield* Decoder.load(yield* plainDevice().arena, Decoder.make(model()), weights) }))))
    expect((await load(random(model({ tiedEmbeddings: true })))).message).toMatch(/"head"/)
    expect((await load(random(model({ vocabulary: 18 })))).message).toMatch(/"embedding": its shape is \[18, 16\], the model says \[17, 16\]/)
  })
})

/** Losses of training on "each token is followed by the next number", the batch shared out to the device's replicas; and the last weights. */
const train = (device: Effect.Effect<Service, Failure, Scope.Scope>, steps: number) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const service = yield* device, { replicas } = service, share = { batch: size.batch / replicas, tokens: size.tokens }
  const arena = yield* service.arena, decoder = Decoder.make(model(), { sizes: [share] })
  const [ids, targets] = [0, 1].map(() => kept([rows / replicas], { dtype: "u32", sharded: true })) as [Tensor, Tensor]
  yield* Decoder.load(arena, decoder, random(model()))
  const parameters = [...decoder.parameters.values()], state = AdamW.make(parameters, { clip: 1 }), schedule = Schedule.cosine(2e-2, { steps: 30, warmup: 3 })
  const program = Recording.record(() => {
    const loss = Op.sumAll(Op.crossEntropy(Decoder.forward(decoder, ids, share), targets), 1 / (rows / replicas * Recording.replicas()))
    AdamW.update(state, Gradient.of(loss, parameters))
    Recording.sumReplicas([loss])
    return Op.keep(loss)
  }, { replicas })
  const losses: Array<number> = []
  for (let step = 1; step <= steps; step++) {
    const batch = Random.fillUnsigned(Random.make(step, "batch"), new Uint32Array(rows)).map((word) => word % 16)
    yield* arena.upload(ids, batch)
    yield* arena.upload(targets, batch.map((id) => id + 1))
    yield* arena.upload(state.hyper, AdamW.hyper({ learningRate: Schedule.at(schedule, step) }, step))
    yield* arena.submit(program)
    losses.push((yield* arena.read(program.outputs))[0]!)
  }
  return { losses, weights: yield* (yield* Decoder.weights(arena, decoder)).read("layers.1.feedForward.down") }
})))

test("thirty steps of training at least halve the loss", async () => {
  const { losses } = await train(Effect.succeed(plainDevice()), 30)
  expect(losses.slice(-5).reduce((sum, x) => sum + x, 0) / 5).toBeLessThan(losses[0]! / 2)
})
test("two replicas with half of the batch each train like one with all of it", async () => {
  const one = await train(Effect.succeed(plainDevice()), 4), two = await train(hostDevice({ workers: 2 }), 4)
  one.losses.forEach((loss, at) => expect(Math.abs(loss - two.losses[at]!)).toBeLessThan(1e-5))
  one.weights.forEach((weight, at) => expect(Math.abs(weight - two.weights[at]!)).toBeLessThan(1e-4))
})
