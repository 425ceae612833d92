/** The cache against the whole window run again, on every device; a row alone against the row in a batch; passes over long texts against caches of other sizes. */
import { Model, Random, Weights } from "@switchyard/core"
import { describe, expect, jest, test } from "@jest/globals"
import { Effect, type Scope } from "effect"
import * as Decoder from "./Decoder.ts"
import { type Arena, DeviceError, type Failure, type Service } from "./Device.ts"
import * as Generator from "./Generator.ts"
import { hostDevice } from "./host/host.ts"
import { plainDevice } from "./host/plain.ts"
import type { Program } from "./Recording.ts"
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
const open = Effect.fn("open")(function*(arena: Arena, model: Model.Model, options: { readonly batch: number; readonly cache?: boolean; readonly chunk?: number; readonly replicas?: number; readonly window?: number; readonly split?: number }) {
  const decoder = Decoder.make(model, { split: options.split ?? 1 })
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
/** An arena that computes nothing and keeps what was submitted. */
const watched = (arena: Arena): { readonly arena: Arena; readonly submitted: Array<Program> } => {
  const submitted: Array<Program> = []
  return { submitted, arena: { ...arena, submit: (program) => Effect.sync(() => { submitted.push(program) }) } }
}
const long: Readonly<Record<string, Model.Model>> = Object.fromEntries(Object.entries(models).map(([name, model]) => [name, { ...model, contextLength: 4096 }]))
/** The same calls to a cache of so many places and to a larger one: equal bits. The logits. */
const compared = Effect.fn("compared")(function*(arena: Arena, model: Model.Model, options: { readonly chunk: number; readonly replicas?: number; readonly split?: number; readonly windows: readonly [small: number, large: number] }, calls: ReadonlyArray<ReadonlyArray<Generator.Advance>>) {
  const [small, large] = [yield* open(arena, model, { ...options, batch: 2, window: options.windows[0] }), yield* open(arena, model, { ...options, batch: 2, window: options.windows[1] })]
  return yield* Effect.forEach(calls, (rows) => Effect.gen(function*() {
    const logits = yield* small.advance(rows)
    expect(yield* large.advance(rows)).toEqual(logits)
    return logits
  }))
})
const texts = (lengths: ReadonlyArray<number>, fresh: boolean) => lengths.map((length, row): Generator.Advance => ({ row, ids: text(length + row, length), fresh }))
const wholeText = Effect.fn("wholeText")(function*(model: Model.Model, calls: ReadonlyArray<ReadonlyArray<Generator.Advance>>, window: number) {
  const whole = yield* open(yield* (yield* hostDevice({ workers: 0 })).arena, model, { batch: 1, window, cache: false })
  return yield* Effect.forEach(calls[0]!, ({ row }) => Effect.map(whole.advance([{ row: 0, ids: calls.flatMap((rows) => rows[row]!.ids), fresh: true }]), ([logits]) => logits!))
})
test.each(Object.keys(models).slice(1))("%s: a prompt over 512 tokens in passes of 64: how much the cache could hold changes no bit, and the whole text gives the same", (name) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* (yield* hostDevice({ workers: 0 })).arena, calls = [texts([543, 70], true), texts([1, 1], false), texts([40, 1], false)]
  const got = yield* compared(arena, long[name]!, { chunk: 64, windows: [600, 4096] }, calls), expected = yield* wholeText(long[name]!, calls, 600)
  for (const row of [0, 1]) expect(farthest(got.at(-1)![row]!, expected[row]!)).toBeLessThan(5e-5)
}))))
test("passes of two workers that share the heads, likewise", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const service = yield* hostDevice({ workers: 2 }), arena = yield* service.arena, model = { ...long["a window"]!, layers: 1 }, calls = [texts([100, 70], true)]
  const got = yield* compared(arena, model, { chunk: 64, replicas: 2, split: 2, windows: [120, 300] }, calls), expected = yield* wholeText(model, calls, 120)
  for (const row of [0, 1]) expect(farthest(got[0]![row]!, expected[row]!)).toBeLessThan(5e-5)
}))))
test("passes of the software device, likewise", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const { service } = yield* openSoftware()
  yield* compared(yield* service.arena, long["a window"]!, { chunk: 16, windows: [48, 300] }, [texts([40, 9], true), texts([1, 1], false)])
}))))
test("a pass looks at the places that its texts take up, rounded up, whatever the cache could hold: counted", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const { heads, layers } = plain, chunk = 64
  const counted = yield* Effect.forEach([600, 2048, 4096], (window) => Effect.gen(function*() {
    const { arena, submitted } = watched(yield* plainDevice().arena), generator = yield* open(arena, long["grouped heads"]!, { batch: 2, chunk, window })
    yield* generator.advance(texts([300, 17], true))
    yield* generator.advance([{ row: 0, ids: [1], fresh: false }])
    const scores = submitted.map(({ steps }) => steps.filter(({ kernel }) => kernel.endsWith("Softmax")).map(({ params: [rows, columns] }) => [rows, columns]))
    return { scores, flops: submitted.map(({ flops }) => flops), scratch: submitted.map(({ placement }) => placement.slabs) }
  }))
  const of = (rows: number, columns: number) => Array.from({ length: layers }, () => [rows, columns]), rows = 2 * heads * chunk
  // 64 tokens by themselves; 128, 192 and 256 held after the passes that follow; then 300; a token
  expect(counted[2]!.scores).toEqual([of(rows, chunk), of(rows, 256), of(rows, 256), of(rows, 256), of(rows, 512), of(2 * heads, 512)])
  expect(counted[1]).toEqual(counted[2])
  expect(counted[0]).toEqual(counted[2])
}))))
test("extents: they cover what is held and waste at most 256 places or a quarter, and there are few of them", () => {
  const capacity = 32_768, all = Array.from({ length: capacity }, (_, at) => ({ held: at + 1, extent: Generator.extentOf(at + 1, capacity) }))
  expect(all.filter(({ extent, held }) => extent < held || extent > capacity || extent - held >= Math.max(256, held / 4 + 1))).toEqual([])
  expect(new Set(all.map(({ extent }) => extent)).size).toBeLessThanOrEqual(8 + 4 * 4)
})
test("what failed on the device can be asked for again, and gives what it would have given", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* plainDevice().arena, error = new DeviceError({ device: "plain", doing: "submit", problem: "out of memory", remedy: "" })
  for (const cache of [true, false]) {
    let failing = false
    const wanted = yield* open(arena, plain, { batch: 1, cache }), generator = yield* open({ ...arena, submit: (program) => failing ? Effect.fail(error) : arena.submit(program) }, plain, { batch: 1, cache })
    for (const [ids, fresh] of [[text(1, 7), true], [[5], false], [text(2, 3), false]] as const) {
      const advance = [{ row: 0, ids, fresh }], expected = yield* wanted.advance(advance)
      failing = true
      expect(yield* Effect.flip(generator.advance(advance))).toBe(error)
      failing = false
      expect(yield* generator.advance(advance)).toEqual(expected)
    }
  }
}))))
test("an id that the model does not have is a defect that names it", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* (yield* hostDevice({ workers: 0 })).arena
  for (const cache of [true, false]) {
    const generator = yield* open(arena, plain, { batch: 2, cache })
    for (const id of [plain.vocabulary, -1, 0.5]) {
      const exit = yield* Effect.exit(generator.advance([{ row: 0, ids: [1], fresh: true }, { row: 1, ids: [2, id], fresh: true }]))
      expect(String(exit)).toContain(`id ${id} in row 1 (axis vocabulary): the model has ids from 0 to ${plain.vocabulary - 1}`)
    }
    expect((yield* generator.advance([{ row: 1, ids: [plain.vocabulary - 1], fresh: true }])).length).toBe(1)
  }
}))))
test("more tokens than fit, or a row that is none, is a defect that names it", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* plainDevice().arena, generator = yield* open(arena, plain, { batch: 1 })
  expect(() => Effect.runSync(generator.advance([{ row: 0, ids: text(1, window + 1), fresh: true }]))).toThrow(`would hold ${window + 1} tokens`)
  expect(() => Effect.runSync(generator.advance([{ row: 1, ids: [1], fresh: true }]))).toThrow("axis batch")
}))))
