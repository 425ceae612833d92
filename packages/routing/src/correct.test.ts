import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals"
import { Random } from "@switchyard/core"
import { Device, Op, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import fc from "fast-check"
import { correct } from "./correct.ts"
import { naiveRoute } from "./naiveRoute.ts"
import { devices, openDevice } from "./openDevice.ts"
import { route } from "./route.ts"
import * as Router from "./Router.ts"

const hidden = 8, experts = 6
const normal = (name: string, length: number, seed = 5, deviation = 1) => Random.fillNormal(Random.make(seed, name), new Float32Array(length), { deviation })
interface Size { readonly batch: number; readonly tokens: number; readonly layers: number; readonly steps: number; readonly rate: number; readonly seed?: number }
interface Batch { readonly x: Float32Array; readonly shares: Float32Array }

/** What step `at` sees: as many states as rows, of which `left` says which do not count. */
const batchOf = ({ batch, seed = 5, tokens }: Size, at: number, left: (row: number) => boolean = () => false): Batch => {
  const shares = Float32Array.from({ length: batch * tokens }, (_, row) => left(row) ? 0 : 1), counted = shares.reduce((a, b) => a + b, 0)
  return { x: normal(`x ${at}`, batch * tokens * hidden, seed), shares: shares.map((share) => share / counted) }
}
/** Each layer's weight [experts, hidden]. */
const weightOf = (layer: number, seed = 5) => normal(`weight ${layer}`, experts * hidden, seed, 0.5)
/** Corrections begin as whole 64ths, which f32 and f64 add alike. */
const born = (layer: number) => Array.from({ length: experts }, (_, expert) => (expert * 7 + layer) % 5 / 64)

/** Step after step on a device: the corrections of all layers after each, and how uneven the load was. */
const onDevice = (device: Device.Service, router: Router.Router, size: Size, batches: ReadonlyArray<Batch>, given: ReadonlyArray<{ readonly weight: Float32Array; readonly correction: ReadonlyArray<number> }>) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const own = size.batch / device.replicas, rows = own * size.tokens, arena = yield* device.arena
  const x = Tensor.kept([rows, hidden], { sharded: true }), shares = Tensor.kept([rows], { sharded: true })
  const layers = given.map(() => ({ weight: Tensor.kept([experts, hidden]), correction: Tensor.kept([experts]) }))
  for (const [at, { correction, weight }] of given.entries()) yield* Effect.andThen(arena.upload(layers[at]!.weight, weight), arena.upload(layers[at]!.correction, Float32Array.from(correction)))
  const program = Recording.record(() => {
    const decided = layers.map((tensors, layer) => ({ decision: route(router, x, { batch: own, tokens: size.tokens, experts, layer, tensors }), correction: tensors.correction }))
    return Op.keep(correct(decided, { router, rate: size.rate, shares }))
  }, { replicas: device.replicas })
  const seen: Array<{ readonly corrections: Array<Array<number>>; readonly busiest: number }> = []
  for (const batch of batches) {
    yield* Effect.andThen(arena.upload(x, batch.x), arena.upload(shares, batch.shares))
    yield* arena.submit(program)
    const corrections = yield* Effect.forEach(layers, ({ correction }) => Effect.map(arena.read(correction), (data) => [...data]))
    seen.push({ corrections, busiest: (yield* arena.read(program.outputs))[0]! })
  }
  return seen
})))

/** The same by loops over rows and experts. */
const byLoops = (router: Router.Router, { batch, rate, tokens }: Size, batches: ReadonlyArray<Batch>, given: ReadonlyArray<{ readonly weight: Float32Array; readonly correction: ReadonlyArray<number> }>) => {
  const layers = given.map(({ correction, weight }) => ({ weight, correction: [...correction] })), fixed = "union" in router.select ? [0] : []
  return batches.map(({ shares, x }) => {
    let busiest = 0
    for (const layer of layers) {
      const visits = Array.from({ length: experts }, () => 0)
      naiveRoute(router, { x, batch, tokens, hidden, experts, tensors: layer }).forEach(({ experts: chosen }, row) => { for (const expert of chosen) if (shares[row]! > 0 && !fixed.includes(expert)) visits[expert]!++ })
      const mean = visits.reduce((sum, each) => sum + each, 0) / (experts - fixed.length)
      for (let expert = 0; expert < experts; expert++) if (!fixed.includes(expert)) layer.correction[expert]! += visits[expert]! < mean - 1e-9 ? rate : visits[expert]! > mean + 1e-9 ? -rate : 0
      busiest += Math.max(...visits) / mean / layers.length
    }
    return { corrections: layers.map(({ correction }) => [...correction]), busiest }
  })
}

