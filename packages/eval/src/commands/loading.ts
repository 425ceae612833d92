/**
 * Time and peak memory of opening, converting and loading a model against the size of its file: a random Llama is written into a temporary folder, then
 * each task runs once in a process of its own, whose peak the system tells. A conversion may take the largest tensor and 300 MB, whatever the file's size.
 *
 * The file is a program too, for those processes and for larger models than `eval:bench` takes:
 *
 *   node --import tsx --conditions=@switchyard/source packages/eval/src/commands/loading.ts --megabytes 1200
 */
import { Checkpoint, Model, peakMemory, Random, Tokenizer, Weights } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { LanguageModel } from "@switchyard/routing"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { mkdtempSync, readdirSync, realpathSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs, promisify } from "node:util"
import { bytes } from "../reportTables.ts"
import type { Failed, Row } from "./measure.ts"
import { aligned } from "./present.ts"

/** One task on one file. Units: milliseconds; bytes: of the file, at the peak of its process, and at most expected of that (null: all weights lie in memory, or nothing is promised). */
export interface Loading { readonly name: string; readonly shape: string; readonly milliseconds: number; readonly fileBytes: number; readonly peakBytes: number; readonly atMost: number | null }

/** Units: megabytes of the file. The full one is larger than what a conversion may take, so that one which held it all would be seen. */
export const sizes = { full: 400, look: 4 } as const
/** What a conversion may take beside its largest tensor. Units: bytes. */
const allowance = 300e6

const tasks: Readonly<Record<string, (at: string) => Effect.Effect<unknown, unknown>>> = {
  "nothing, the program alone": () => Effect.void,
  "open": (at) => Checkpoint.open(join(at, "model")),
  "convert F32 to BF16, one file": (at) => Effect.flatMap(Checkpoint.open(join(at, "model")), (model) => Checkpoint.write(model, join(at, "bf16"), { dtype: "BF16" })),
  "convert BF16 to F32, in shards": (at) => Effect.flatMap(Checkpoint.open(join(at, "bf16")), (model) => Checkpoint.write(model, join(at, "f32"), { dtype: "F32", shardBytes: Math.ceil(sizeOf(join(at, "model")) / 3) })),
  "open and load on the host device": (at) => Effect.scoped(Effect.gen(function*() {
    const { model, weights } = yield* Checkpoint.open(join(at, "model")), arena = yield* (yield* Device.Device).arena
    yield* LanguageModel.load(arena, yield* LanguageModel.make(model, { batch: 1, tokens: 16 }), weights)
  })).pipe(Effect.provide(Device.host({ workers: 1 })))
}

/** A Llama whose file has about so many megabytes as F32; its embedding is the largest tensor. */
const modelOf = (megabytes: number): Model.Model => {
  const hidden = megabytes < 100 ? 128 : 1024, sizes = { family: "llama", vocabulary: 8 * hidden, hidden, heads: hidden / 64, keyValueHeads: hidden / 64, headSize: 64, contextLength: 1024, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, extra: {}, feedForward: { kind: "dense" as const, inner: 4 * hidden } }
  const perLayer = 4 * (Model.parameters({ ...sizes, layers: 2 }) - Model.parameters({ ...sizes, layers: 1 }))
  return { ...sizes, layers: Math.max(1, Math.round((megabytes * 1e6 - 4 * sizes.vocabulary * hidden) / perLayer)) }
}
const sizeOf = (folder: string): number => readdirSync(folder).filter((name) => name.endsWith(".safetensors")).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)

/** Writes the model; its numbers are one row of normal ones over and over, so that making them costs nothing beside the writing. */
const write = (model: Model.Model, seed: number, folder: string) => {
  const some = Random.fillNormal(Random.make(seed, "loading"), new Float32Array(65_536), { deviation: 0.02 })
  const weights = Weights.make(new Map(Model.tensors(model).map(({ name, shape }) => [name, { dtype: "F32" as const, shape }])), (_, { from, to }, { shape }) => Effect.sync(() => {
    const out = new Float32Array((to - from) * Weights.rowLength(shape)) // [to − from, columns]
    for (let first = 0; first < out.length; first += some.length) out.set(some.subarray(0, Math.min(some.length, out.length - first)), first)
    return out
  }))
  return Checkpoint.write(Checkpoint.make({ model, weights, tokenizer: Tokenizer.bytes() }), folder)
}

