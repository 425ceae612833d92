/**
 * Networks of several seeds trained side by side on so many samples of the patches problem, by plain stochastic descent, and what they make of
 * fresh samples.
 *
 * In separate training the routers come first: a pair of filters under a loss that is linear in them, whose gradient is therefore the same at
 * every step, so that one step at the summed rate is all the steps. Half of the experts take the one filter, half the other; both stay fixed.
 */
import { Random, type Stage } from "@switchyard/core"
import { Descent, Device, Gradient, Op, Recording, Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import { forward, inputs, type Inputs, lossOf, type Network, type Parameters, parameters, routerLossOf } from "./network.ts"
import { draw, patterns, type Samples } from "./samples.ts"

export interface Options extends Network { readonly samples: number; /** First of the seeds, and how many. */ readonly seed: number; readonly seeds: number; readonly epochs: number; readonly batch: number; readonly tests: number; readonly rate: number; /** Deviation of the filters' first values. */ readonly deviation: number }
/** Units: per cent of fresh samples; recall a share: of the samples of a class, those whose own patch the class's best expert keeps; null of a convolution. */
export interface Measured { readonly accuracies: ReadonlyArray<number>; readonly recalls: ReadonlyArray<number> | null }
/** Fresh samples of each network in one submission. */
const window = 100
/** Published: the routers' epochs, output weights and first deviations. */
const routers = { epochs: 100, output: 16, deviation: { joint: 1e-4, separate: 0.1 } } as const

interface Setup { readonly given: Inputs; readonly fresh: Inputs; readonly learned: Parameters; readonly step: Recording.Program<void>; readonly answer: Recording.Program<{ readonly answer: Tensor.Tensor; readonly chosen: Tensor.Tensor | undefined }> }
const networksOf = (seeds: number, replicas: number) => Math.ceil(seeds / replicas)

/** One training step and one look at fresh samples, as programs. Networks are shared out over replicas, which have nothing to tell each other. */
export const record = (network: Network, options: Pick<Options, "batch" | "rate" | "seeds" | "tests">, replicas: number): Setup => {
  const networks = networksOf(options.seeds, replicas), given = inputs(network.patches, networks, options.batch), fresh = inputs(network.patches, networks, Math.min(window, options.tests)), learned = parameters(network, networks)
  const trained = network.method === "joint" ? [learned.filters, learned.router!] : [learned.filters]
  const step = Recording.record(() => Descent.update(trained, Gradient.of(lossOf(given, forward(network, given, learned).answer), trained), { rate: options.rate }), { replicas })
  const answer = Recording.record(() => {
    const { answer, chosen } = forward(network, fresh, learned)
    return { answer: Op.keep(answer, "answer", { sharded: true }), chosen: chosen === undefined ? undefined : Op.keep(chosen, "chosen", { sharded: true }) }
  }, { replicas })
  return { given, fresh, learned, step, answer }
}

/** Uploads `chosen[network]` samples of each network; a sample −1 stands in for one that is missing, and counts nothing. */
const feed = (arena: Device.Arena, given: Inputs, patches: number, all: ReadonlyArray<Samples>, chosen: (network: number) => ArrayLike<number>, options: { readonly shares?: (label: number, count: number) => number } = {}) => Effect.gen(function*() {
  const { shares = (_: number, count: number) => 1 / count } = options, { networks, samples } = given, rows = all.length * samples
  const pattern = new Uint32Array(rows * patches), sign = new Float32Array(rows * patches), labels = new Uint32Array(rows), share = new Float32Array(rows)
  all.forEach((from, network) => {
    const mine = chosen(network), below = (network % networks) * patterns
    for (let at = 0; at < samples; at++) {
      const row = network * samples + at, missing = at >= mine.length, sample = missing ? mine[0]! : mine[at]!
      for (let patch = 0; patch < patches; patch++) { pattern[row * patches + patch] = below + from.pattern[sample * patches + patch]!; sign[row * patches + patch] = from.sign[sample * patches + patch]! }
      labels[row] = from.labels[sample]!
      share[row] = missing ? 0 : shares(labels[row]!, mine.length)
    }
  })
  yield* arena.upload(given.pattern, pattern)
  yield* arena.upload(given.sign, sign)
  yield* arena.upload(given.labels, labels)
  yield* arena.upload(given.shares, share)
})
const upTo = (count: number, from = 0) => Uint32Array.from({ length: count }, (_, at) => from + at)
const joined = (parts: ReadonlyArray<Float32Array>) => { const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0)); parts.reduce((at, part) => { out.set(part, at); return at + part.length }, 0); return out }

/** What one network begins with. Shapes: filters [patterns, experts · filters], output [experts · filters], router [patterns, experts] (joint), pair [patterns, 2] (what routers trained first begin with). */
export const firstValues = ({ deviation, experts, filters }: Pick<Options, "deviation" | "experts" | "filters">, seed: number) => {
  const normal = (name: string, length: number, deviation: number) => Random.fillNormal(Random.make(seed, `patches/${name}`), new Float32Array(length), { deviation }), wide = experts * filters
  return { filters: () => normal("filters", patterns * wide, deviation), output: () => normal("output", wide, 1), router: () => normal("router", patterns * experts, routers.deviation.joint), pair: () => normal("routers", patterns * 2, routers.deviation.separate) }
}
/** The order of a network's samples in one epoch. */
export const orderOf = (seed: number, epoch: number, samples: number): Uint32Array => Random.shuffle(Random.make(seed, `patches/order/${epoch}`), samples)

