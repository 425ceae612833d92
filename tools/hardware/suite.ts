/**
 * What a hardware adapter is asked the first time it is met: every kernel's cases against their plain forms in f64, every op's gradient against f64, a
 * decoder's logits, losses, gradients and three training steps against PyTorch, and the timings of eval:bench. Bundled into one file by tools/hardware.mjs,
 * which runs without the repository; prints JSON, progress on standard error.
 *
 *   node suite.mjs [--device gpu|software] [--match REGEX] [--runs 7] [--out FILE]
 */
import { Random, Safetensors, Weights, type Model } from "@switchyard/core"
import { AdamW, Decoder, Device, Gradient, Op, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Cause, Context, Effect, Exit, Layer } from "effect"
import { writeFileSync } from "node:fs"
import { arch, cpus, platform } from "node:os"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { onDevice, sizes } from "../../packages/eval/src/commands/benches.ts"
import { rows as rowsOf, samples } from "../../packages/eval/src/commands/measure.ts"
import { disagreements, kernelCases, runCase } from "../../packages/gpu/src/kernels.cases.ts"
import { cases as opCases } from "../../packages/gpu/src/Op.cases.ts"

const { values } = parseArgs({ options: { device: { type: "string", default: "gpu" }, match: { type: "string", default: "" }, runs: { type: "string", default: "7" }, out: { type: "string" } } })
const match = new RegExp(values.match), runs = Number(values.runs)
const say = (text: string) => { process.stderr.write(`${text}\n`) }
/** Milliseconds that an effect takes, beside what it gives. */
const timed = <A, E, R>(name: string, work: Effect.Effect<A, E, R>) => Effect.gen(function*() {
  const begun = performance.now(), found = yield* work
  say(`${name}: ${((performance.now() - begun) / 1000).toFixed(1)} s`)
  return found
})

interface Result { readonly cases: number; readonly failures: ReadonlyArray<string> }
/** Runs each; a device's failure is told of its case and the others go on. */
const each = <A>(all: ReadonlyArray<A>, name: (one: A) => string, run: (one: A) => Effect.Effect<ReadonlyArray<string>, Device.Failure>) => Effect.gen(function*() {
  const failures: Array<string> = []
  for (const one of all) failures.push(...yield* Effect.match(run(one), { onFailure: ({ message }) => [`${name(one)}: ${message}`], onSuccess: (found) => found }))
  return { cases: all.length, failures } satisfies Result
})

/** Every op's gradient in f32 on the device against the plain device's in f64. Worst |difference| / (1 + |expected|) at most 1e-4. */
const gradients = (arena: Device.Arena) => each(opCases.filter(([name]) => match.test(name)), ([name]) => name, ([name, inputs, build]) => Effect.scoped(Effect.gen(function*() {
  const exact = yield* plainDevice({ precision: "f64" }).arena, checked = inputs.filter(({ checked }) => checked).map(({ tensor }) => tensor)
  let weights: Tensor.Tensor | undefined
  const program = Recording.record(() => {
    const out = build(...inputs.map(({ tensor }) => tensor))
    weights = Tensor.kept(out.shape, { label: "weights" })
    return Gradient.of(Op.sumAll(Op.multiply(out, weights)), checked).map((gradient) => Op.keep(gradient, name))
  })
  const normal = Random.fillNormal(Random.make(1, "weights"), new Float32Array(weights!.slot.length))
  for (const on of [exact, arena]) {
    for (const { data, tensor } of inputs) yield* on.upload(tensor, data)
    yield* on.upload(weights!, normal)
    yield* on.submit(program)
  }
  let worst = 0
  for (const gradient of program.outputs) {
    const found = yield* arena.read(gradient), expected = yield* exact.read(gradient)
    found.forEach((value, at) => { worst = Math.max(worst, Math.abs(value - expected[at]!) / (1 + Math.abs(expected[at]!)) || (Number.isNaN(value) ? Infinity : 0)) })
  }
  return worst <= 1e-4 ? [] : [`${name}: gradient off by ${worst}`]
})))

