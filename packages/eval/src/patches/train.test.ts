import { describe, expect, test } from "@jest/globals"
import { Random } from "@switchyard/core"
import { Device, Gradient, Op, plainDevice, Recording, type Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import { forward, inputs, lossOf, type Network, parameters } from "./network.ts"
import { draw, patterns } from "./samples.ts"
import { climb, needed, written } from "./search.ts"
import { type Options, train } from "./train.ts"

const silent = { progress: () => Effect.void, actual: () => Effect.void }
const network = (given: Partial<Network> = {}): Network => ({ method: "joint", patches: 5, kept: 2, experts: 2, filters: 2, ...given })

describe("samples", () => {
  test("one patch is the class's own, the others are patterns that both classes share; fewer samples are the beginning of more", () => {
    const few = draw(4, "train", { patches: 6, count: 10 }), many = draw(4, "train", { patches: 6, count: 400 })
    expect(many.pattern.subarray(0, 60)).toEqual(few.pattern)
    expect(many.sign.subarray(0, 60)).toEqual(few.sign)
    for (let sample = 0; sample < 400; sample++) {
      const own = [...many.pattern.subarray(sample * 6, sample * 6 + 6)]
      expect(own.map((pattern, at) => pattern < 2 ? at : -1).filter((at) => at >= 0)).toEqual([many.places[sample]])
      expect(own[many.places[sample]!]).toBe(many.labels[sample] === 1 ? 0 : 1)
      expect(many.sign[sample * 6 + many.places[sample]!]).toBe(1)
    }
    expect(many.labels.reduce((sum, label) => sum + label, 0)).toBe(200)
    expect(new Set(many.pattern).size).toBe(patterns) // 2,000 draws of 198
    expect(Math.abs(many.sign.reduce((sum, sign) => sum + sign, 0) - 400)).toBeLessThan(200) // shared patches cancel
    expect(draw(4, "test", { patches: 6, count: 10 }).pattern).not.toEqual(few.pattern)
  })
})

/** The published formulas, a sample at a time: the sum over networks of their mean losses. */
const naive = (kind: Network, networks: number, data: { readonly pattern: ReadonlyArray<number>; readonly sign: ReadonlyArray<number>; readonly labels: ReadonlyArray<number>; readonly filters: Float64Array; readonly router: Float64Array; readonly output: Float64Array }): number => {
  const { experts, filters, kept, method, patches } = kind, wide = experts * filters, samples = data.labels.length / networks
  return data.labels.reduce((loss, label, row) => {
    const net = Math.floor(row / samples), at = (patch: number) => row * patches + patch, all = Array.from({ length: patches }, (_, patch) => patch)
    const response = (patch: number, filter: number) => Math.max(0, data.sign[at(patch)]! * data.filters[data.pattern[at(patch)]! * wide + filter]!)
    const says = (patch: number, expert: number) => Array.from({ length: filters }, (_, r) => data.output[net * wide + expert * filters + r]! * response(patch, expert * filters + r)).reduce((a, b) => a + b, 0)
    const answer = Array.from({ length: experts }, (_, expert) => {
      if (method === "convolution") return all.reduce((sum, patch) => sum + says(patch, expert), 0) / patches
      const scores = all.map((patch) => data.sign[at(patch)]! * data.router[data.pattern[at(patch)]! * experts + expert]!)
      const best = [...all].sort((a, b) => scores[b]! - scores[a]!).slice(0, kept), total = best.reduce((sum, patch) => sum + Math.exp(scores[patch]!), 0)
      return best.reduce((sum, patch) => sum + (method === "joint" ? Math.exp(scores[patch]!) / total : 1) * says(patch, expert), 0) / kept
    }).reduce((a, b) => a + b, 0)
    return loss + Math.log(1 + Math.exp(label === 1 ? -answer : answer)) / samples
  }, 0)
}

describe("the recorded networks", () => {
  test.each(["convolution", "joint", "separate"] as const)("%s: loss and gradients are the published formulas', two networks beside each other", async (method) => {
    const kind = network({ method }), networks = 2, samples = 3, given = inputs(kind.patches, networks, samples), learned = parameters(kind, networks), wide = 4
    const drawn = [0, 1].map((seed) => draw(seed, "train", { patches: 5, count: samples }))
    const normal = (name: string, length: number) => Float64Array.from(Random.fillNormal(Random.make(8, name), new Float32Array(length)))
    const data = {
      pattern: drawn.flatMap(({ pattern }, net) => [...pattern].map((each) => net * patterns + each)), sign: drawn.flatMap(({ sign }) => [...sign]), labels: drawn.flatMap(({ labels }) => [...labels]),
      filters: normal("filters", networks * patterns * wide), router: normal("router", networks * patterns * 2), output: normal("output", networks * wide)
    }
    const wanted: ReadonlyArray<readonly [Tensor.Tensor, "filters" | "router"]> = [[learned.filters, "filters"], ...method === "joint" ? [[learned.router!, "router"] as const] : []]
    const program = Recording.record(() => {
      const loss = Op.keep(lossOf(given, forward(kind, given, learned).answer), "loss")
      return { loss, gradients: Gradient.of(loss, wanted.map(([tensor]) => tensor)).map((gradient, at) => Op.keep(gradient, String(at))) }
    })
    const { gradients, loss } = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const arena = yield* plainDevice({ precision: "f64" }).arena
      yield* arena.upload(given.pattern, Uint32Array.from(data.pattern))
      yield* arena.upload(given.sign, Float64Array.from(data.sign))
      yield* arena.upload(given.labels, Uint32Array.from(data.labels))
      yield* arena.upload(given.shares, new Float64Array(networks * samples).fill(1 / samples))
      yield* arena.upload(learned.filters, data.filters)
      yield* arena.upload(learned.output, method === "convolution" ? data.output : Float64Array.from({ length: learned.output.slot.length }, (_, i) => { // an expert speaks by its own filters alone
        const filter = i % wide, expert = Math.floor(i / wide) % 2, net = Math.floor(i / wide / 2)
        return Math.floor(filter / 2) === expert ? data.output[net * wide + filter]! : 0
      }))
      if (learned.router !== undefined) yield* arena.upload(learned.router, data.router)
      yield* arena.submit(program)
      return { loss: (yield* arena.read(program.outputs.loss))[0]!, gradients: yield* Effect.forEach(program.outputs.gradients, (gradient) => arena.read(gradient)) }
    })))
    expect(loss).toBeCloseTo(naive(kind, networks, data), 9)
    for (const [at, [, name]] of wanted.entries()) {
      const touched = [...gradients[at]!].map((value, i) => value === 0 ? -1 : i).filter((i) => i >= 0)
      expect(touched.length).toBeGreaterThan(4)
      for (const i of [...touched.slice(0, 15), 0, 1]) {
        const moved = (by: number) => naive(kind, networks, { ...data, [name]: data[name].map((x, place) => place === i ? x + by : x) })
        expect(gradients[at]![i]).toBeCloseTo((moved(1e-5) - moved(-1e-5)) / 2e-5, 6)
      }
    }
  })
})

