import { describe, expect, test } from "@jest/globals"
import { Random } from "@switchyard/core"
import { Device, Gradient, Op, plainDevice, Recording, type Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import { clusters, draw, patches, settings, width, withOnes } from "./clusters.ts"
import { countDispatch, dispatchEntropy } from "./dispatchEntropy.ts"
import { forward, inputs, lossOf, type Network, normalised, parameters, rowsOf } from "./network.ts"
import { type Options, train } from "./train.ts"

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0)
const row = (rows: Float32Array, at: number) => rows.subarray(at * width, (at + 1) * width)
const silent = { progress: () => Effect.void, metric: () => Effect.void, actual: () => Effect.void }
const network = (given: Partial<Network> = {}): Network => ({ form: "mixture", activation: "cubic", gate: "softmax", experts: 3, filters: 2, ...given })
const running = <A, E>(effect: Effect.Effect<A, E, Device.Device>) => Effect.runPromise(Effect.provide(effect, Device.host({ workers: 0 })))

describe("the clusters problem", () => {
  const { centres, features, train: examples } = draw(3, { setting: "S1", examples: 400 })
  test("features and centres are of length one and at right angles", () => {
    const all = [...Array.from({ length: clusters }, (_, k) => row(features, k)), ...Array.from({ length: clusters }, (_, k) => row(centres, k))]
    for (const [i, a] of all.entries()) for (const [j, b] of all.entries()) expect(dot(a, b)).toBeCloseTo(i === j ? 1 : 0, 5)
  })
  test("each example has its own feature signed by the label, its centre, another's feature and noise, in any order", () => {
    const places = new Set<string>()
    let squares = 0
    for (let example = 0; example < 400; example++) {
      const own = examples.clusters[example]!, sign = examples.labels[example] === 1 ? 1 : -1, left = [0, 1, 2, 3]
      const patch = (at: number) => row(examples.patches, example * patches + at)
      const take = (of: (at: number) => boolean) => { const at = left.find(of)!; left.splice(left.indexOf(at), 1); return at }
      const length = (at: number) => Math.sqrt(dot(patch(at), patch(at)))
      const parallel = (at: number, direction: Float32Array) => Math.abs(Math.abs(dot(patch(at), direction)) - length(at)) < 1e-4
      const feature = take((at) => parallel(at, row(features, own)) && Math.sign(dot(patch(at), row(features, own))) === sign)
      const centre = take((at) => parallel(at, row(centres, own)) && dot(patch(at), row(centres, own)) > 0)
      const other = take((at) => Array.from({ length: clusters }, (_, k) => k).some((k) => k !== own && parallel(at, row(features, k))))
      for (const [at, least, most] of [[feature, 0.5, 2], [centre, 1, 2], [other, 0.5, settings.S1.strongest]] as const) {
        expect(length(at)).toBeGreaterThanOrEqual(10 * least - 1e-3)
        expect(length(at)).toBeLessThanOrEqual(10 * most + 1e-3)
      }
      squares += length(left[0]!) ** 2 / 400
      places.add([feature, centre, other].join())
    }
    expect(squares).toBeGreaterThan(85) // the noise patch: width numbers of variance 100 / width
    expect(squares).toBeLessThan(115)
    expect(places.size).toBe(24)
  })
  test("summed rows are the sums of the patches, ones counted", () => {
    const each = withOnes(examples, { summed: false }), summed = withOnes(examples, { summed: true })
    for (const column of [0, 7, width]) expect(summed[5 * (width + 1) + column]).toBeCloseTo([0, 1, 2, 3].reduce((sum, p) => sum + each[(5 * patches + p) * (width + 1) + column]!, 0), 4)
    expect(summed[5 * (width + 1) + width]).toBe(patches)
  })
})

describe("dispatch entropy", () => {
  test("by hand: an expert of one cluster leaves nothing open, one of two halves a bit, averaged by load", () => {
    expect(dispatchEntropy([[30, 0], [0, 50], [0, 0]])).toBe(0)
    expect(dispatchEntropy([[10, 10], [60, 0]])).toBeCloseTo(0.25 * Math.LN2, 12)
    expect(dispatchEntropy([[5, 5, 5, 5]])).toBeCloseTo(Math.log(4), 12)
    expect(countDispatch([0, 2, 2, 0], [1, 0, 0, 0], { experts: 3, clusters: 2 })).toEqual([[1, 1], [0, 0], [2, 0]])
  })
})

