/**
 * One training of one network on the clusters problem, full batch: mixtures by descent along each expert's normalised gradient (the router by
 * its plain gradient), single networks by Adam with an L2 term, as the released code does. It stops early by the released code's rules.
 */
import { Random, type Stage } from "@switchyard/core"
import { AdamW, Descent, Device, Gradient, Op, Recording, type Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import { clusters, draw, type Examples, type settings, width, withOnes } from "./clusters.ts"
import { countDispatch, dispatchEntropy } from "./dispatchEntropy.ts"
import { forward, inputs, type Inputs, lossOf, type Network, normalised, type Parameters, parameters, rowsOf } from "./network.ts"

export interface Options extends Network { readonly setting: keyof typeof settings; readonly seed: number; readonly examples: number; readonly steps: number }
export interface Point { readonly step: number; readonly loss: number; readonly entropy: number | null }
/** Units: accuracies in per cent, entropies in nats. */
export interface Trained {
  readonly testAccuracy: number
  readonly trainAccuracy: number
  /** Of the training examples in the last step; null of a single network. */
  readonly entropy: number | null
  readonly steps: number
  readonly curve: ReadonlyArray<Point>
  /** Training examples of the last step, [experts][clusters]. */
  readonly dispatch: ReadonlyArray<ReadonlyArray<number>>
  /** ⟨router, centre⟩ and ⟨router, feature⟩, [experts][clusters]. */
  readonly centres: ReadonlyArray<ReadonlyArray<number>>
  readonly features: ReadonlyArray<ReadonlyArray<number>>
}
const rates = { experts: 1e-3, router: 0.1, adam: { cubic: 0.01, linear: 0.003 }, decay: 5e-4 } as const
/** Steps from one point of the curve to the next. */
const every = 10

/** Examples of one replica: the whole shared out, rounded up. */
const shareOf = (examples: number, replicas: number) => Math.ceil(examples / replicas)

interface Step { readonly loss: Tensor.Tensor; readonly experts: Tensor.Tensor | undefined }
interface Setup { readonly given: Inputs; readonly learned: Parameters; readonly adam: AdamW.State | undefined; readonly step: Recording.Program<Step>; readonly answer: Recording.Program<Tensor.Tensor> }

/** The training step and the answer as programs. */
export const record = (network: Network, examples: number, replicas: number): Setup => {
  const given = inputs(network, shareOf(examples, replicas)), learned = parameters(network), { filters, router } = learned
  const adam = router === undefined ? AdamW.make([filters], { decays: () => false }) : undefined
  const step = Recording.record((): Step => {
    const { experts, output } = forward(network, given, learned), loss = Op.keep(lossOf(network, given, output), "loss")
    if (adam !== undefined) {
      const [gradient] = Gradient.of(loss, [filters])
      Recording.sumReplicas([loss])
      AdamW.update(adam, [Op.add(gradient!, filters, rates.decay / replicas)]) // Adam's own weight decay; the update sums over replicas
    } else {
      const gradients = Gradient.of(loss, [filters, router!])
      Recording.sumReplicas([loss, ...gradients])
      Descent.update([filters], [normalised(gradients[0]!)], { rate: rates.experts })
      Descent.update([router!], [gradients[1]!], { rate: rates.router })
    }
    return { loss, experts: experts === undefined ? undefined : Op.keep(experts, "experts", { sharded: true }) }
  }, { replicas })
  return { given, learned, adam, step, answer: Recording.record(() => Op.keep(forward(network, given, learned).output, "output", { sharded: true }), { replicas }) }
}

/** Uploads what a program reads of these examples; rows that stand in for missing ones are zeros and count nothing. */
const feed = (arena: Device.Arena, network: Network, { given }: Setup, examples: Examples, replicas: number) => Effect.gen(function*() {
  const count = examples.labels.length, rows = rowsOf(network)
  const fill = (tensor: Tensor.Tensor, from: Float32Array | Uint32Array) => {
    const all = from instanceof Uint32Array ? new Uint32Array(tensor.slot.length * replicas) : new Float32Array(tensor.slot.length * replicas)
    all.set(from)
    return arena.upload(tensor, all)
  }
  const summed = withOnes(examples, { summed: true })
  yield* fill(given.x, rows === 1 ? summed : withOnes(examples, { summed: false }))
  yield* fill(given.sums, Float32Array.from({ length: count * width }, (_, i) => summed[Math.floor(i / width) * (width + 1) + i % width]!))
  yield* fill(given.labels, examples.labels)
  yield* fill(given.shares, new Float32Array(count).fill(1 / count))
  yield* arena.upload(given.owners, Uint32Array.from({ length: given.examples * rows }, (_, row) => Math.floor(row / rows)))
  yield* arena.upload(given.classes, Float32Array.from({ length: given.classes.slot.length }, (_, i) => Math.floor(i % (2 * network.filters) / network.filters) === Math.floor(i / (2 * network.filters * rows)) ? 1 : 0))
})

const share = (output: ArrayLike<number>, labels: Uint32Array): number =>
  100 * labels.reduce((right, label, example) => right + Number((output[2 * example + 1]! > output[2 * example]! ? 1 : 0) === label), 0) / labels.length

const products = (router: ArrayLike<number>, directions: Float32Array, experts: number): ReadonlyArray<ReadonlyArray<number>> => Array.from({ length: experts }, (_, expert) => Array.from({ length: clusters }, (_, cluster) => {
  let sum = 0
  for (let i = 0; i < width; i++) sum += router[expert * width + i]! * directions[cluster * width + i]!
  return sum
}))

/** The filters that training begins with: uniform as a convolution's usually are; of a mixture a thousandth of that, which keeps its experts alike at first. Shapes: [experts, 2 · filters, width + 1]. */
export const firstFilters = ({ activation, experts, filters, form, seed }: Network & { readonly seed: number }): Float32Array => {
  const bound = (form === "mixture" ? 1e-3 : 1) / Math.sqrt(width)
  return Random.fillUniform(Random.make(seed, `theory/${form}/${activation}/filters`), new Float32Array(experts * 2 * filters * (width + 1))).map((u) => bound * (2 * u - 1))
}
/** The noise of one step, uniform in [0, 1). Shapes: [rows, experts]. */
export const noiseAt = (seed: number, step: number, length: number): Float32Array => Random.fillUniform(Random.make(seed, "theory/routing noise"), new Float32Array(length), step * length)

/** Trains and measures. Fails: the device's failures. */
export const train = (options: Options, context: Pick<Stage.Context, "progress" | "metric" | "actual">) => Effect.gen(function*() {
  const device = yield* Device.Device, arena = yield* device.arena, { examples, experts, seed, steps } = options
  const problem = draw(seed, options), setup = record(options, examples, device.replicas), { adam, given, learned, step } = setup
  yield* arena.upload(learned.filters, firstFilters(options))
  if (learned.router !== undefined) yield* arena.upload(learned.router, new Float32Array(learned.router.slot.length))
  for (const moment of adam === undefined ? [] : [...adam.first, ...adam.second]) yield* arena.upload(moment, new Float32Array(moment.slot.length))
  yield* feed(arena, options, setup, problem.train, device.replicas)

  const drawn = given.noise.slot.length * device.replicas, noiseOf = (at: number) => noiseAt(seed, at, drawn)
  const look = Effect.gen(function*() {
    const counts = step.outputs.experts === undefined ? [] : countDispatch(yield* arena.read(step.outputs.experts), problem.train.clusters, { experts, clusters })
    return { counts, entropy: counts.length === 0 ? null : dispatchEntropy(counts) }
  })
  const curve: Array<Point> = []
  let noise = learned.router === undefined ? undefined : noiseOf(0), least = Infinity, done = 0
  while (done < steps) {
    if (noise !== undefined) yield* arena.upload(given.noise, noise)
    if (adam !== undefined) yield* arena.upload(adam.hyper, AdamW.hyper({ learningRate: rates.adam[options.activation] }, done + 1))
    const prepare = Effect.sync(() => { if (noise !== undefined) noise = noiseOf(done + 1) }) // while the device works
    yield* Effect.all([arena.submit(step), prepare], { concurrency: 2, discard: true })
    const loss = (yield* arena.read(step.outputs.loss))[0]!
    if (done % every === 0) curve.push({ step: done, loss, entropy: (yield* look).entropy })
    if (done % 50 === 0) yield* context.progress(done, steps, "steps")
    yield* Effect.yieldNow // where an interruption is heard on a device that never waits
    done++
    if (loss <= least) least = loss
    else if (adam !== undefined ? done > 500 && loss > least + 0.02 : options.gate === "released" && (loss > least + 0.02 || loss <= 0.314)) break
  }
  yield* context.progress(steps, steps, "steps")
  const { counts, entropy } = yield* look
  const noisy = options.form === "mixture" && options.gate === "released" // that gate is of no use without noise: at test its weight may be negative
  const accuracy = (split: Examples) => Effect.gen(function*() {
    yield* feed(arena, options, setup, split, device.replicas)
    yield* arena.upload(given.noise, noisy ? noiseOf(split === problem.test ? steps + 1 : steps + 2) : new Float32Array(drawn))
    yield* arena.submit(setup.answer)
    return share(yield* arena.read(setup.answer.outputs), split.labels)
  })
  const testAccuracy = yield* accuracy(problem.test), trainAccuracy = yield* accuracy(problem.train)
  yield* context.metric("testAccuracy", testAccuracy)
  const router = learned.router === undefined ? undefined : yield* arena.read(learned.router), aligned = (directions: Float32Array) => router === undefined ? [] : products(router, directions, experts)
  const { flops, peakBytes } = yield* arena.stats
  yield* context.actual({ flops, deviceBytes: peakBytes, device: device.adapter })
  return { testAccuracy, trainAccuracy, entropy, steps: done, curve, dispatch: counts, centres: aligned(problem.centres), features: aligned(problem.features) } satisfies Trained
})
