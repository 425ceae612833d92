/**
 * One training step of a 0.886 M parameter Llama (4 layers, hidden 128, inner 384, 8 heads, batch 16 × 256) on the host device, beside the
 * same step in PyTorch where Python with torch is present. Runs alternate, so that both see the same machine.
 *
 *   node --import tsx --conditions=@switchyard/source tools/bench/trainingStep.ts [--workers 2] [--runs 5] [--steps 5] [--profile] [--no-torch]
 */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { Random, type Model } from "@switchyard/core"
import { AdamW, Decoder, Gradient, hostDevice, Op, Recording, Tensor, type HostStats } from "@switchyard/gpu"
import { Effect } from "effect"

const { values } = parseArgs({ options: {
  workers: { type: "string", default: "2" }, runs: { type: "string", default: "5" }, steps: { type: "string", default: "5" }, batch: { type: "string", default: "16" },
  profile: { type: "boolean", default: false }, "no-torch": { type: "boolean", default: false }, plain: { type: "boolean", default: false }
} })
const workers = Number(values.workers), runs = Number(values.runs), steps = Number(values.steps), batch = Number(values.batch), tokens = 256
const model: Model.Model = {
  family: "llama", vocabulary: 260, hidden: 128, layers: 4, heads: 8, keyValueHeads: 8, headSize: 16, contextLength: tokens, normEpsilon: 1e-5, ropeTheta: 10000,
  tiedEmbeddings: true, feedForward: { kind: "dense", inner: 384 }, extra: {}
}

interface Rate { readonly tokensPerSecond: number; readonly tokensPerProcessorSecond: number; readonly loss: number }
const torchRun = (threads: number): Rate | undefined => {
  if (values["no-torch"]) return undefined
  const { status, stdout } = spawnSync("python3", [fileURLToPath(new URL("./training_step.py", import.meta.url)), "--runs", "1", "--steps", String(steps), "--batch", String(batch), "--threads", String(threads)], { encoding: "utf8" })
  return status === 0 ? JSON.parse(stdout.trim().split("\n").at(-1)!) : undefined
}

