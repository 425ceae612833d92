/**
 * The same work by others, where they are present: PyTorch's training step, generation by transformers and transformers.js, and matrix products by
 * onnxruntime-node's own WebGPU provider.
 */
import { Effect } from "effect"
import { execFile, spawn } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { type Ask, type Decoding, rivalCases } from "./decoding.ts"
import { type Case, clocked, type Failed, type Timing } from "./measure.ts"

const failed = (cause: unknown): Failed => ({ message: (cause instanceof Error ? cause.message : String(cause)).split("\n")[0]! })
const attempt = <A>(run: () => Promise<A>): Effect.Effect<A, Failed> => Effect.tryPromise({ try: run, catch: failed })

const inTools = (name: string): string => fileURLToPath(new URL(`../../../../tools/bench/${name}`, import.meta.url))
const script = inTools("training_step.py")
const execute = (program: string, args: ReadonlyArray<string>) => attempt(async () => (await promisify(execFile)(program, args)).stdout.trim())
/** A python3 that has this module, and the module's version. Tools put folders of their own in front of PATH, and the first python3 there need not be the one with it. */
const pythonWith = (module: string): Effect.Effect<{ readonly python: string; readonly version: string }, Failed> => Effect.suspend(() => {
  const pythons = [...new Set((process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "python3")).filter((path) => existsSync(path)))]
  const tried = pythons.map((python) => Effect.map(execute(python, ["-c", `import ${module}; print(${module}.__version__)`]), (version) => ({ python, version })))
  const missing: Failed = { message: `no python3 with ${module} is installed` }
  return tried.reduceRight((rest, first) => Effect.matchEffect(first, { onSuccess: Effect.succeed, onFailure: () => rest }), Effect.fail(missing) as typeof tried[number])
})
/** The training step in PyTorch on so many threads. By processor time one thread is the honest rival: more of them also burn it waiting for each other. Fails: this is no checkout of the repository, or Python has no torch. */
export const torch = (like: Pick<Case, "device" | "shape">, options: { readonly batch: number; readonly tokens: number; readonly threads: number; readonly steps: number }): Effect.Effect<Case, Failed> => Effect.gen(function*() {
  if (!existsSync(script)) return yield* Effect.fail({ message: "tools/bench/training_step.py is in the repository only" })
  const { python, version } = yield* pythonWith("torch")
  const { batch, steps, threads, tokens } = options
  return {
    name: threads > 1 ? "PyTorch training step" : "PyTorch training step, 1 thread", device: like.device, shape: like.shape, adapter: `PyTorch ${version}, ${threads} threads`, ...threads > 1 ? {} : { processor: {} },
    time: Effect.map(execute(python, [script, "--runs", "1", "--steps", String(steps), "--batch", String(batch), "--tokens", String(tokens), "--threads", String(threads)]), (printed): Timing => {
      const { tokensPerProcessorSecond, tokensPerSecond } = JSON.parse(printed.split("\n").at(-1)!) as { tokensPerSecond: number; tokensPerProcessorSecond: number }
      return { wall: 1000 * batch * tokens / tokensPerSecond, processor: 1000 * batch * tokens / tokensPerProcessorSecond }
    })
  }
})

// ---- generation
/** A program of tools/bench that says its version on a line, and then answers each line it gets by one of JSON. Lives as long as the scope. */
const conversation = (program: string, args: ReadonlyArray<string>) => Effect.gen(function*() {
  const child = yield* Effect.acquireRelease(Effect.sync(() => spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] })), (child) => Effect.sync(() => { child.stdin.end(); child.kill() }))
  let trouble = ""
  child.stderr.on("data", (text) => { trouble = `${trouble}${text}`.slice(-4000) })
  const ended = new Promise<never>((_, reject) => { child.on("error", reject); child.on("exit", (code) => reject(new Error(`${program} ended with ${code}: ${trouble.trim().split("\n").at(-1)}`))) })
  ended.catch(() => undefined) // told to whoever waits for an answer
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async (): Promise<unknown> => JSON.parse((await Promise.race([lines.next(), ended])).value as string)
  const { version } = (yield* attempt(next)) as { readonly version: string }
  return { version, ask: (question: object) => attempt(() => { child.stdin.write(`${JSON.stringify(question)}\n`); return next() }) }
})

/** The cases of generation in transformers, where a python3 has it. */
export const transformers = (decoding: Decoding, device: string, threads: number) => Effect.gen(function*() {
  const { python } = yield* pythonWith("transformers"), { model } = decoding
  if (model.feedForward.kind !== "dense") return yield* Effect.fail<Failed>({ message: "it has no mixture to compare" })
  const { headSize, heads, hidden, keyValueHeads, layers, vocabulary } = model
  const { ask, version } = yield* conversation(python, [inTools("decode.py"), JSON.stringify({ threads, sizes: { headSize, heads, hidden, keyValueHeads, layers, vocabulary, inner: model.feedForward.inner } })])
  return rivalCases(decoding, device, "transformers", version, (prompt, tokens) => ask({ prompt, tokens }) as ReturnType<Ask>)
})