/** Values for the network's tensors on few examples, by tensor. */
const values = (kind: Network, given: ReturnType<typeof inputs>, learned: ReturnType<typeof parameters>) => {
  const { train: examples } = draw(1, { setting: "S1", examples: given.examples }), rows = rowsOf(kind), summed = withOnes(examples, { summed: true })
  const normal = (tensor: Tensor.Tensor, deviation: number) => Float64Array.from(Random.fillNormal(Random.make(9, tensor.slot.label), new Float32Array(tensor.slot.length), { deviation }))
  return new Map<Tensor.Tensor, Float64Array | Uint32Array>([
    [given.x, Float64Array.from(rows === 1 ? summed : withOnes(examples, { summed: false }), (x, i) => i % (width + 1) === width ? x : x / 10)],
    [given.sums, Float64Array.from({ length: given.examples * width }, (_, i) => summed[Math.floor(i / width) * (width + 1) + i % width]! / 10)],
    [given.noise, Float64Array.from(Random.fillUniform(Random.make(2, "noise"), new Float32Array(given.noise.slot.length)))],
    [given.owners, Uint32Array.from({ length: given.examples * rows }, (_, at) => Math.floor(at / rows))], [given.labels, examples.labels], [given.shares, new Float64Array(given.examples).fill(1 / given.examples)],
    [given.classes, Float64Array.from({ length: given.classes.slot.length }, (_, i) => Math.floor(i % (2 * kind.filters) / kind.filters) === Math.floor(i / (2 * kind.filters * rows)) ? 1 : 0)],
    [learned.filters, normal(learned.filters, 0.3)], ...learned.router === undefined ? [] : [[learned.router, normal(learned.router, 0.3)] as const]
  ])
}
/** The published formulas, an example at a time. */
const naive = (kind: Network, given: ReturnType<typeof inputs>, learned: ReturnType<typeof parameters>, data: ReadonlyMap<Tensor.Tensor, Float64Array | Uint32Array>): number => {
  const { train: examples } = draw(1, { setting: "S1", examples: given.examples }), filters = data.get(learned.filters)!, noise = data.get(given.noise)!
  let loss = 0
  for (let example = 0; example < given.examples; example++) {
    const each = Array.from({ length: patches }, (_, p) => Float64Array.from(row(examples.patches, example * patches + p), (x) => x / 10))
    const scores = Array.from({ length: kind.experts }, (_, m) => learned.router === undefined ? 0 : each.reduce((sum, patch) => sum + dot(patch, data.get(learned.router!)!.slice(m * width, (m + 1) * width)), 0))
    const noised = scores.map((score, m) => score + noise[example * kind.experts + m]!), chosen = learned.router === undefined ? 0 : noised.indexOf(Math.max(...noised))
    const gate = learned.router === undefined ? 1 : kind.gate === "released" ? noised[chosen]! : Math.exp(scores[chosen]!) / scores.reduce((sum, score) => sum + Math.exp(score), 0)
    const output = [0, 1].map((label) => gate * each.reduce((sum, patch) => sum + Array.from({ length: kind.filters }, (_, j) => {
      const at = (chosen * 2 * kind.filters + label * kind.filters + j) * (width + 1), z = dot(patch, filters.slice(at, at + width)) + filters[at + width]!
      return kind.activation === "cubic" ? z ** 3 : z
    }).reduce((a, b) => a + b, 0), 0))
    const softmax = (x: ReadonlyArray<number>) => x.map((one) => Math.exp(one) / x.reduce((sum, other) => sum + Math.exp(other), 0))
    const said = kind.form === "mixture" && kind.gate === "released" ? softmax(output) : output
    loss -= Math.log(softmax(said)[examples.labels[example]!]!) / given.examples
  }
  return loss
}
const kinds = [network(), network({ activation: "linear" }), network({ gate: "released" }), network({ gate: "released", activation: "linear" }), network({ form: "single", experts: 1 }), network({ form: "single", experts: 1, activation: "linear" })]

