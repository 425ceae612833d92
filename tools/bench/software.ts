/**
 * Matrix products on SwiftShader: this executor against onnxruntime-node's own WebGPU provider on the same driver, both with the operands
 * written and the result read back each time. Medians of interleaved runs with their quartiles, by wall clock and by processor time.
 *
 *   node --import tsx --conditions=@switchyard/source tools/bench/software.ts [--runs 7]
 */
import { createRequire } from "node:module"
import { parseArgs } from "node:util"
import { Recording, Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import { onnxModel } from "../../packages/gpu/src/host/onnxModel.ts"
import { kernels } from "../../packages/gpu/src/kernels.ts"
import { openSoftware } from "../../packages/gpu/src/webgpu/software.ts"
import { swiftshaderFolder, withSwiftshader } from "../../packages/gpu/src/webgpu/swiftshader.ts"

const { values } = parseArgs({ options: { runs: { type: "string", default: "7" } } })
const runs = Number(values.runs)
const shapes = [[512, 576, 1536], [2048, 384, 128], [2048, 128, 384], [128, 384, 2048], [256, 256, 256]] as const // rows, columns, inner
const layouts = { NN: [false, false], NT: [false, true], TN: [true, false] } as const

interface Sample { readonly wall: number; readonly cpu: number }
const measure = async (run: () => Promise<unknown>): Promise<Sample> => {
  const cpu = process.cpuUsage(), start = performance.now()
  await run()
  const { system, user } = process.cpuUsage(cpu)
  return { wall: performance.now() - start, cpu: (user + system) / 1000 }
}
const quantile = (numbers: ReadonlyArray<number>, at: number): number => numbers.toSorted((a, b) => a - b)[Math.round(at * (numbers.length - 1))]!
/** GF/s: median, and the quartiles in brackets. */
const rate = (operations: number, milliseconds: ReadonlyArray<number>): string => {
  const [middle, low, high] = [0.5, 0.75, 0.25].map((at) => (operations / quantile(milliseconds, at) / 1e6).toFixed(2))
  return `${middle} [${low}–${high}]`
}

interface OnnxTensor { readonly dims: ReadonlyArray<number>; readonly data: Float32Array }
interface Onnx {
  readonly InferenceSession: { readonly create: (model: Uint8Array, options: object) => Promise<{ readonly run: (feeds: Record<string, OnnxTensor>) => Promise<{ readonly y: OnnxTensor }> }> }
  readonly Tensor: new(type: "float32", data: Float32Array, dims: ReadonlyArray<number>) => OnnxTensor
}
const onnx = createRequire(import.meta.url)("onnxruntime-node") as Onnx

const bench = Effect.gen(function*() {
  const { service } = yield* openSoftware()
  const arena = yield* service.arena
  const folder = yield* Effect.promise(() => swiftshaderFolder())
  console.log(`${service.adapter}; GF/s with transfers: median of ${runs} [quartiles]`)
  const lines: Array<Record<string, string>> = []
  for (const [layout, [transposeA, transposeB]] of Object.entries(layouts)) for (const [rows, columns, inner] of shapes) {
    const numbers = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i))
    const left = numbers(rows * inner), right = numbers(columns * inner)
    const a = Tensor.kept([rows * inner]), b = Tensor.kept([columns * inner]), out = Tensor.kept([rows * columns])
    const program = Recording.record(() => { Recording.step(kernels.get(`matmul${layout}`)!, { a, b, out }, { batch: 1, rows, columns, inner, strideA: 0, strideB: 0, alpha: 1, accumulate: 0 }) })
    const ours = () => Effect.runPromise(Effect.gen(function*() {
      yield* arena.upload(a, left)
      yield* arena.upload(b, right)
      yield* arena.submit(program)
      return yield* arena.read(out)
    }))
    const model = onnxModel({ operator: "Gemm", transposeA, transposeB, alpha: 1, accumulate: false })
    const session = yield* Effect.promise(() => withSwiftshader(folder, () => onnx.InferenceSession.create(model, { executionProviders: ["webgpu"], logSeverityLevel: 3 })))
    const theirs = () => session.run({
      a: new onnx.Tensor("float32", left, transposeA ? [inner, rows] : [rows, inner]),
      b: new onnx.Tensor("float32", right, transposeB ? [columns, inner] : [inner, columns])
    })
    // the first run of each compiles; it also shows that both compute the same
    const [mine, other] = yield* Effect.promise(async () => [await ours(), (await theirs()).y.data] as const)
    const apart = (mine as Float32Array).reduce((most, x, i) => Math.max(most, Math.abs(x - other[i]!)), 0)
    if (!(apart < 1e-3 * Math.sqrt(inner))) throw new Error(`${layout} ${rows}×${columns}×${inner}: the two differ by ${apart}`)
    const samples = { ours: [] as Array<Sample>, theirs: [] as Array<Sample> }
    for (let run = 0; run < runs; run++) {
      samples.ours.push(yield* Effect.promise(() => measure(ours)))
      samples.theirs.push(yield* Effect.promise(() => measure(theirs)))
    }
    const operations = 2 * rows * columns * inner, of = (who: keyof typeof samples, what: keyof Sample) => samples[who].map((sample) => sample[what])
    lines.push({
      product: `${layout} ${rows}×${columns}×${inner}`, ours: rate(operations, of("ours", "wall")), onnxruntime: rate(operations, of("theirs", "wall")),
      ratio: (quantile(of("theirs", "wall"), 0.5) / quantile(of("ours", "wall"), 0.5)).toFixed(1),
      "ours per cpu-s": rate(operations, of("ours", "cpu")), "onnxruntime per cpu-s": rate(operations, of("theirs", "cpu"))
    })
    yield* arena.free([a, b, out])
  }
  console.table(lines)
})
await Effect.runPromise(Effect.scoped(bench))