const main = Effect.gen(function*() {
  const device = yield* hostDevice({ workers, profile: values.profile, onnxRuntime: !values.plain })
  const arena = yield* device.arena
  const share = batch / device.replicas, size = { batch: share, tokens }
  const decoder = Decoder.make(model, { sizes: [size] })
  for (const [name, tensor] of decoder.parameters) {
    yield* arena.upload(tensor, tensor.shape.length === 1 ? new Float32Array(tensor.slot.length).fill(1) : Random.fillNormal(Random.make(0, name), new Float32Array(tensor.slot.length), { deviation: 0.02 }))
  }
  const { cosines, sines } = decoder.constants.tables, half = model.headSize / 2
  const angle = (i: number) => Math.floor(i / half) * model.ropeTheta ** (-2 * (i % half) / model.headSize)
  yield* arena.upload(cosines, Float32Array.from({ length: cosines.slot.length }, (_, i) => Math.cos(angle(i))))
  yield* arena.upload(sines, Float32Array.from({ length: sines.slot.length }, (_, i) => Math.sin(angle(i))))
  yield* Decoder.prepare(arena, decoder, size)
  const rows = share * tokens
  const ids = Tensor.kept([rows], { dtype: "u32", sharded: true }), targets = Tensor.kept([rows], { dtype: "u32", sharded: true })
  const parameters = [...decoder.parameters.values()], state = AdamW.make(parameters, { clip: 1 })
  const program = Recording.record(() => {
    const logits = Decoder.forward(decoder, ids, size)
    const loss = Op.sumAll(Op.crossEntropy(logits, targets), 1 / (rows * device.replicas))
    AdamW.update(state, Gradient.of(loss, parameters))
    return { loss: Op.keep(loss) }
  }, { replicas: device.replicas })
  const numbers = (name: string) => Uint32Array.from({ length: batch * tokens }, (_, i) => Random.below(Random.make(0, name), i, 256))
  yield* arena.upload(ids, numbers("ids"))
  yield* arena.upload(targets, numbers("targets"))
  let done = 0
  const step = Effect.gen(function*() {
    yield* arena.upload(state.hyper, AdamW.hyper({ learningRate: 1e-3, weightDecay: 0.1, clip: 1 }, ++done))
    yield* arena.submit(program)
    return (yield* arena.read(program.outputs.loss))[0]! * device.replicas
  })
  for (let i = 0; i < 3; i++) yield* step
  const ours: Array<Rate> = [], theirs: Array<Rate> = [], single: Array<Rate> = []
  for (let run = 0; run < runs; run++) {
    const begin = performance.now(), processor = process.cpuUsage(), all = steps * batch * tokens
    let loss = NaN
    for (let i = 0; i < steps; i++) loss = yield* step
    const { system, user } = process.cpuUsage(processor)
    ours.push({ tokensPerSecond: all / (performance.now() - begin) * 1000, tokensPerProcessorSecond: all / (user + system) * 1e6, loss })
    for (const [threads, into] of [[Math.max(workers, 1), theirs], [1, single]] as const) { const torch = torchRun(threads); if (torch !== undefined) into.push(torch) }
  }
  const sorted = (rates: ReadonlyArray<Rate>, of: keyof Rate) => rates.map((rate) => rate[of]).sort((a, b) => a - b)
  const median = (rates: ReadonlyArray<Rate>, of: keyof Rate) => sorted(rates, of)[Math.floor(rates.length / 2)]!
  const row = (name: string, rates: ReadonlyArray<Rate>) => { if (rates.length > 0) console.log([name.padEnd(20), ...(["tokensPerSecond", "tokensPerProcessorSecond"] as const).map((of) => `${Math.round(median(rates, of))} (${Math.round(sorted(rates, of)[0]!)} … ${Math.round(sorted(rates, of).at(-1)!)})`.padEnd(26)), `loss ${rates.at(-1)!.loss.toFixed(3)}`].join("")) }
  const stats = (yield* arena.stats) as HostStats
  console.log(`${device.adapter}\n${program.steps.length} steps, ${(program.flops * device.replicas / 1e9).toFixed(1)} GFLOP; peak ${(stats.peakBytes / 2 ** 20).toFixed(0)} MiB\n${"".padEnd(20)}${"tokens/s (range)".padEnd(26)}tokens/s of processor time`)
  row("host", ours)
  row(`PyTorch, ${Math.max(workers, 1)} threads`, theirs)
  row("PyTorch, 1 thread", single)
  if (theirs.length > 0) console.log(`ratio of tokens/s ${(median(ours, "tokensPerSecond") / median(theirs, "tokensPerSecond")).toFixed(2)}; of tokens per processor second, PyTorch with one thread: ${(median(ours, "tokensPerProcessorSecond") / median(single, "tokensPerProcessorSecond")).toFixed(2)}`)
  if (values.profile) {
    const total = Object.values(stats.profile).reduce((sum, { milliseconds }) => sum + milliseconds, 0)
    const flops = (label: string) => { const at = Object.fromEntries([...label.matchAll(/(\w+) (\d+)/g)].map(([, name, value]) => [name, Number(value)])); return at["rows"] === undefined || !label.startsWith("matmul") ? undefined : 2 * at["batch"]! * at["rows"] * at["columns"]! * at["inner"]! }
    console.log(`\n${"ms/step".padStart(8)} ${"share".padStart(6)} ${"calls".padStart(6)} ${"GF/s".padStart(6)}  kernel, in the first replica`)
    for (const [label, { calls, milliseconds }] of Object.entries(stats.profile).sort(([, a], [, b]) => b.milliseconds - a.milliseconds).slice(0, 40)) {
      const work = flops(label)
      console.log(`${(milliseconds / stats.submissions).toFixed(2).padStart(8)} ${(100 * milliseconds / total).toFixed(1).padStart(5)}% ${String(calls / stats.submissions).padStart(6)} ${work === undefined ? "      " : (work * calls / milliseconds / 1e6).toFixed(0).padStart(6)}  ${label}`)
    }
  }
})
await Effect.runPromise(Effect.scoped(main))