/** Names the folder where @huggingface/transformers is installed and tools/bench/decode_onnx.py has written its model. */
export const transformersJsVariable = "SWITCHYARD_TRANSFORMERS_JS"
/** The cases of generation in transformers.js, of the full size alone. */
export const transformersJs = (decoding: Decoding, device: string, threads: number) => Effect.gen(function*() {
  const folder = process.env[transformersJsVariable]
  if (folder === undefined) return yield* Effect.fail<Failed>({ message: `${transformersJsVariable} names no folder with it` })
  if (!existsSync(join(folder, "model", "onnx", "model.onnx"))) return yield* Effect.fail<Failed>({ message: `python3 tools/bench/decode_onnx.py ${folder} has not written its model yet` })
  const { ask, version } = yield* conversation(process.execPath, [inTools("decode_transformers_js.mjs"), JSON.stringify({ folder, threads })])
  return rivalCases(decoding, device, "transformers.js", version, (prompt, tokens) => ask({ prompt, tokens }) as ReturnType<Ask>)
})

// ---- onnxruntime-node's WebGPU provider
type Bytes = ReadonlyArray<number>
const varint = (value: number): Bytes => value < 128 ? [value] : [value % 128 + 128, ...varint(Math.floor(value / 128))]
const whole = (field: number, value: number): Bytes => [...varint(field * 8), ...varint(value)]
const nested = (field: number, bytes: Bytes): Bytes => [...varint(field * 8 + 2), ...varint(bytes.length), ...bytes]
const text = (field: number, value: string): Bytes => nested(field, [...new TextEncoder().encode(value)])
const matrix = (name: string, axes: ReadonlyArray<string>): Bytes => [...text(1, name), ...nested(2, nested(1, [...whole(1, 1), ...nested(2, axes.flatMap((axis) => nested(1, text(2, axis))))]))]
/** y = a b as an ONNX model (onnx.proto3), its axes free. */
export const productModel: Uint8Array = Uint8Array.from([
  ...whole(1, 8), ...nested(8, [...text(1, ""), ...whole(2, 13)]),
  ...nested(7, [...nested(1, [...text(1, "a"), ...text(1, "b"), ...text(2, "y"), ...text(4, "MatMul")]), ...text(2, "product"), ...nested(11, matrix("a", ["m", "k"])), ...nested(11, matrix("b", ["k", "n"])), ...nested(12, matrix("y", ["m", "n"]))])
])

interface OnnxTensor { readonly data: Float32Array }
interface Onnx {
  readonly InferenceSession: { readonly create: (model: Uint8Array, options: object) => Promise<{ readonly run: (feeds: Record<string, OnnxTensor>) => Promise<{ readonly y: OnnxTensor }> }> }
  readonly Tensor: new(type: "float32", data: Float32Array, axes: ReadonlyArray<number>) => OnnxTensor
}
/** Where the software device has put SwiftShader's driver: it is asked for by these variables, which the provider reads when it starts. */
const driver = (): string | undefined => {
  const require = createRequire(import.meta.url)
  const modules = (() => { try { return dirname(require.resolve("@sparticuz/chromium")).replace(/([\\/]node_modules)[\\/](?!.*[\\/]node_modules[\\/]).*$/, "$1") } catch { return undefined } })()
  for (const folder of [...modules === undefined ? [] : [join(modules, ".cache", "switchyard")], join(tmpdir(), `switchyard-${process.getuid?.() ?? "user"}`)]) {
    const found = existsSync(folder) ? readdirSync(folder).find((name) => name.startsWith("swiftshader-") && existsSync(join(folder, name, "vk_swiftshader_icd.json"))) : undefined
    if (found !== undefined) return join(folder, found, "vk_swiftshader_icd.json")
  }
  return undefined
}

/** The product by the provider, transfers included, on the driver of the software device, which must have been opened. `check` is given its result. */
export const onnxWebgpu = (like: Pick<Case, "device" | "shape">, given: { readonly rows: number; readonly left: Float32Array; readonly right: Float32Array; readonly expected: ArrayLike<number> }): Effect.Effect<Case, Failed> => attempt(async () => {
  const found = driver()
  if (found === undefined) throw new Error("SwiftShader's driver file was not found")
  const { InferenceSession, Tensor } = createRequire(import.meta.url)("onnxruntime-node") as Onnx
  const names = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"], before = names.map((name) => process.env[name])
  for (const name of names) process.env[name] = found
  const { expected, left, right, rows } = given, axes = [rows, rows]
  try {
    const session = await InferenceSession.create(productModel, { executionProviders: ["webgpu"], logSeverityLevel: 3 })
    const run = async () => (await session.run({ a: new Tensor("float32", left, axes), b: new Tensor("float32", right, axes) })).y.data
    const apart = (await run()).reduce((most, value, at) => Math.max(most, Math.abs(value - expected[at]!)), 0)
    if (!(apart < 1e-3 * Math.sqrt(rows))) throw new Error(`its product differs from ours by ${apart}`)
    return { name: "onnxruntime WebGPU product", device: like.device, shape: like.shape, adapter: "onnxruntime-node, WebGPU provider", time: clocked(attempt(run)) }
  } finally {
    names.forEach((name, at) => { if (before[at] === undefined) delete process.env[name]; else process.env[name] = before[at] })
  }
})