describe("training", () => {
  const options = (given: Partial<Options> = {}): Options => ({ ...network({ experts: 4, filters: 5, patches: 16 }), samples: 24, seed: 2, seeds: 3, epochs: 60, batch: 10, tests: 150, rate: 0.5, deviation: 0.05, ...given })
  const run = (given: Options, workers = 0) => Effect.runPromise(Effect.provide(Effect.scoped(train(given, silent)), Device.host({ workers })))
  test("routers trained first keep the class's patch, and their experts learn what a convolution has not yet", async () => {
    const separate = await run(options({ method: "separate" })), convolution = await run(options({ method: "convolution" }))
    for (const recall of separate.recalls!) expect(recall).toBeGreaterThan(0.9)
    const mean = (values: ReadonlyArray<number>) => values.reduce((a, b) => a + b, 0) / values.length
    expect(mean(separate.accuracies)).toBeGreaterThan(95)
    expect(mean(separate.accuracies)).toBeGreaterThan(mean(convolution.accuracies) + 3)
    expect(convolution.recalls).toBeNull()
  })
  test("a seed's network does not depend on who trains beside it, nor on how many replicas share the seeds", async () => {
    const given = options({ method: "joint", epochs: 10 }), three = await run(given), two = await run(given, 2)
    expect(two).toEqual(three)
    expect((await run({ ...given, seed: 4, seeds: 1 })).accuracies).toEqual(three.accuracies.slice(2))
  })
})

describe("the search", () => {
  const planted = (samples: number) => Math.min(100, 50 + 10 * Math.log2(samples / 10)) // 95 at 10 · 2^4.5
  test("finds a planted number of samples, and stops after two hits", async () => {
    const asked: Array<number> = [], curve = await Effect.runPromise(climb((samples) => Effect.sync(() => { asked.push(samples); return { accuracy: planted(samples), measured: samples } }), { from: 10, most: 5000, target: 95 }))
    expect(asked).toEqual([10, 20, 40, 80, 160, 320, 640])
    expect(needed(curve, 95).samples).toBeCloseTo(10 * 2 ** 4.5, 6)
  })
  test("a hit that does not last does not count; ends are told as ends", () => {
    const curve = (...accuracies: ReadonlyArray<number>) => accuracies.map((accuracy, at) => ({ samples: 10 * 2 ** at, accuracy }))
    expect(needed(curve(96, 90, 95), 95)).toEqual({ samples: 40, at: "between" })
    expect(needed(curve(95, 97), 95)).toEqual({ samples: 10, at: "most" })
    expect(needed(curve(60, 96, 70), 95)).toEqual({ samples: 40, at: "beyond" })
    expect([needed(curve(95), 95), needed(curve(60), 95), needed(curve(90, 100), 95)].map(written)).toEqual(["≤ 10", "> 10", "14"])
  })
})