/** The routers of separate training, [patterns, experts] of each network. */
const trainRouters = (arena: Device.Arena, options: Options, all: ReadonlyArray<Samples>, seeds: ReadonlyArray<number>, replicas: number) => Effect.gen(function*() {
  const { experts, patches, samples } = options, networks = networksOf(options.seeds, replicas), given = inputs(patches, networks, samples)
  const pair = Tensor.kept([networks * patterns, 2], { sharded: true, label: "routers" }), outputs = Tensor.kept([1, 2], { label: "outputs" })
  const rate = options.rate * routers.epochs * Math.ceil(samples / options.batch)
  const program = Recording.record(() => Descent.update([pair], Gradient.of(routerLossOf(given, pair, outputs, patches), [pair]), { rate }), { replicas })
  yield* arena.upload(pair, joined(seeds.map((seed) => firstValues(options, seed).pair())))
  yield* arena.upload(outputs, Float32Array.of(routers.output, -routers.output))
  yield* feed(arena, given, patches, all, () => upTo(samples), { shares: (label, count) => (label === 1 ? -1 : 1) / count })
  yield* arena.submit(program)
  const found = yield* arena.read(pair)
  yield* arena.free([pair, outputs, given.pattern, given.sign, given.labels, given.shares])
  return Float32Array.from({ length: seeds.length * patterns * experts }, (_, i) => found[2 * Math.floor(i / experts) + (i % experts < experts / 2 ? 0 : 1)]!)
})

/** Trains and measures. Fails: the device's failures. */
export const train = (options: Options, context: Pick<Stage.Context, "progress" | "actual">) => Effect.gen(function*() {
  const device = yield* Device.Device, arena = yield* device.arena, { batch, epochs, experts, filters, method, patches, samples, tests } = options, { replicas } = device
  const setup = record(options, options, replicas), { answer, fresh, given, learned, step } = setup
  const seeds = Array.from({ length: given.networks * replicas }, (_, at) => options.seed + Math.min(at, options.seeds - 1)) // the last seed again, where replicas do not come out even
  const training = seeds.map((seed) => draw(seed, "train", { patches, count: samples })), testing = seeds.map((seed) => draw(seed, "test", { patches, count: tests }))
  const wide = experts * filters
  yield* arena.upload(learned.filters, joined(seeds.map((seed) => firstValues(options, seed).filters())))
  yield* arena.upload(learned.output, joined(seeds.map((seed) => {
    const weights = firstValues(options, seed).output()
    return method === "convolution" ? weights : Float32Array.from({ length: experts * wide }, (_, i) => Math.floor(i % wide / filters) === Math.floor(i / wide) ? weights[i % wide]! : 0)
  })))
  if (method === "joint") yield* arena.upload(learned.router!, joined(seeds.map((seed) => firstValues(options, seed).router())))
  if (method === "separate") yield* arena.upload(learned.router!, yield* trainRouters(arena, options, training, seeds, replicas))

  const perEpoch = Math.ceil(samples / batch)
  for (let epoch = 0; epoch < epochs; epoch++) {
    const orders = seeds.map((seed) => orderOf(seed, epoch, samples))
    for (let from = 0; from < samples; from += batch) {
      yield* feed(arena, given, patches, training, (network) => orders[network]!.subarray(from, from + batch))
      yield* arena.submit(step)
    }
    if (epoch % 10 === 0) yield* context.progress(epoch * perEpoch, epochs * perEpoch, "steps")
    yield* Effect.yieldNow // where an interruption is heard on a device that never waits
  }
  yield* context.progress(epochs * perEpoch, epochs * perEpoch, "steps")

  const right = seeds.map(() => 0), keeps = seeds.map(() => Array.from({ length: 2 * experts }, () => 0))
  for (let from = 0; from < tests; from += fresh.samples) {
    const count = Math.min(fresh.samples, tests - from)
    yield* feed(arena, fresh, patches, testing, () => upTo(count, from))
    yield* arena.submit(answer)
    const said = yield* arena.read(answer.outputs.answer), chosen = answer.outputs.chosen === undefined ? undefined : yield* arena.read(answer.outputs.chosen)
    seeds.forEach((_, network) => {
      for (let at = 0; at < count; at++) {
        const { labels, places } = testing[network]!, row = network * fresh.samples + at, label = labels[from + at]!
        if ((said[row]! > 0 ? 1 : 0) === label) right[network]!++
        if (chosen !== undefined) for (let expert = 0; expert < experts; expert++) {
          const begin = (row * experts + expert) * options.kept
          if (chosen.subarray(begin, begin + options.kept).includes(places[from + at]!)) keeps[network]![label * experts + expert]!++
        }
      }
    })
  }
  const ofLabel = [Math.floor(tests / 2), Math.ceil(tests / 2)] // labels come in turn, 1 first
  const recallOf = (own: ReadonlyArray<number>) => [0, 1].reduce((sum, label) => sum + Math.max(...own.slice(label * experts, (label + 1) * experts)) / ofLabel[label]! / 2, 0)
  const { flops, peakBytes } = yield* arena.stats
  yield* context.actual({ flops, deviceBytes: peakBytes, device: device.adapter })
  return { accuracies: right.slice(0, options.seeds).map((count) => 100 * count / tests), recalls: method === "convolution" ? null : keeps.slice(0, options.seeds).map(recallOf) } satisfies Measured
})
