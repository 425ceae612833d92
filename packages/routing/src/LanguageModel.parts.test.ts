/** Tensors larger than a device's largest buffer lie in parts, and nothing else changes: logits, losses, gradients, a training step, what is read back. */
import { Model, Random, Weights } from "@switchyard/core"
import { AdamW, Device, Gradient, Op, plainDevice, Recording, type Storage, Tensor } from "@switchyard/gpu"
import { describe, expect, jest, test } from "@jest/globals"
import { Context, Effect, Layer, type Scope } from "effect"
import * as LanguageModel from "./LanguageModel.ts"
import * as Router from "./Router.ts"

jest.setTimeout(90_000) // the software device compiles kernels on the processor

const size = { batch: 2, tokens: 9 }, rows = size.batch * size.tokens, router = Router.topK({ active: 2 })
const base: Model.Model = {
  family: "switchyard", vocabulary: 101, hidden: 20, layers: 2, heads: 2, keyValueHeads: 1, headSize: 10, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: false,
  feedForward: { kind: "dense", inner: 40 }, extra: {}
}
const mixture: Model.Model =
  { ...base, tiedEmbeddings: true, feedForward: { kind: "mixture", inner: 24, experts: 4, active: 2, expert: { kind: "full" }, router, routerTensors: Router.tensors(router, { experts: 4, hidden: 20 }) } }
const cases = {
  // embedding and head of 8,080 bytes in three parts, logits in three, gate and up of 3,200 in two
  dense: { model: base, largestBuffer: 3000, inParts: ["embedding", "head", "layers.0.feedForward.gate", "layers.0.feedForward.up", "layers.0.feedForward.down", "layers.1.feedForward.gate", "layers.1.feedForward.up", "layers.1.feedForward.down"] },
  // stacks of 7,680 in two parts of two experts each
  mixture: { model: mixture, largestBuffer: 4000, inParts: ["embedding", "layers.0.experts.gate", "layers.0.experts.up", "layers.0.experts.down", "layers.1.experts.gate", "layers.1.experts.up", "layers.1.experts.down"] }
} as const
const weightsOf = (model: Model.Model) => Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) =>
  [name, { shape, data: Random.fillNormal(Random.make(9, name), new Float32Array(Tensor.size(shape)), name.endsWith("norm") ? { mean: 1, deviation: 0.1 } : { deviation: 0.3 }) }])))

/** One training step of every parameter: logits, losses, gradients, updated weights, by name. `parts`: names of what lies in parts. */
const step = (device: Device.Service, model: Model.Model, options: { readonly largestBuffer?: number; readonly storage?: Storage.Storage } = {}) => Effect.scoped(Effect.gen(function*() {
  const self = yield* LanguageModel.make(model, { ...size, ...options }).pipe(Effect.provideService(Device.Device, device)), arena = yield* device.arena
  yield* LanguageModel.load(arena, self, weightsOf(model))
  const ids = Tensor.kept([rows], { dtype: "u32" }), targets = Tensor.kept([rows], { dtype: "u32" })
  const text = Uint32Array.from({ length: rows }, (_, row) => Random.below(Random.make(1, "ids"), row, model.vocabulary))
  yield* arena.upload(ids, text)
  yield* arena.upload(targets, text.map((id, row) => row === 4 ? Op.noTarget : (id * 5 + 1) % model.vocabulary))
  const names = [...self.parameters].filter(([, { dtype }]) => dtype === "f32").map(([name]) => name), trained = names.map((name) => self.parameters.get(name)!), optimizer = AdamW.make(trained, { clip: 1 })
  yield* arena.upload(optimizer.hyper, AdamW.hyper({ learningRate: 1e-3, epsilon: 1e-3 }, 1))
  const program = Recording.record(() => {
    const { logits, losses } = LanguageModel.lossOf(self, ids, targets), gradients = Gradient.of(Op.sumAll(losses, 1 / rows), trained)
    const kept = { logits: Op.keep(logits, "logits"), losses: Op.keep(losses, "losses"), gradients: gradients.map((gradient, at) => Op.keep(gradient, `gradient of ${names[at]}`)) }
    AdamW.update(optimizer, gradients)
    return kept
  })
  yield* arena.submit(program)
  const { gradients, logits, losses } = program.outputs, found = new Map<string, ArrayLike<number>>()
  for (const tensor of [logits, losses, ...gradients, ...trained]) found.set(tensor.slot.label, yield* arena.read(tensor))
  const read = yield* LanguageModel.read(arena, self, [...self.parameters.keys()])
  for (const name of read.infos.keys()) found.set(`read ${name}`, yield* read.read(name))
  yield* arena.free([...self.parameters.values(), ...optimizer.first, ...optimizer.second])
  return { found, parts: [...self.parameters].filter(([, { parts }]) => parts !== undefined).map(([name]) => name), logitsInParts: logits.parts?.length }
}))
const open = (layer: Layer.Layer<Device.Device, Device.Failure>): Effect.Effect<Device.Service, Device.Failure, Scope.Scope> => Effect.map(Layer.build(layer), (context) => Context.get(context, Device.Device))
const apart = (a: ReadonlyMap<string, ArrayLike<number>>, b: ReadonlyMap<string, ArrayLike<number>>) => {
  expect([...a.keys()]).toEqual([...b.keys()])
  return Math.max(...[...a].map(([name, values]) => {
    expect([name, values.length]).toEqual([name, b.get(name)!.length])
    return Array.from(values).reduce((worst, value, i) => Math.max(worst, Math.abs(value - b.get(name)![i]!)), 0)
  }))
}

