/**
 * Time and peak memory of loading and converting a model against the size of its file: a random Llama of at least a gigabyte is written into a temporary folder,
 * then each task runs in a process of its own, whose peak the system tells. A conversion may take the largest tensor and 300 MB.
 *
 *   node --import tsx --conditions=@switchyard/source tools/bench/loading.ts [--megabytes 1200]
 */
import { Checkpoint, Model, Random, Tokenizer, Weights } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { LanguageModel } from "@switchyard/routing"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"

const { values } = parseArgs({ options: { megabytes: { type: "string", default: "1200" }, task: { type: "string" }, at: { type: "string" } } })
/** What is allowed beside the largest tensor of a conversion. */
const allowance = 300e6

const tasks: Readonly<Record<string, (at: string) => Effect.Effect<unknown, unknown>>> = {
  "nothing, the program alone": () => Effect.void,
  "open": (at) => Checkpoint.open(join(at, "model")),
  "convert F32 to BF16, one file": (at) => Effect.flatMap(Checkpoint.open(join(at, "model")), (model) => Checkpoint.write(model, join(at, "bf16"), { dtype: "BF16" })),
  "convert BF16 to F32, shards of 500 MB": (at) => Effect.flatMap(Checkpoint.open(join(at, "bf16")), (model) => Checkpoint.write(model, join(at, "f32"), { dtype: "F32", shardBytes: 5e8 })),
  "open and load on the host device": (at) => Effect.scoped(Effect.gen(function*() {
    const { model, weights } = yield* Checkpoint.open(join(at, "model")), arena = yield* (yield* Device.Device).arena
    yield* LanguageModel.load(arena, yield* LanguageModel.make(model, { batch: 1, tokens: 16 }), weights)
  })).pipe(Effect.provide(Device.host({ workers: 1 })))
}

const model = (megabytes: number): Model.Model => {
  const sizes = { family: "llama", vocabulary: 32_000, hidden: 1024, heads: 16, keyValueHeads: 4, headSize: 64, contextLength: 1024, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, extra: {}, feedForward: { kind: "dense" as const, inner: 4096 } }
  const perLayer = 4 * (Model.parameters({ ...sizes, layers: 2 }) - Model.parameters({ ...sizes, layers: 1 }))
  return { ...sizes, layers: Math.max(1, Math.ceil((megabytes * 1e6 - 4 * sizes.vocabulary * sizes.hidden) / perLayer)) }
}
const sizeOf = (folder: string) => readdirSync(folder).filter((name) => name.endsWith(".safetensors")).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)

if (values.task !== undefined) {
  const begun = performance.now()
  await Effect.runPromise(tasks[values.task]!(values.at!))
  process.stdout.write(JSON.stringify({ seconds: (performance.now() - begun) / 1000, peak: process.resourceUsage().maxRSS * 1024 }))
} else {
  const at = mkdtempSync(join(tmpdir(), "loading-"))
  try {
    const large = model(Number(values.megabytes)), infos = new Map(Model.tensors(large).map(({ name, shape }) => [name, { dtype: "F32" as const, shape }]))
    const some = Random.fillNormal(Random.make(0, "loading"), new Float32Array(65_536), { deviation: 0.02 })
    const weights = Weights.make(infos, (_, { from, to }, { shape }) => Effect.sync(() => {
      const out = new Float32Array((to - from) * Weights.rowLength(shape))
      for (let first = 0; first < out.length; first += some.length) out.set(some.subarray(0, Math.min(some.length, out.length - first)), first)
      return out
    }))
    await Effect.runPromise(Checkpoint.write(Checkpoint.make({ model: large, weights, tokenizer: Tokenizer.bytes() }), join(at, "model")))
    const largest = Math.max(...[...infos.values()].map(({ shape }) => 4 * shape.reduce((product, axis) => product * axis, 1)))
    console.log(`${(Model.parameters(large) / 1e6).toFixed(0)} M parameters, file of ${(sizeOf(join(at, "model")) / 1e6).toFixed(0)} MB, largest tensor ${(largest / 1e6).toFixed(0)} MB as F32; a conversion may take ${((largest + allowance) / 1e6).toFixed(0)} MB\n`)
    console.log("| task | seconds | MB/s of the F32 file | peak memory, MB | limit, MB |\n| --- | --- | --- | --- | --- |")
    for (const task of Object.keys(tasks)) {
      const child = spawnSync(process.execPath, ["--import", "tsx", "--conditions=@switchyard/source", fileURLToPath(import.meta.url), "--task", task, "--at", at], { encoding: "utf8" })
      if (child.status !== 0) throw new Error(`${task}: ${child.stderr}`)
      const { peak, seconds } = JSON.parse(child.stdout) as { readonly peak: number; readonly seconds: number }, isConversion = task.startsWith("convert")
      console.log(`| ${task} | ${seconds.toFixed(2)} | ${seconds > 1 ? (sizeOf(join(at, "model")) / 1e6 / seconds).toFixed(0) : ""} | ${(peak / 1e6).toFixed(0)} | ${isConversion ? ((largest + allowance) / 1e6).toFixed(0) : ""} |`)
      if (isConversion && peak > largest + allowance) process.exitCode = 1
    }
  } finally { rmSync(at, { recursive: true, force: true }) }
}
