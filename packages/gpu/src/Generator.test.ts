/** The cache against the whole window run again, on every device; a row alone against the row in a batch. */
import { Model, Random, Weights } from "@switchyard/core"
import { describe, expect, jest, test } from "@jest/globals"
import { Effect, type Scope } from "effect"
import * as Decoder from "./Decoder.ts"
import type { Arena, Failure, Service } from "./Device.ts"
import * as Generator from "./Generator.ts"
import { hostDevice } from "./host/host.ts"
import { plainDevice } from "./host/plain.ts"
import { openSoftware } from "./webgpu/software.ts"

jest.setTimeout(60_000) // kernels compile on the processor, and processors are shared

const plain: Model.Model = {
  family: "llama", vocabulary: 67, hidden: 24, layers: 2, heads: 4, keyValueHeads: 2, headSize: 6, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 1000, tiedEmbeddings: true,
  feedForward: { kind: "dense", inner: 40 }, extra: {}
}
const models: Readonly<Record<string, Model.Model>> = {
  "grouped heads": plain,
  "a window": { ...plain, attention: { window: 5 } },
  "biases, norms and a layer without rotation": { ...plain, tiedEmbeddings: false, attention: { bias: true, norms: "head", noRope: [1] } },
  "Gemma's block: a window in one layer, with a theta of its own, caps, second norms": {
    ...plain, attention: { window: 5, global: [1], localTheta: 50, rotated: 4, scale: 0.5, softCap: 2 }, outputNorms: true, shiftedGains: true, embeddingScale: 2, logitCap: 3, activation: { kind: "geluTanh" }
  },
  "DeepSeek's attention: latent, heads of two sizes": {
    ...plain, keyValueHeads: 4, headSize: 10, attention: { rotated: 4, latent: { query: 7, keyValue: 9, value: 5, interleaved: true, epsilon: 1e-6 } },
    ropeScaling: { kind: "yarn", factor: 4, originalContext: 16, fast: 4, slow: 1, whole: true, weight: 0.7, weightAll: 0.5 }
  },
  "gpt-oss's attention: sinks, a bias of the output": { ...plain, attention: { bias: true, outputBias: true, sinks: true, window: 5, global: [1] }, activation: { kind: "clampedSilu", slope: 1.702, limit: 0.5 } }
}
const weightsOf = (model: Model.Model) => Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) =>
  [name, { shape, data: Random.fillNormal(Random.make(3, name), new Float32Array(shape.reduce((a, b) => a * b, 1)), shape.length === 1 ? { mean: 1, deviation: 0.1 } : { deviation: 0.3 }) }])))
