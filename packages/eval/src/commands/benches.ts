/**
 * What `eval:bench` times on every device: a copy, matrix products, grouped products, one training step of a small model, and a mixture layer
 * beside a dense one of the same active width. Each program lives in an arena of its own, so that its memory can be told too.
 */
import { Model, Random, Weights } from "@switchyard/core"
import { AdamW, Device, Gradient, Op, Recording, Tensor } from "@switchyard/gpu"
import { LanguageModel, Mixture, Router } from "@switchyard/routing"
import { Effect } from "effect"
import { type Case, clocked } from "./measure.ts"

/** How much of everything: `copy` floats of each replica; rows of products; tokens of a `layer`; sequences of the training step, of so many tokens. */
export interface Sizes { readonly copy: number; readonly rows: number; readonly layer: number; readonly batch: number; readonly tokens: number }
export const sizes = { full: { copy: 1 << 23, rows: 4096, layer: 4096, batch: 16, tokens: 256 }, software: { copy: 1 << 22, rows: 512, layer: 4096, batch: 2, tokens: 256 }, look: { copy: 1 << 16, rows: 64, layer: 64, batch: 2, tokens: 16 } } as const satisfies Record<string, Sizes>

/** The model of the training step: `models/seed`, 0.886 M parameters. */
export const seedModel: Model.Model = {
  family: "llama", vocabulary: 260, hidden: 128, layers: 4, heads: 8, keyValueHeads: 8, headSize: 16, contextLength: 256, normEpsilon: 1e-5, ropeTheta: 10_000,
  tiedEmbeddings: true, feedForward: { kind: "dense", inner: 384 }, extra: {}
}
const random = (seed: number, name: string, length: number, deviation: number) => Random.fillNormal(Random.make(seed, name), new Float32Array(length), { deviation })
const randomWeights = (seed: number): Weights.Weights => Weights.fromMemory(new Map(Model.tensors(seedModel).map(({ name, shape }) => {
  const length = Tensor.size(shape)
  return [name, { shape, data: shape.length === 1 ? new Float32Array(length).fill(1) : random(seed, name, length, 0.02) }]
})))

/** Memory of a program, per device: predicted from its description, and the arena's high-water mark. Units: bytes. */
export interface Memory { readonly name: string; readonly device: string; readonly predicted: number; readonly measured: Effect.Effect<number, Device.Failure> }