/** The tiny Llama of packages/gpu/src/fixtures, which PyTorch computed in f64: largest differences, and what they may be. */
const decoder = (arena: Device.Arena) => Effect.gen(function*() {
  interface About { readonly sizes: Record<string, number>; readonly batch: number; readonly tokens: number; readonly rates: ReadonlyArray<number>; readonly clip: number; readonly adamw: { readonly betas: readonly [number, number]; readonly eps: number; readonly weight_decay: number } }
  const file = yield* Safetensors.open(fileURLToPath(new URL("./fixtures/tiny-llama-tied.safetensors", import.meta.url)))
  const { adamw, batch, clip, rates, sizes, tokens } = JSON.parse(file.header.metadata.get("about")!) as About, size = { batch, tokens }, rows = batch * tokens
  const tensors = new Map<string, Float32Array>(), initial: Record<string, Weights.MemoryTensor> = {}
  for (const [key, { shape }] of file.infos) {
    tensors.set(key, yield* file.read(key))
    if (key.startsWith("weights/")) initial[key.slice(8)] = { shape, data: tensors.get(key)! }
  }
  const model: Model.Model = {
    family: "llama", vocabulary: sizes["vocab_size"]!, hidden: sizes["hidden_size"]!, layers: sizes["num_hidden_layers"]!, heads: sizes["num_attention_heads"]!, keyValueHeads: sizes["num_key_value_heads"]!,
    headSize: sizes["head_dim"]!, contextLength: sizes["max_position_embeddings"]!, normEpsilon: sizes["rms_norm_eps"]!, ropeTheta: 10_000, tiedEmbeddings: true, feedForward: { kind: "dense", inner: sizes["intermediate_size"]! }, extra: {}
  }
  const self = Decoder.make(model, { sizes: [size] }), parameters = [...self.parameters.values()], state = AdamW.make(parameters, { clip })
  const ids = Tensor.kept([rows], { dtype: "u32" }), targets = Tensor.kept([rows], { dtype: "u32" })
  yield* Decoder.load(arena, self, Weights.fromMemory(initial))
  yield* arena.upload(ids, Uint32Array.from(tensors.get("ids")!))
  yield* arena.upload(targets, Uint32Array.from(tensors.get("targets")!))
  const program = Recording.record(() => {
    const logits = Decoder.forward(self, ids, size), losses = Op.crossEntropy(logits, targets), gradients = Gradient.of(Op.sumAll(losses, 1 / rows), parameters)
    const outputs = { logits: Op.keep(logits), losses: Op.keep(losses), gradients: gradients.map((gradient) => Op.keep(gradient)) }
    AdamW.update(state, gradients)
    return outputs
  })
  const worst: Record<string, { value: number; readonly atMost: number }> = { logits: { value: 0, atMost: 1e-4 }, losses: { value: 0, atMost: 1e-5 }, gradients: { value: 0, atMost: 1e-5 }, steps: { value: 0, atMost: 3e-5 } }
  const compare = (name: string, tensor: Tensor.Tensor, key: string) => Effect.map(arena.read(tensor), (found) => {
    const expected = tensors.get(key)!
    found.forEach((value, at) => { worst[name]!.value = Math.max(worst[name]!.value, Number.isNaN(value) ? Infinity : Math.abs(value - expected[at]!)) })
  })
  for (const [at, learningRate] of rates.entries()) {
    yield* arena.upload(state.hyper, AdamW.hyper({ learningRate, beta1: adamw.betas[0], beta2: adamw.betas[1], epsilon: adamw.eps, weightDecay: adamw.weight_decay }, at + 1))
    yield* arena.submit(program)
    if (at === 0) {
      yield* compare("logits", program.outputs.logits, "logits")
      yield* compare("losses", program.outputs.losses, "losses")
      for (const [place, name] of [...self.parameters.keys()].entries()) yield* compare("gradients", program.outputs.gradients[place]!, `gradients/${name}`)
    }
    for (const [name, tensor] of self.parameters) yield* compare("steps", tensor, `step${at + 1}/${name}`)
  }
  return { against: "PyTorch, f64", worst, failures: Object.entries(worst).flatMap(([name, { atMost, value }]) => value <= atMost ? [] : [`${name} off by ${value}, at most ${atMost}`]) }
})

const main = Effect.scoped(Effect.gen(function*() {
  const device = Context.get(yield* Layer.build(Device.byName(values.device)), Device.Device), arena = yield* device.arena
  say(`${device.name}: ${device.adapter}, buffers up to ${device.largestBuffer} bytes`)
  const kernels = yield* timed("kernels", each(kernelCases.filter(({ kernel }) => match.test(kernel)), ({ kernel, name }) => `${kernel} (${name})`, (one) => Effect.map(runCase(arena, one), (found) => disagreements(one, found))))
  const ops = yield* timed("gradients of ops", gradients(arena))
  const golden = values.match === "" ? yield* timed("decoder", decoder(arena)) : { failures: [], leftOut: "--match was given" }
  const skipped: Array<string> = []
  const timings = runs < 1 ? { rows: [], memory: [] } : yield* timed("timings", Effect.gen(function*() {
    const { cases, memory } = yield* onDevice(device, device.name === "software" || runs < 5 ? sizes[device.name === "software" && runs >= 5 ? "software" : "look"] : sizes.full, 0)
    const found = yield* samples(cases, runs, { progress: () => {}, skipped: (name, why) => { skipped.push(`${name}: ${why}`) } })
    return { rows: rowsOf(found), memory: yield* Effect.forEach(memory, ({ measured, ...about }) => Effect.map(measured, (measured) => ({ ...about, measured }))) }
  }))
  return {
    when: new Date().toISOString(), device: device.name, adapter: device.adapter, largestBuffer: device.largestBuffer, processor: cpus()[0]?.model ?? "", system: `${platform()}-${arch()}`, node: process.versions.node,
    failures: kernels.failures.length + ops.failures.length + golden.failures.length, kernels, gradients: ops, decoder: golden, runs, ...timings, skipped
  }
}))
const exit = await Effect.runPromiseExit(main)
if (Exit.isFailure(exit)) { say(Cause.pretty(exit.cause)); process.exit(1) }
const text = `${JSON.stringify(exit.value, null, 1)}\n`
if (values.out === undefined) process.stdout.write(text)
else writeFileSync(values.out, text)
say(exit.value.failures === 0 ? "all agree" : `${exit.value.failures} disagree`)
process.exit(exit.value.failures === 0 ? 0 : 1)
