/**
 * Generation on the host device: a random Llama of SmolLM2-135M's sizes, milliseconds of a prompt and of each token after it, beside the floor (every weight read once at the speed
 * at which a product of one row reads a large matrix) and beside transformers on the processor, where python3 has it. Ours and theirs take turns. With --products, the two ways of a product of few rows; with --profile, where a prompt and a token spend their time on the
 * first worker (--workers 0: on the only thread). With --storage, ours with its matrices stored in fewer bytes (Storage.ts), the floor by those bytes; theirs stay f32.
 *
 *   node --import tsx --conditions=@switchyard/source tools/bench/decode.ts [--rounds 5] [--prompt 128] [--tokens 16] [--workers 2] [--storage bf16] [--products | --profile]
 */
import { Checkpoint, Model, Random, Tokenizer, Weights } from "@switchyard/core"
import { Device, hostDevice, type HostStats, Op, Recording, Storage, Tensor } from "@switchyard/gpu"
import { Generation } from "@switchyard/routing"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { availableParallelism } from "node:os"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"

const { values } = parseArgs({ options: { rounds: { type: "string", default: "5" }, prompt: { type: "string", default: "128" }, tokens: { type: "string", default: "16" }, workers: { type: "string", default: String(availableParallelism()) }, storage: { type: "string" }, products: { type: "boolean", default: false }, profile: { type: "boolean", default: false } } })
const rounds = Number(values.rounds), prompt = Number(values.prompt), tokens = Number(values.tokens), workers = Number(values.workers), { storage } = values
if (storage !== undefined && !Storage.isStorage(storage)) throw new Error(`--storage ${storage} is none of ${Storage.storages.join(", ")}`)
const options = { window: 1024, storage }
const sizes = { vocabulary: 49_152, hidden: 576, layers: 30, heads: 9, keyValueHeads: 3, headSize: 64, inner: 1536 } as const
const model: Model.Model = { family: "llama", ...sizes, contextLength: 2048, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, feedForward: { kind: "dense", inner: sizes.inner }, extra: {} }
const length = (shape: ReadonlyArray<number>) => shape.reduce((product, axis) => product * axis, 1)
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.suspend(() => { const began = performance.now(); return Effect.map(effect, () => performance.now() - began) })
const median = (all: ReadonlyArray<number>): number => [...all].sort((a, b) => a - b)[all.length >> 1]!
const show = (name: string, all: ReadonlyArray<number>, per = 1) => console.log(`${name.padEnd(44)} least ${Math.min(...all).toFixed(1)} ms, median ${median(all).toFixed(1)} ms${per > 1 ? ` (${(1000 * per / median(all)).toFixed(0)} tokens a second)` : ""}`)

/** Milliseconds of x weightᵀ over matrices that no cache holds. */
const product = (arena: Device.Arena, rows: number, columns: number, inner: number, count: number, replicas: number) => Effect.gen(function*() {
  const x = Tensor.kept([rows, inner]), weights = Array.from({ length: count }, () => Tensor.kept([columns, inner]))
  for (const weight of weights) yield* arena.upload(weight, new Float32Array(columns * inner).fill(0.5))
  const program = Recording.record(() => weights.map((weight) => Op.keep(Op.linear(x, weight))), { replicas }), times: Array<number> = []
  for (let run = 0; run <= 4; run++) times.push(yield* timed(arena.submit(program)))
  yield* arena.free([x, ...weights, ...program.outputs])
  return Math.min(...times.slice(1))
})

/** transformers in a process of its own, which measures when asked; undefined where there is none. */
const rival = Effect.promise(async () => {
  const child = spawn("python3", [fileURLToPath(new URL("./decode.py", import.meta.url)), JSON.stringify({ threads: Math.max(1, workers), sizes })], { stdio: ["pipe", "pipe", "ignore"] })
  const ended = new Promise<undefined>((resolve) => { child.on("error", () => resolve(undefined)); child.on("exit", () => resolve(undefined)) })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator](), next = () => Promise.race([lines.next().then(({ value }) => value as string | undefined), ended])
  const hello = await next()
  if (hello === undefined) return undefined
  const measure = async () => { child.stdin.write(`${JSON.stringify({ prompt, tokens })}\n`); return JSON.parse((await next())!) as { readonly prompt: number; readonly tokens: ReadonlyArray<number> } }
  return { version: (JSON.parse(hello) as { readonly version: string }).version, measure, close: () => child.stdin.end() }
})

const products = Effect.scoped(Effect.gen(function*() {
  for (const onnxRuntime of [false, true]) {
    const arena = yield* (yield* hostDevice({ workers: 0, onnxRuntime })).arena
    for (const [columns, inner] of [[1536, 576], [576, 1536]] as const) for (const rows of [1, 2, 4, 8]) {
      const least = yield* product(arena, rows, columns, inner, 30, 1)
      console.log(`${rows} rows × [${columns}, ${inner}] ${onnxRuntime && rows > 4 ? "by the library" : "by SIMD kernels"}`.padEnd(44), `${(30 * 4 * columns * inner / least / 1e6).toFixed(1)} GB of weights a second`)
    }
  }
}))

