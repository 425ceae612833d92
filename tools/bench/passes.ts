/**
 * Long prompts: what a prompt's passes and a token after it cost, by how many places the cache has. Operations and bytes as the recorded programs say, beside what is
 * needed (every weight times every token, every key and value that a token sees); milliseconds of the host's processors (all threads together: what other programs do does not count). A random Llama of SmolLM2-135M's sizes, of so many layers.
 *
 *   node --import tsx --conditions=@switchyard/source tools/bench/passes.ts [--prompt 1024] [--windows 1152,4096] [--batch 1] [--layers 4] [--workers 2] [--rounds 3] [--beside DIR]
 *
 * --beside: another checkout of this repository that has this script; the two take turns, and ratios of medians are printed (there / here).
 */
import { Checkpoint, Model, Random, Tokenizer, Weights } from "@switchyard/core"
import { Device, hostDevice, type Recording } from "@switchyard/gpu"
import { Generation } from "@switchyard/routing"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { availableParallelism } from "node:os"
import { createInterface } from "node:readline"
import { parseArgs } from "node:util"

const number = (value: string) => ({ type: "string" as const, default: value })
const { values } = parseArgs({ options: { prompt: number("1024"), windows: number("1152,4096"), batch: number("1"), layers: number("4"), workers: number(String(availableParallelism())), rounds: number("3"), beside: { type: "string" }, answer: { type: "boolean", default: false } } })
const [prompt, batch, layers, workers, rounds] = [values.prompt, values.batch, values.layers, values.workers, values.rounds].map(Number) as [number, number, number, number, number]
const sizes = { vocabulary: 49_152, hidden: 576, heads: 9, keyValueHeads: 3, headSize: 64, inner: 1536 } as const
const model: Model.Model = { family: "llama", ...sizes, layers, contextLength: 32_768, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, feedForward: { kind: "dense", inner: sizes.inner }, extra: {} }
const length = (shape: ReadonlyArray<number>) => shape.reduce((product, axis) => product * axis, 1)
const median = (all: ReadonlyArray<number>): number => [...all].sort((a, b) => a - b)[all.length >> 1]!

/** Each window's generator, timed when asked; a first round has recorded, compiled and counted. */
const measuring = Effect.gen(function*() {
  const device = yield* hostDevice({ workers }), arena = yield* device.arena, counted = { flops: 0, bytes: 0, passes: 0 }
  const counting: Device.Arena = { ...arena, submit: (program: Recording.Program) => Effect.suspend(() => {
    counted.flops += program.flops * device.replicas
    counted.bytes += program.bytes * device.replicas
    counted.passes++
    return arena.submit(program)
  }) }
  const weights = Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) => [name, { shape, data: shape.length === 1 ? new Float32Array(length(shape)).fill(1) : Random.fillNormal(Random.make(1, name), new Float32Array(length(shape)), { deviation: 0.02 }) }])))
  const ids = Array.from({ length: prompt }, (_, at) => at * 7 % sizes.vocabulary), rows = Array.from({ length: batch }, (_, row) => row)
  return yield* Effect.forEach(values.windows.split(","), (text) => Effect.gen(function*() {
    const window = Number(text), generator = yield* Effect.provideService(Generation.open(Checkpoint.make({ model, weights, tokenizer: Tokenizer.bytes() }), { window, batch }), Device.Device, Device.Device.of({ ...device, arena: Effect.succeed(counting) }))
    const once = (advance: { readonly ids: ReadonlyArray<number>; readonly fresh: boolean }) => Effect.gen(function*() {
      Object.assign(counted, { flops: 0, bytes: 0, passes: 0 })
      const began = process.cpuUsage()
      yield* generator.advance(rows.map((row) => ({ row, ...advance })))
      const { system, user } = process.cpuUsage(began)
      return { ...counted, milliseconds: (system + user) / 1000 }
    })
    const measure = Effect.gen(function*() {
      const first = yield* once({ ids, fresh: true }), tokens: Array<typeof first> = []
      for (let token = 0; token < 16; token++) tokens.push(yield* once({ ids: [token], fresh: false }))
      return { window, prompt: first, token: { ...tokens[0]!, milliseconds: median(tokens.map(({ milliseconds }) => milliseconds)) } }
    })
    yield* measure
    return measure
  }))
})
type Measured = { readonly window: number } & Readonly<Record<"prompt" | "token", { readonly flops: number; readonly bytes: number; readonly passes: number; readonly milliseconds: number }>>

/** Answers each line with a round, as a line of JSON. */
const answering = Effect.scoped(Effect.gen(function*() {
  const measures = yield* measuring
  console.log("ready")
  for (const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();;) {
    if ((yield* Effect.promise(() => lines.next())).done === true) return
    console.log(JSON.stringify(yield* Effect.all(measures)))
  }
}))
const openBeside = (directory: string) => Effect.promise(async () => {
  const child = spawn(process.execPath, [...process.execArgv, "tools/bench/passes.ts", ...process.argv.slice(2).filter((argument, at, all) => argument !== "--beside" && all[at - 1] !== "--beside"), "--answer"], { cwd: directory, stdio: ["pipe", "pipe", "inherit"] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  await lines.next()
  return { measure: async () => { child.stdin.write("\n"); return JSON.parse((await lines.next()).value as string) as ReadonlyArray<Measured> }, close: () => child.stdin.end() }
})
const comparing = Effect.scoped(Effect.gen(function*() {
  const measures = yield* measuring, other = values.beside === undefined ? undefined : yield* openBeside(values.beside)
  const ours: Array<ReadonlyArray<Measured>> = [], theirs: Array<ReadonlyArray<Measured>> = []
  for (let round = 0; round < rounds; round++) {
    ours.push(yield* Effect.all(measures))
    if (other !== undefined) theirs.push(yield* Effect.promise(other.measure))
  }
  other?.close()
  const matrices = Model.tensors(model).filter(({ name }) => name !== "embedding").reduce((sum, { shape }) => sum + (shape.length === 1 ? 0 : length(shape)), 0), seen = { prompt: prompt * (prompt + 1) / 2, token: prompt + 1 }
  for (const [at, { window }] of ours[0]!.entries()) for (const kind of ["prompt", "token"] as const) {
    const needed = batch * (2 * matrices * (kind === "prompt" ? prompt : 1) + 2 * sizes.vocabulary * sizes.hidden + layers * 4 * sizes.heads * sizes.headSize * seen[kind])
    const line = (from: ReadonlyArray<ReadonlyArray<Measured>>) => {
      const { bytes, flops, passes } = from[0]![at]![kind]
      return `${passes} passes, ${(flops / 1e9).toFixed(2)} G operations, ${(bytes / 1e9).toFixed(3)} GB, ${median(from.map((round) => round[at]![kind].milliseconds)).toFixed(1)} ms`
    }
    console.log(`${kind === "prompt" ? `prompt of ${prompt}` : `token after ${prompt}`}, window ${window}, batch ${batch}: ${line(ours)}; needed ${(needed / 1e9).toFixed(2)} G`)
    if (other !== undefined) console.log(`    there: ${line(theirs)}; ${(median(theirs.map((round) => round[at]![kind].milliseconds)) / median(ours.map((round) => round[at]![kind].milliseconds))).toFixed(2)} × the time`)
  }
}))
await Effect.runPromise(values.answer ? answering : comparing)