describe("the recorded networks", () => {
  test.each(kinds)("$form, $activation, $gate gate: the loss is the published formulas', its gradient theirs by central differences", async (kind) => {
    const given = inputs(kind, 5), learned = parameters(kind), data = values(kind, given, learned), wanted = [learned.filters, ...learned.router === undefined ? [] : [learned.router]]
    const program = Recording.record(() => {
      const loss = Op.keep(lossOf(kind, given, forward(kind, given, learned).output), "loss")
      return { loss, gradients: Gradient.of(loss, wanted).map((gradient, at) => Op.keep(gradient, String(at))) }
    })
    const { gradients, loss } = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const arena = yield* plainDevice({ precision: "f64" }).arena
      for (const [tensor, numbers] of data) if (program.slots.has(tensor.slot.id)) yield* arena.upload(tensor, numbers)
      yield* arena.submit(program)
      return { loss: (yield* arena.read(program.outputs.loss))[0]!, gradients: yield* Effect.forEach(program.outputs.gradients, (gradient) => arena.read(gradient)) }
    })))
    expect(loss).toBeCloseTo(naive(kind, given, learned, data), 7) // the patches themselves are f32
    for (const [at, tensor] of wanted.entries()) for (const i of Random.shuffle(Random.make(4, "places"), tensor.slot.length).slice(0, 12)) {
      const moved = (by: number) => naive(kind, given, learned, new Map([...data, [tensor, Float64Array.from(data.get(tensor)!, (x, place) => place === i ? x + by : x)]]))
      expect(gradients[at]![i]).toBeCloseTo((moved(1e-5) - moved(-1e-5)) / 2e-5, 6)
    }
  })
  test("a normalised gradient has, for each expert, norms of weights and biases that add to one; an expert without examples stays", async () => {
    const given = parameters(network()).filters, program = Recording.record(() => Op.keep(normalised(given), "out"))
    const out = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const arena = yield* plainDevice({ precision: "f64" }).arena
      yield* arena.upload(given, Float64Array.from({ length: given.slot.length }, (_, i) => i < 2 * 4 * (width + 1) ? Math.sin(i) : 0))
      yield* arena.submit(program)
      return yield* arena.read(program.outputs)
    })))
    const norms = [0, 1, 2].map((expert) => {
      const own = Array.from(out).slice(expert * 4 * (width + 1), (expert + 1) * 4 * (width + 1)), biases = own.filter((_, i) => i % (width + 1) === width), weights = own.filter((_, i) => i % (width + 1) !== width)
      return Math.sqrt(dot(weights, weights)) + Math.sqrt(dot(biases, biases))
    })
    expect(norms[0]).toBeCloseTo(1, 9)
    expect(norms[1]).toBeCloseTo(1, 9)
    expect(norms[2]).toBe(0)
  })
  test("a gradient whose squares vanish in f32 moves nothing", async () => {
    const given = parameters(network()).filters, program = Recording.record(() => Op.keep(normalised(given), "out"))
    for (const size of [1e-19, 1e-22, 1e-30]) {
      const out = await running(Effect.scoped(Effect.gen(function*() {
        const arena = yield* (yield* Device.Device).arena
        yield* arena.upload(given, new Float32Array(given.slot.length).fill(size))
        yield* arena.submit(program)
        return yield* arena.read(program.outputs)
      })))
      expect(Math.max(...out)).toBeLessThan(0.02)
    }
  })
})

describe("training", () => {
  const options = (given: Partial<Options> = {}): Options => ({ ...network({ experts: 8, filters: 8 }), setting: "S1", seed: 1, examples: 120, steps: 41, ...given })
  test.each([options(), options({ gate: "released", activation: "linear" }), options({ form: "single", experts: 1, filters: 20 })])("$form, $activation, $gate gate: the loss falls, the same numbers each time", async (given) => {
    const once = await running(Effect.scoped(train(given, silent)))
    expect(once.curve.at(-1)!.loss).toBeLessThan(once.curve[0]!.loss)
    expect(once.curve.map(({ step }) => step)).toEqual([0, 10, 20, 30, 40])
    expect(once.steps).toBe(41)
    expect(once.dispatch.flat().reduce((sum, count) => sum + count, 0)).toBe(given.form === "mixture" ? 120 : 0)
    if (given.form === "mixture") expect(once.curve[0]!.entropy).toBeGreaterThan(1.2) // nobody knows anything yet
    expect(await running(Effect.scoped(train(given, silent)))).toEqual(once)
  })
  test("two replicas that share the examples unevenly train as one does", async () => {
    const given = options({ examples: 101, steps: 5 })
    const [one, two] = await Promise.all([0, 2].map((workers) => Effect.runPromise(Effect.provide(Effect.scoped(train(given, silent)), Device.host({ workers })))))
    for (const [at, { loss }] of one!.curve.entries()) expect(two!.curve[at]!.loss).toBeCloseTo(loss, 5)
  })
})