const randomWeights = () => Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) => [name, { shape, data: shape.length === 1 ? new Float32Array(length(shape)).fill(1) : Random.fillNormal(Random.make(1, name), new Float32Array(length(shape)), { deviation: 0.02 }) }])))
const decoding = Effect.scoped(Effect.gen(function*() {
  const device = yield* hostDevice({ workers }), generator = yield* Effect.provideService(Generation.open(Checkpoint.make({ model, weights: randomWeights(), tokenizer: Tokenizer.bytes() }), options), Device.Device, Device.Device.of(device))
  const other = yield* rival, ours = { prompt: [] as Array<number>, tokens: [] as Array<number> }, theirs = { prompt: [] as Array<number>, tokens: [] as Array<number> }
  const fresh = { row: 0, ids: Array.from({ length: prompt }, (_, at) => at % sizes.vocabulary), fresh: true }
  yield* generator.advance([fresh]) // records and compiles
  yield* generator.advance([{ row: 0, ids: [1], fresh: false }])
  const reading: Array<number> = [], arena = yield* device.arena
  for (let round = 0; round < rounds; round++) {
    reading.push(yield* product(arena, 1, 49_152, 576, 2, device.replicas))
    ours.prompt.push(yield* timed(generator.advance([fresh])))
    for (let token = 0; token < tokens; token++) ours.tokens.push(yield* timed(generator.advance([{ row: 0, ids: [token], fresh: false }])))
    if (other !== undefined) {
      const measured = yield* Effect.promise(other.measure)
      if (round > 0) { theirs.prompt.push(measured.prompt); theirs.tokens.push(...measured.tokens) } // its first round warms it
    }
  }
  other?.close()
  const read = 2 * 4 * 49_152 * 576 * Math.max(1, device.replicas) // every replica reads all of it here
  const bytes = 4 * (storage === undefined ? Model.parameters(model) : Storage.words(storage, Model.parameters(model))), floor = bytes / (read / Math.min(...reading))
  console.log(`${Model.parameters(model) / 1e6 | 0} M parameters, ${storage ?? "f32"}; ${device.adapter}; ${rounds} rounds`)
  show(`prompt of ${prompt}, ours`, ours.prompt, prompt)
  show("a token, ours", ours.tokens)
  console.log(`${"a token, floor: weights read once".padEnd(44)} ${floor.toFixed(1)} ms (${(read / Math.min(...reading) / 1e6).toFixed(1)} GB a second)`)
  if (other === undefined) { console.log("python3 with transformers is not installed: no comparison"); return }
  show(`prompt of ${prompt}, ${other.version}`, theirs.prompt, prompt)
  show("a token, transformers", theirs.tokens)
  console.log(`ratio (theirs / ours, of medians): prompt ${(median(theirs.prompt) / median(ours.prompt)).toFixed(2)}, token ${(median(theirs.tokens) / median(ours.tokens)).toFixed(2)}; of the least: prompt ${(Math.min(...theirs.prompt) / Math.min(...ours.prompt)).toFixed(2)}, token ${(Math.min(...theirs.tokens) / Math.min(...ours.tokens)).toFixed(2)}`)
}))
/** By kernel, matrix products by shape, the mean of the rounds after the first. */
const profile = Effect.scoped(Effect.gen(function*() {
  const device = yield* hostDevice({ workers, profile: true }), arena = yield* device.arena
  const generator = yield* Effect.provideService(Generation.open(Checkpoint.make({ model, weights: randomWeights(), tokenizer: Tokenizer.bytes() }), options), Device.Device, Device.Device.of({ ...device, arena: Effect.succeed(arena) }))
  const spent = Effect.map(arena.stats, (stats) => (stats as HostStats).profile)
  for (const [name, advance] of [[`prompt of ${prompt}`, { row: 0, ids: Array.from({ length: prompt }, (_, at) => at % sizes.vocabulary), fresh: true }], ["a token", { row: 0, ids: [1], fresh: false }]] as const) {
    yield* generator.advance([advance])
    const before = yield* spent, wall: Array<number> = []
    for (let round = 0; round < rounds; round++) wall.push(yield* timed(generator.advance([advance])))
    const lines = Object.entries(yield* spent).map(([label, { milliseconds }]) => ({ label, each: (milliseconds - (before[label]?.milliseconds ?? 0)) / rounds })).sort((a, b) => b.each - a.each)
    const total = lines.reduce((sum, { each }) => sum + each, 0)
    show(name, wall)
    for (const { each, label } of lines) if (each > 0.005 * total) console.log(`${(100 * each / total).toFixed(1).padStart(6)} % ${each.toFixed(2).padStart(8)} ms  ${label}`)
  }
}))
await Effect.runPromise(values.profile ? profile : values.products ? products : decoding)