describe.each([
  ["plain, f64", () => Layer.succeed(Device.Device, Device.Device.of(plainDevice({ precision: "f64" }))), 1e-12],
  ["host", (largestBuffer: number) => Device.host({ workers: 0, largestBuffer }), 2e-5],
  ["software, which refuses larger buffers", (largestBuffer: number) => Device.software({ largestBuffer }), 2e-5]
] as const)("on %s", (place, layer, tolerance) => {
  test.each(Object.entries(cases).filter(([name]) => !place.startsWith("software") || name === "mixture"))("%s: a training step is that of the whole tensors", async (_name, { inParts, largestBuffer, model }) => {
    const whole = await Effect.runPromise(step(plainDevice({ precision: "f64" }), model))
    const split = await Effect.runPromise(Effect.scoped(Effect.flatMap(open(layer(largestBuffer)), (device) => step(device, model, place.startsWith("plain") ? { largestBuffer } : {}))))
    expect([whole.parts, whole.logitsInParts]).toEqual([[], undefined])
    expect([...split.parts].sort()).toEqual([...inParts].sort())
    expect(split.logitsInParts).toBeGreaterThan(1)
    expect(apart(split.found, whole.found)).toBeLessThan(tolerance)
  })
})

test("stored weights in parts", async () => {
  for (const { largestBuffer, model } of Object.values(cases)) {
    const [whole, split] = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const device = yield* open(Device.host({ workers: 0 }))
      return yield* Effect.all([step(device, model, { storage: "bf16" }), step(device, model, { storage: "bf16", largestBuffer })])
    })))
    expect(split.parts).toContain("embedding")
    expect(apart(split.found, whole.found)).toBeLessThan(2e-5)
  }
})

test("replicas read back what lies in parts and differs between them", async () => {
  const read = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const device = yield* open(Device.host({ workers: 2 })), arena = yield* device.arena, x = Tensor.kept([4, 3], { sharded: true, label: "x" })
    yield* arena.upload(x, Float32Array.from({ length: 24 }, (_, i) => i))
    const program = Recording.record(() => Op.keep(Tensor.joined([Op.sliceRows(x, 0, 3), Op.sliceRows(x, 3, 1)]), "x", { sharded: true }), { replicas: 2 })
    yield* arena.submit(program)
    return yield* arena.read(program.outputs)
  })))
  expect([...read]).toEqual(Array.from({ length: 24 }, (_, i) => i))
})

test("what cannot be split is refused by name: a single row above the limit by the device, another op's operand by the op", async () => {
  const error = await Effect.runPromise(Effect.flip(Effect.scoped(Effect.flatMap(open(Device.software({ largestBuffer: 400 })), (device) => step(device, { ...base, hidden: 160, headSize: 80 })))))
  expect(error.message).toMatch(/make room for tensor embedding\[0…\]: 640 bytes, and one buffer holds at most 400/)
  const weight = Tensor.kept([8, 4], { label: "weight", largest: 64 })
  expect(weight.parts?.map(({ shape }) => shape)).toEqual([[4, 4], [4, 4]])
  expect(() => Recording.record(() => Op.add(weight, weight))).toThrow("add: weight [8, 4] lies in 2 parts")
  expect(() => Op.view(weight, [32])).toThrow("view: weight [8, 4] lies in 2 parts")
})
