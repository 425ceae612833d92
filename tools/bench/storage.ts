/**
 * What storing weights in fewer bytes saves and costs on the host: bytes that the device holds, and milliseconds of a forward pass over many tokens
 * and over one row (which is bound by reading the weights). Medians of interleaved runs. The seed model, and a larger one with random weights.
 *
 *   node --import tsx --conditions=@switchyard/source tools/bench/storage.ts [--runs 5] [--device host]
 */
import { parseArgs } from "node:util"
import { Model, Random } from "@switchyard/core"
import { Device, hostDevice, Recording, Storage, Tensor } from "@switchyard/gpu"
import { LanguageModel } from "@switchyard/routing"
import { Context, Effect, Layer } from "effect"

const { values } = parseArgs({ options: { runs: { type: "string", default: "5" }, device: { type: "string", default: "host" }, only: { type: "string" } } })
const runs = Number(values.runs)
const family = { family: "llama", normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, contextLength: 256, extra: {} } as const
const models: Readonly<Record<string, Model.Model>> = {
  "seed, 0.886 M parameters": { ...family, vocabulary: 260, hidden: 128, layers: 4, heads: 8, keyValueHeads: 8, headSize: 16, feedForward: { kind: "dense", inner: 384 } },
  "random, 110 M parameters": { ...family, vocabulary: 32_000, hidden: 768, layers: 12, heads: 12, keyValueHeads: 12, headSize: 64, feedForward: { kind: "dense", inner: 2048 } }
}
const formats = ["f32", ...Storage.storages] as const
const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1)
const median = (numbers: ReadonlyArray<number>) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!

/** One format of one model: its arena, and how long a pass takes. */
const open = (device: Device.Service, model: Model.Model, tokens: number, format: (typeof formats)[number]) => Effect.gen(function*() {
  const arena = yield* device.arena, self = yield* LanguageModel.make(model, { batch: 1, tokens, ...format === "f32" ? {} : { storage: format } })
  for (const [name, tensor] of self.parameters) {
    const data = new Float32Array(Tensor.size(tensor.shape)), block = Random.fillNormal(Random.make(0, name), new Float32Array(Math.min(data.length, 4096)), { deviation: 0.02 })
    for (let at = 0; at < data.length; at++) data[at] = tensor.shape.length === 1 ? 1 : block[at % 4096]!
    yield* arena.upload(tensor, data)
  }
  for (const tensor of [self.decoder.constants.tables.cosines, self.decoder.constants.tables.sines]) yield* arena.upload(tensor, new Float32Array(tensor.slot.length).fill(0.7))
  const weights = (yield* arena.stats).liveBytes, ids = Tensor.kept([tokens], { dtype: "u32" }), tick = Tensor.kept([1])
  yield* arena.upload(ids, Uint32Array.from({ length: tokens }, (_, at) => at % model.vocabulary))
  for (const { tensor } of self.decoder.constants.positions.values()) yield* arena.upload(tensor, Uint32Array.from({ length: tokens }, (_, at) => at))
  const program = Recording.record(() => { LanguageModel.forward(self, ids) }, { replicas: device.replicas })
  const pass = Effect.gen(function*() {
    const begun = performance.now()
    yield* arena.submit(program)
    yield* arena.read(tick)
    return performance.now() - begun
  })
  yield* pass
  return { pass, weights, planned: (yield* Device.planned(program).pipe(Effect.provideService(Device.Device, device))).deviceBytes, peak: (yield* arena.stats).peakBytes }
})

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const device = values.device === "host" ? yield* hostDevice({ workers: 0 }) : Context.get(yield* Layer.build(Device.byName(values.device)), Device.Device)
  console.log(`${device.name}: ${device.adapter}; medians of ${runs} runs`)
  const lines: Array<Record<string, string>> = []
  for (const [name, model] of Object.entries(models)) {
    if (values.only !== undefined && !name.startsWith(values.only)) continue
    const found = yield* Effect.scoped(Effect.gen(function*() {
      const shapes = [values.device === "host" ? 128 : 16, 1]
      const opened = yield* Effect.forEach(formats, (format) => Effect.forEach(shapes, (tokens) => open(device, model, tokens, format)))
      const times = opened.map((each) => each.map((): Array<number> => []))
      for (let run = 0; run < runs; run++) for (const [at, each] of opened.entries()) for (const [shape, { pass }] of each.entries()) times[at]![shape]!.push(yield* pass)
      return opened.map((each, at) => ({
        model: name, storage: formats[at]!, "MB of weights": megabytes(each[0]!.weights), "MB held, one row": megabytes(each[1]!.peak), "planned": megabytes(each[1]!.planned),
        [`ms, ${shapes[0]} tokens`]: median(times[at]![0]!).toFixed(1), "ms, one token": median(times[at]![1]!).toFixed(1)
      }))
    }))
    lines.push(...found)
  }
  console.table(lines)
})))