const file = fileURLToPath(import.meta.url)
/** One task in a process of its own. */
const alone = (task: string, at: string): Effect.Effect<{ readonly seconds: number; readonly peak: number }, Failed> => Effect.tryPromise({
  try: async (signal) => JSON.parse((await promisify(execFile)(process.execPath, [...file.endsWith(".ts") ? ["--import", "tsx", "--conditions=@switchyard/source"] : [], file, "--task", task, "--at", at], { signal })).stdout) as { readonly seconds: number; readonly peak: number },
  catch: (cause) => ({ message: `${task}: ${(cause as { readonly stderr?: string }).stderr?.trim().split("\n").find((line) => line.includes("rror")) ?? String(cause)}` })
})

/** Each task (or those of `names`, in their order) once on a file of so many megabytes, which is written for it and removed. Fails: a task's process did, or the file could not be written. */
export const loading = (megabytes: number, seed: number, names: ReadonlyArray<string> = Object.keys(tasks)): Effect.Effect<ReadonlyArray<Loading>, Failed> => Effect.scoped(Effect.gen(function*() {
  const at = yield* Effect.acquireRelease(Effect.sync(() => mkdtempSync(join(tmpdir(), "loading-"))), (at) => Effect.sync(() => rmSync(at, { recursive: true, force: true })))
  const model = modelOf(megabytes), largest = Math.max(...Model.tensors(model).map(({ shape }) => 4 * shape.reduce((product, axis) => product * axis, 1)))
  yield* write(model, seed, join(at, "model"))
  const fileBytes = sizeOf(join(at, "model")), shape = `${(Model.parameters(model) / 1e6).toPrecision(3)} M parameters, ${bytes(fileBytes)}`
  return yield* Effect.forEach(names, (name) => Effect.map(alone(name, at), ({ peak, seconds }): Loading => ({ name, shape, milliseconds: 1000 * seconds, fileBytes, peakBytes: peak, atMost: name.startsWith("convert") ? largest + allowance : null })))
}))

export const headings = ["loading", "file", "seconds", "MB/s of the file", "peak memory"]
export const cells = ({ atMost, fileBytes, milliseconds, name, peakBytes, shape }: Loading): ReadonlyArray<string> => [
  name, shape, (milliseconds / 1000).toFixed(2), milliseconds > 500 ? (fileBytes / 1000 / milliseconds).toFixed(0) : "",
  `${bytes(peakBytes)}${atMost === null ? "" : peakBytes <= atMost ? ` (at most ${bytes(atMost)})` : ` (expected at most ${bytes(atMost)})`}`
]

/** As a row of the Bench table. */
export const toRow = ({ milliseconds, name, shape }: Loading): Row => ({
  name, shape, device: "host", adapter: `Node ${process.versions.node}, a process of its own`, milliseconds, lowerQuartile: milliseconds, upperQuartile: milliseconds, runs: 1, floor: null, against: "", ratio: null, atMost: null
})

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === realpathSync(file)) {
  const { values } = parseArgs({ options: { megabytes: { type: "string", default: String(sizes.full) }, task: { type: "string" }, at: { type: "string" } } })
  if (values.task !== undefined) {
    const begun = performance.now()
    await Effect.runPromise(tasks[values.task]!(values.at!))
    process.stdout.write(JSON.stringify({ seconds: (performance.now() - begun) / 1000, peak: peakMemory() }))
  } else {
    const found = await Effect.runPromise(loading(Number(values.megabytes), 0))
    process.stdout.write(`${aligned([headings, ...found.map(cells)])}\n`)
    if (found.some(({ atMost, peakBytes }) => atMost !== null && peakBytes > atMost)) process.exitCode = 1
  }
}