const size: Size = { batch: 2, tokens: 18, layers: 2, steps: 10, rate: 1 / 64 }
const left = (row: number) => row % 6 === 3 // thirty rows count: with one of six experts the mean is five, which some loads are exactly
const layers = [0, 1].map((layer) => ({ weight: weightOf(layer), correction: born(layer) }))
const routers: Readonly<Record<string, Router.Router>> = {
  "DeepSeek-V3's": Router.sigmoid({ active: 2, groups: { count: 3, keep: 2, by: "top2sum" }, scale: 2.5 }),
  "Wang et al.'s": Router.sigmoid({ active: 2, weight: "prob" }),
  "Switch with a correction": Router.corrected(Router.topK({ active: 1, weight: "prob" })),
  "a shared expert": Router.corrected(Router.shared({ shared: [0], active: 2 })),
  "a capacity": Router.corrected(Router.limited(Router.topK({ active: 1, weight: "prob" }), { perExpert: 1, scope: "batch" })),
  "by prefix": Router.corrected(Router.prefix({ active: 2 }))
}

jest.setTimeout(60_000) // the software device compiles each kernel when it first meets it
describe.each(devices)("on device $name", ({ layer: open }) => {
  let opened: Awaited<ReturnType<typeof openDevice>> | undefined
  beforeAll(async () => { opened = await openDevice(open()) })
  afterAll(() => opened?.close())
  test.each(Object.entries(routers))("%s: corrections and the busiest expert, step after step, are those of the loops", async (_, router) => {
    const batches = Array.from({ length: size.steps }, (_, at) => batchOf(size, at, left)), expected = byLoops(router, size, batches, layers), found = await onDevice(opened!.device, router, size, batches, layers)
    expect(found.map(({ corrections }) => corrections)).toEqual(expected.map(({ corrections }) => corrections))
    found.forEach(({ busiest }, step) => expect(busiest).toBeCloseTo(expected[step]!.busiest, 5))
    expect(expected.at(-1)!.corrections).not.toEqual(layers.map(({ correction }) => correction))
  })
})

test("loads that equal the mean stay: the loops meet some", () => {
  const batches = Array.from({ length: size.steps }, (_, at) => batchOf(size, at, left)), router = routers["Switch with a correction"]!
  const steps = [layers.map(({ correction }) => [...correction]), ...byLoops(router, size, batches, layers).map(({ corrections }) => corrections)]
  expect(steps.slice(1).some((after, at) => after.some((each, layer) => each.some((value, expert) => value === steps[at]![layer]![expert])))).toBe(true)
})

test("shared by two replicas, corrections and load have the same bits", async () => {
  const batches = Array.from({ length: 6 }, (_, at) => batchOf(size, at, left)), router = routers["Wang et al.'s"]!, odd = { ...size, rate: 1e-3 }
  const on = (workers: number) => Effect.runPromise(Effect.provide(Effect.flatMap(Device.Device, (device) => Effect.promise(() => onDevice(device, router, odd, batches, layers))), Device.host({ workers })))
  expect(await on(2)).toEqual(await on(0))
})

test("law: under a router that does not learn, a skewed load evens out: the busiest expert's falls toward the mean", async () => {
  await fc.assert(fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 30 }), fc.constantFrom(1, 2), async (seed, active) => {
    const many: Size = { batch: 4, tokens: 64, layers: 1, steps: 60, rate: 0.02, seed }, skewed = [{ weight: weightOf(0, seed), correction: [1, 0.5, 0, 0, 0, -0.5] }]
    const ten = Array.from({ length: 10 }, (_, at) => batchOf(many, at)), batches = Array.from({ length: many.steps }, (_, at) => ten[at % 10]!), load = (await onDevice(plainDevice(), Router.sigmoid({ active, weight: "prob" }), many, batches, skewed)).map(({ busiest }) => busiest)
    const late = load.slice(-10).reduce((sum, each) => sum + each / 10, 0)
    expect(load[0]).toBeGreaterThan(0.8 * experts / active) // one expert in nearly every row
    expect(late).toBeLessThan(1.35)
    expect(Math.min(...load)).toBeGreaterThanOrEqual(1)
  }), { numRuns: 8, seed: 4 })
})

test("no layers are a defect; no row that counts moves nothing", async () => {
  expect(() => Recording.record(() => correct([], { router: Router.sigmoid({ active: 1 }), rate: 1, shares: Tensor.kept([1]) }))).toThrow(/layers must not be empty/)
  const nothing = batchOf(size, 0), [after] = await onDevice(plainDevice(), routers["Wang et al.'s"]!, size, [{ ...nothing, shares: nothing.shares.map(() => 0) }], layers)
  expect(after).toEqual({ corrections: layers.map(({ correction }) => correction), busiest: 0 })
})
