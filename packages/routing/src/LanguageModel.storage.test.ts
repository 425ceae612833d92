/** Weights stored in fewer bytes: the same logits as computing with what the format holds, on every device; gradients through frozen ones; bytes. */
import { Checkpoint, Model, Random, Weights } from "@switchyard/core"
import { AdamW, Device, Gradient, Op, plainDevice, Recording, Storage, Tensor } from "@switchyard/gpu"
import { describe, expect, jest, test } from "@jest/globals"
import { NodeServices } from "@effect/platform-node"
import { Effect } from "effect"
import { fileURLToPath } from "node:url"
import * as LanguageModel from "./LanguageModel.ts"
import { devices, openDevice } from "./openDevice.ts"
import * as Router from "./Router.ts"

jest.setTimeout(90_000) // the software device compiles kernels on the processor

const size = { batch: 2, tokens: 9 }, rows = size.batch * size.tokens
const router = Router.topK({ active: 2 })
const small: Model.Model = {
  family: "switchyard", vocabulary: 37, hidden: 20, layers: 2, heads: 2, keyValueHeads: 1, headSize: 10, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: false,
  feedForward: { kind: "dense", inner: 28 }, extra: {}
}
const mixture = (expert: Model.Expert): Model.Model =>
  ({ ...small, tiedEmbeddings: true, feedForward: { kind: "mixture", inner: 12, experts: 3, active: 2, expert, router, routerTensors: Router.tensors(router, { experts: 3, hidden: 20 }) } })
const models = { dense: small, full: mixture({ kind: "full" }), lowRank: mixture({ kind: "lowRank", rank: 2, scale: 1.5 }) }
const weightsOf = (model: Model.Model, change: (name: string, data: Float32Array) => Float32Array = (_name: string, data: Float32Array) => data) => Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) => {
  const data = Random.fillNormal(Random.make(9, name), new Float32Array(Tensor.size(shape)), name.endsWith("norm") ? { mean: 1, deviation: 0.1 } : { deviation: 0.3 })
  return [name, { shape, data: change(name, data) }]
})))
const ids = Tensor.kept([rows], { dtype: "u32", label: "ids" }), targets = Tensor.kept([rows], { dtype: "u32", label: "targets" })
const text = (model: Model.Model) => Uint32Array.from({ length: rows }, (_, row) => Random.below(Random.make(1, "ids"), row, model.vocabulary))

/** Logits, and the bytes of everything that is kept: as the arena has them, as the plan says. */
const logitsOf = (device: Device.Service, model: Model.Model, weights: Weights.Weights, storage?: Storage.Storage) => Effect.scoped(Effect.gen(function*() {
  const self = yield* LanguageModel.make(model, { ...size, storage }), arena = yield* device.arena
  yield* LanguageModel.load(arena, self, weights)
  yield* arena.upload(ids, text(model))
  const program = Recording.record(() => Op.keep(LanguageModel.forward(self, ids).logits, "logits"), { replicas: device.replicas })
  yield* arena.submit(program)
  return { logits: Float32Array.from(yield* arena.read(program.outputs)), peak: (yield* arena.stats).peakBytes, planned: (yield* Device.planned(program).pipe(Effect.provideService(Device.Device, device))).deviceBytes, self }
}))
const weights = new Map(Object.values(models).map((model) => [model, weightsOf(model)]))
const known = new Map<string, Promise<Float32Array>>()
/** Logits in f64 of the numbers that the format holds. A stack is encoded as a whole: its blocks may reach from one expert into the next. */
const dequantised = (name: string, model: Model.Model, storage: Storage.Storage): Promise<Float32Array> => {
  const key = `${name} ${storage}`
  const found = known.get(key) ?? Effect.runPromise(Effect.gen(function*() {
    const self = yield* LanguageModel.make(model, { ...size, storage }), stored = new Map<string, Float32Array>()
    for (const { name, parts } of self.entries.values()) {
      const whole = Float32Array.from((yield* Effect.forEach(parts, (part) => weights.get(model)!.read(part))).flatMap((part) => [...part]))
      const { dtype } = self.parameters.get(name)!, held = Storage.isStorage(dtype) ? Storage.decode(dtype, Storage.encode(dtype, whole), whole.length) : whole
      parts.forEach((part, at) => stored.set(part, held.slice(at * held.length / parts.length, (at + 1) * held.length / parts.length)))
    }
    return (yield* logitsOf(plainDevice({ precision: "f64" }), model, weightsOf(model, (name) => stored.get(name)!))).logits
  }))
  known.set(key, found)
  return found
}
const apart = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  expect(a.length).toBe(b.length)
  return Array.from(a).reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0)
}

