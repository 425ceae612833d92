/**
 * The same work by others, where they are present: PyTorch's training step, and matrix products by onnxruntime-node's own WebGPU provider.
 */
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { type Case, clocked, type Failed, type Timing } from "./measure.ts"

const failed = (cause: unknown): Failed => ({ message: (cause instanceof Error ? cause.message : String(cause)).split("\n")[0]! })
const attempt = <A>(run: () => Promise<A>): Effect.Effect<A, Failed> => Effect.tryPromise({ try: run, catch: failed })

const script = fileURLToPath(new URL("../../../../tools/bench/training_step.py", import.meta.url))
/** The training step in PyTorch on so many threads. By processor time one thread is the honest rival: more of them also burn it waiting for each other. Fails: this is no checkout of the repository, or Python has no torch. */
export const torch = (like: Pick<Case, "device" | "shape">, options: { readonly batch: number; readonly tokens: number; readonly threads: number; readonly steps: number }): Effect.Effect<Case, Failed> => Effect.gen(function*() {
  if (!existsSync(script)) return yield* Effect.fail({ message: "tools/bench/training_step.py is in the repository only" })
  const run = (python: string, args: ReadonlyArray<string>) => attempt(async () => (await promisify(execFile)(python, args)).stdout.trim())
  // tools put folders of their own in front of PATH, and the first python3 there need not be the one with torch
  const pythons = [...new Set((process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "python3")).filter((path) => existsSync(path)))]
  const tried = pythons.map((python) => Effect.map(run(python, ["-c", "import torch; print(torch.__version__)"]), (version) => ({ python, version })))
  const missing: Failed = { message: "no python3 with torch is installed" }
  const { python, version } = yield* tried.reduceRight((rest, first) => Effect.matchEffect(first, { onSuccess: Effect.succeed, onFailure: () => rest }), Effect.fail(missing) as typeof tried[number])
  const { batch, steps, threads, tokens } = options
  return {
    name: threads > 1 ? "PyTorch training step" : "PyTorch training step, 1 thread", device: like.device, shape: like.shape, adapter: `PyTorch ${version}, ${threads} threads`, ...threads > 1 ? {} : { processor: {} },
    time: Effect.map(run(python, [script, "--runs", "1", "--steps", String(steps), "--batch", String(batch), "--tokens", String(tokens), "--threads", String(threads)]), (printed): Timing => {
      const { tokensPerProcessorSecond, tokensPerSecond } = JSON.parse(printed.split("\n").at(-1)!) as { tokensPerSecond: number; tokensPerProcessorSecond: number }
      return { wall: 1000 * batch * tokens / tokensPerSecond, processor: 1000 * batch * tokens / tokensPerProcessorSecond }
    })
  }
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