/** The cases of one device and the memory of the larger ones; lives as long as the scope. */
export const onDevice = (device: Device.Service, { batch, copy, layer: layerTokens, rows, tokens }: Sizes, seed: number) => Effect.gen(function*() {
  const { adapter, name: place, replicas } = device, cases: Array<Case> = [], memory: Array<Memory> = []

  /** Adds a case: `build` uploads and gives the program; the reading of one number waits for its end. `times`: how often the program does what is timed. */
  const add = <E>(about: Pick<Case, "name" | "shape" | "floor" | "against" | "atMost" | "processor">, options: { readonly times?: number; readonly memory?: boolean },
    build: (arena: Device.Arena) => Effect.Effect<{ readonly program: Recording.Program; readonly before?: Effect.Effect<void, Device.Failure> }, E | Device.Failure>) => Effect.gen(function*() {
    const arena = yield* device.arena, { times = 1 } = options
    const tick = Tensor.kept([1], { label: "tick" })
    yield* arena.upload(tick, Float32Array.of(0))
    const { before, program } = yield* build(arena), count = Device.count(program)
    cases.push({
      ...about, device: place, adapter, work: { flops: count.flops / times, bytes: count.bytes / times },
      time: Effect.gen(function*() {
        if (before !== undefined) yield* before
        return yield* clocked(Effect.andThen(arena.submit(program), arena.read(tick)), times)
      })
    })
    if (options.memory === true) memory.push({ name: about.name, device: place, predicted: count.deviceBytes, measured: Effect.map(arena.stats, ({ peakBytes }) => peakBytes) })
  })
  const filled = (arena: Device.Arena, label: string, shape: ReadonlyArray<number>, options: { readonly sharded?: boolean; readonly deviation?: number } = {}) => {
    const { deviation = 0.05, sharded = false } = options, tensor = Tensor.kept(shape, { label, sharded })
    return Effect.as(arena.upload(tensor, random(seed, label, Tensor.size(shape) * (sharded ? replicas : 1), deviation)), tensor)
  }
  // what a graphics processor does is not in the processor's time
  const processor = (against?: string): Pick<Case, "processor"> => place === "gpu" ? {} : { processor: against === undefined ? {} : { against } }
  const record = <O>(build: () => O) => Recording.record(build, { replicas })
  const repeat = (times: number, step: () => unknown) => record(() => { for (let at = 0; at < times; at++) step() })

  yield* add({ name: "copy", shape: `${copy * replicas} floats`, floor: "copy" }, {}, (arena) => Effect.map(filled(arena, "x", [copy]), (x) => ({ program: repeat(1, () => Op.affine(x, { scale: 2 })) })))

  const share = Math.max(1, Math.floor(rows / replicas)), times = 4
  for (const [inner, columns] of [[128, 384], [384, 128], [512, 512]] as const) {
    yield* add({ name: "product", shape: `${share * replicas}×${inner} by ${columns}×${inner}`, floor: "product" }, { times }, (arena) => Effect.gen(function*() {
      const x = yield* filled(arena, "x", [share, inner], { sharded: true }), weight = yield* filled(arena, "weight", [columns, inner])
      return { program: repeat(times, () => Op.linear(x, weight)) }
    }))
  }
  const groups = 8, active = 2, hidden = 128, inner = 384, slots = share * active
  yield* add({ name: "grouped product", shape: `${slots * replicas}×${hidden} by ${groups}×${inner}×${hidden}` }, { times }, (arena) => Effect.gen(function*() {
    const x = yield* filled(arena, "x", [slots, hidden], { sharded: true }), weight = yield* filled(arena, "weight", [groups, inner, hidden])
    const offsets = Tensor.kept([groups + 1], { dtype: "u32", label: "offsets" })
    // uneven on purpose: group g has g + 1 parts of 36
    yield* arena.upload(offsets, Uint32Array.from({ length: groups + 1 }, (_, group) => Math.round(slots * group * (group + 1) / (groups * (groups + 1)))))
    return { program: repeat(times, () => Op.groupedLinear(x, weight, offsets)) }
  }))

  const each = Math.max(1, Math.floor(layerTokens / replicas)), layer = `${each * replicas} tokens, hidden ${hidden}`
  const widths = { x: [each, hidden], target: [each, hidden] } as const
  yield* add({ name: "dense layer", shape: layer, ...processor() }, {}, (arena) => Effect.gen(function*() {
    const x = yield* filled(arena, "x", widths.x, { sharded: true, deviation: 1 }), target = yield* filled(arena, "target", widths.target, { sharded: true, deviation: 1 })
    const gate = yield* filled(arena, "gate", [active * inner, hidden]), up = yield* filled(arena, "up", [active * inner, hidden]), down = yield* filled(arena, "down", [hidden, active * inner])
    return { program: record(() => Gradient.of(Op.sumAll(Op.multiply(Op.linear(Op.swiglu(Op.linear(x, gate), Op.linear(x, up)), down), target)), [x, gate, up, down])) }
  }))
  yield* add({ name: "mixture layer", shape: layer, against: "dense layer", atMost: 1.3, ...processor() }, { memory: true }, (arena) => Effect.gen(function*() {
    const x = yield* filled(arena, "x", widths.x, { sharded: true, deviation: 1 }), target = yield* filled(arena, "target", widths.target, { sharded: true, deviation: 1 })
    const gate = yield* filled(arena, "gate", [groups, inner, hidden]), up = yield* filled(arena, "up", [groups, inner, hidden]), down = yield* filled(arena, "down", [groups, hidden, inner]), weight = yield* filled(arena, "router", [groups, hidden])
    return { program: record(() => {
      const { output } = Mixture.forward(x, { layer: 0, batch: 1, tokens: each, router: Router.topK({ active }), tensors: { weight }, experts: { kind: "full", count: groups, stack: { gate, up, down } } })
      return Gradient.of(Op.sumAll(Op.multiply(output, target)), [x, gate, up, down, weight])
    }) }
  }))

  const sequences = Math.max(1, Math.floor(batch / replicas))
  yield* add({ name: "training step", shape: `${sequences * replicas}×${tokens} tokens, 0.886 M parameters`, against: "PyTorch training step", atMost: 1 / 0.6, ...processor("PyTorch training step, 1 thread") }, { memory: true }, (arena) => Effect.gen(function*() {
    const self = yield* LanguageModel.make(seedModel, { batch: sequences, tokens }), length = sequences * tokens
    yield* LanguageModel.load(arena, self, randomWeights(seed))
    const parameters = [...self.parameters.values()], state = AdamW.make(parameters, { clip: 1 })
    const [ids, targets] = yield* Effect.forEach(["ids", "targets"] as const, (label) => {
      const tensor = Tensor.kept([length], { dtype: "u32", sharded: true, label }), stream = Random.make(seed, label)
      return Effect.as(arena.upload(tensor, Uint32Array.from({ length: length * replicas }, (_, at) => Random.below(stream, at, 256))), tensor)
    })
    const program = record(() => AdamW.update(state, Gradient.of(Op.sumAll(LanguageModel.lossOf(self, ids!, targets!).losses, 1 / (length * replicas)), parameters)))
    let step = 0
    return { program, before: Effect.suspend(() => arena.upload(state.hyper, AdamW.hyper({ learningRate: 1e-3, weightDecay: 0.1 }, ++step))) }
  }))
  return { cases, memory }
})

/** One matrix product with its operands written and its result read, as a foreign library would be called. */
export const productWithTransfers = (device: Device.Service, rows: number, seed: number) => Effect.gen(function*() {
  const arena = yield* device.arena, shape = [rows, rows] as const
  const a = Tensor.kept(shape, { label: "a" }), b = Tensor.kept(shape, { label: "b" })
  const left = random(seed, "a", rows * rows, 1), right = random(seed, "b", rows * rows, 1)
  const program = Recording.record(() => Op.keep(Op.matmul(a, b), "product"))
  const run = Effect.gen(function*() {
    yield* arena.upload(a, left)
    yield* arena.upload(b, right)
    yield* arena.submit(program)
    return yield* arena.read(program.outputs)
  })
  const { bytes, flops } = Device.count(program)
  const about = { name: "product with transfers", device: device.name, adapter: device.adapter, shape: `${rows}×${rows} by ${rows}×${rows}`, work: { bytes, flops }, against: "onnxruntime WebGPU product", atMost: 0.5 }
  return { left, right, run, case: { ...about, time: clocked(run) } satisfies Case }
})