describe.each(devices.slice(1))("on $name", ({ layer, name: place }) => {
  // the software device is slow, and the kernels' own cases run every format on it
  const cases = Object.entries(models).flatMap(([name, model]) => Storage.storages.map((storage) => [storage, name, model] as const)).filter(([storage, name]) => place !== "software" || storage === "q8" && name === "full")
  test.each(cases)("%s, %s: stored weights compute what their f32 values compute", async (storage, name, model) => {
    const { close, device } = await openDevice(layer())
    try {
      const { logits } = await Effect.runPromise(logitsOf(device, model, weights.get(model)!, storage))
      expect(apart(logits, await dequantised(name, model, storage))).toBeLessThan(2e-4)
    } finally { await close() }
  })
  test("the seed model, whose file is bf16: bf16 storage changes no logit beyond rounding, and takes half the bytes", async () => {
    const { close, device } = await openDevice(layer())
    try {
      const seed = await Effect.runPromise(Checkpoint.open(fileURLToPath(new URL("../../../models/seed", import.meta.url))).pipe(Effect.provide(NodeServices.layer)))
      const [exact, stored] = await Effect.runPromise(Effect.all([logitsOf(device, seed.model, seed.weights), logitsOf(device, seed.model, seed.weights, "bf16")]))
      expect(apart(exact.logits, stored.logits)).toBeLessThan(place.startsWith("plain") ? 1e-7 : 2e-5)
      const matrices = Model.parameters(seed.model) - [...stored.self.parameters.values()].filter(({ dtype }) => dtype === "f32").reduce((sum, { shape }) => sum + Tensor.size(shape), 0)
      const buffers = place === "host" ? 2 ** 21 : 0 // where the host widens
      expect(exact.peak - stored.peak).toBeGreaterThanOrEqual(2 * matrices - buffers)
      expect(Math.abs(stored.planned / stored.peak - 1)).toBeLessThan(0.02)
    } finally { await close() }
  })
})

test("an adapter learns through stored weights what it learns through f32 ones", async () => {
  const exact = weightsOf(small, (_name, data) => Storage.decode("bf16", Storage.encode("bf16", data), data.length))
  const gradients = (device: Device.Service, storage?: Storage.Storage) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const self = yield* LanguageModel.make(small, { ...size, storage, trained: "adapter", adapter: { rank: 2, scale: 2 } }), arena = yield* device.arena
    yield* LanguageModel.load(arena, self, exact)
    const names = LanguageModel.select(self, "adapter"), trained = names.map((name) => self.parameters.get(name)!)
    for (const [at, tensor] of trained.entries()) yield* arena.upload(tensor, Random.fillNormal(Random.make(4, names[at]!), new Float32Array(tensor.slot.length), { deviation: 0.2 }))
    yield* arena.upload(ids, text(small))
    yield* arena.upload(targets, text(small).map((id) => (id * 5 + 1) % small.vocabulary))
    const program = Recording.record(() => Gradient.of(Op.sumAll(LanguageModel.lossOf(self, ids, targets).losses, 1 / rows), trained).map((gradient, at) => Op.keep(gradient, names[at]!)))
    yield* arena.submit(program)
    return [...self.parameters.values()].some(({ dtype }) => dtype === "bf16") === (storage !== undefined) ? (yield* Effect.forEach(program.outputs, (gradient) => arena.read(gradient))).flatMap((part) => [...part]) : []
  })))
  const expected = await gradients(plainDevice({ precision: "f64" }))
  expect(Math.max(...expected.map(Math.abs))).toBeGreaterThan(1e-3)
  for (const { layer } of devices.slice(1)) {
    const { close, device } = await openDevice(layer())
    try { expect(apart(await gradients(device, "bf16"), expected)).toBeLessThan(1e-5) } finally { await close() }
  }
})

test("what is stored is not trained, and an op that cannot widen says so", async () => {
  const self = await Effect.runPromise(LanguageModel.make(small, { ...size, storage: "q8" }))
  const stored = self.parameters.get("layers.0.attention.query")!
  expect(() => AdamW.make([stored])).toThrow("AdamW.make: layers.0.attention.query is q8: what is trained must be f32")
  expect(() => Recording.record(() => Gradient.of(Op.sumAll(LanguageModel.lossOf(self, ids, targets).losses), [stored]))).toThrow("linear: layers.0.attention.query is stored as q8 and has no gradient")
  expect(() => Recording.record(() => Op.add(stored, stored))).toThrow(/add: .*layers\.0\.attention\.query/)
})