const text = (seed: number, length: number) => Array.from(Random.fillUnsigned(Random.make(seed, "text"), new Uint32Array(length)), (word) => word % plain.vocabulary)
const window = 48
const open = Effect.fn("open")(function*(arena: Arena, model: Model.Model, options: { readonly batch: number; readonly cache?: boolean; readonly chunk?: number; readonly replicas?: number }) {
  const decoder = Decoder.make(model)
  yield* Decoder.load(arena, decoder, weightsOf(model))
  return yield* Generator.fromDecoder(arena, decoder, { window, ...options })
})
const farthest = (a: Float32Array, b: Float32Array) => a.reduce((most, value, at) => Math.max(most, Math.abs(value - b[at]!)), 0)
const devices: ReadonlyArray<readonly [string, Effect.Effect<Service, Failure, Scope.Scope>, ReadonlyArray<string>]> = [
  ["plain", Effect.sync(() => plainDevice()), Object.keys(models)],
  ["host", hostDevice({ workers: 0 }), Object.keys(models)],
  ["host, two workers", hostDevice({ workers: 2 }), ["grouped heads"]],
  ["software", Effect.map(openSoftware(), ({ service }) => service), ["a window"]]
]
describe.each(devices)("on the %s device", (_, device, which) => {
  test.each(which)("%s: prompts in one pass or in pieces, then token by token, are what the whole text gives", (name) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const service = yield* device, arena = yield* service.arena, { replicas } = service
    const whole = yield* open(arena, models[name]!, { batch: 1, cache: false, replicas }), cached = yield* open(arena, models[name]!, { batch: 3, chunk: 16, replicas })
    const texts = [text(1, 7), text(2, 25), text(3, 1)], held = texts.map((ids) => ids)
    const check = Effect.fn(function*(rows: ReadonlyArray<Generator.Advance>) {
      const logits = yield* cached.advance(rows)
      for (const [at, { row }] of rows.entries()) {
        const [expected] = yield* whole.advance([{ row: 0, ids: held[row]!, fresh: true }])
        expect(farthest(logits[at]!, expected!)).toBeLessThan(2e-5)
      }
    })
    yield* check(texts.map((ids, row) => ({ row, ids, fresh: true }))) // 25 tokens: a pass of 16 and one of 9
    const next = Effect.fn(function*(rows: ReadonlyArray<readonly [row: number, ids: ReadonlyArray<number>]>) {
      for (const [row, ids] of rows) held[row] = [...held[row]!, ...ids]
      yield* check(rows.map(([row, ids]) => ({ row, ids, fresh: false })))
    })
    yield* next([[0, [5]], [1, [6]], [2, [7]]])
    yield* next([[2, [1]], [0, [2]]]) // row 1 waits
    yield* next([[1, text(4, 11)], [2, [3]]]) // one goes on by several
    held[0] = text(5, 4)
    yield* check([{ row: 0, ids: held[0], fresh: true }, { row: 1, ids: [9], fresh: false }].map((one) => { if (!one.fresh) held[1] = [...held[1]!, 9]; return one })) // one begins anew while another goes on
  }))))
})
test("a row alone and in a batch: the same but for rounding, and the same bits whatever stands beside it", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* (yield* hostDevice({ workers: 0 })).arena, batch = 4, size = 400
  // large enough for the library's products
  const model: Model.Model = { ...plain, hidden: 64, heads: 4, headSize: 16, vocabulary: size, feedForward: { kind: "dense", inner: 640 } }
  const alone = yield* open(arena, model, { batch: 1 }), together = yield* open(arena, model, { batch })
  const texts = Array.from({ length: batch }, (_, row) => text(10 + row, 3 + 5 * row)), given = texts.map((ids, row) => ({ row, ids, fresh: true }))
  const prompts = yield* together.advance(given), steps = yield* together.advance(given.map(({ row }) => ({ row, ids: [row + 20], fresh: false })))
  for (const [row, ids] of texts.entries()) {
    const [prompt] = yield* alone.advance([{ row: 0, ids, fresh: true }]), [step] = yield* alone.advance([{ row: 0, ids: [row + 20], fresh: false }])
    for (const [a, b] of [[prompts[row]!, prompt!], [steps[row]!, step!]] as const) {
      expect(farthest(a, b)).toBeLessThan(1e-5 * Math.max(...b.map(Math.abs)))
      expect(a.indexOf(Math.max(...a))).toBe(b.indexOf(Math.max(...b)))
    }
  }
  // the same prompts, other neighbours: bit for bit
  const shuffled = yield* together.advance(given.map(({ fresh, ids, row }) => ({ row: batch - 1 - row, ids, fresh })))
  for (const row of texts.keys()) expect(shuffled[row]).toEqual(prompts[row])
}))))
test("more tokens than fit, or a row that is none, is a defect that names it", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* plainDevice().arena, generator = yield* open(arena, plain, { batch: 1 })
  expect(() => Effect.runSync(generator.advance([{ row: 0, ids: text(1, window + 1), fresh: true }]))).toThrow(`would hold ${window + 1} tokens`)
  expect(() => Effect.runSync(generator.advance([{ row: 1, ids: [1], fresh: true }]))).toThrow("axis batch")
}))))
