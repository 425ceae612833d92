/**
 * What the host device's kernels cost in one thread, by processor time (which other programs on the machine disturb least): GF/s of
 * matrix products at training's shapes, nanoseconds per element of the rest, and from which size on the library beats the SIMD module.
 *
 *   node --import tsx --conditions=@switchyard/source tools/bench/host.ts [--only REGEXP] [--plain]
 */
import { parseArgs } from "node:util"
import { hostDevice, kernels, Recording, Tensor } from "@switchyard/gpu"
import { Effect } from "effect"

const { values } = parseArgs({ options: { only: { type: "string", default: "." }, plain: { type: "boolean", default: false } } })
interface Bench { readonly kernel: string; readonly lengths: Readonly<Record<string, number>>; readonly params: Readonly<Record<string, number>>; readonly elements?: number }

const product = (kernel: string, batch: number, rows: number, columns: number, inner: number): Bench => ({
  kernel, lengths: { a: batch * rows * inner, b: batch * columns * inner, out: batch * rows * columns },
  params: { batch, rows, columns, inner, strideA: rows * inner, strideB: columns * inner, alpha: 1, accumulate: 0 }
})
const rows = 2048, wide = 384, hidden = 128, scores = 16 * 256
const benches: ReadonlyArray<Bench> = [
  product("matmulNT", 1, rows, wide, hidden), product("matmulNT", 1, rows, hidden, wide), product("matmulNT", 1, rows, hidden, hidden), product("matmulNT", 1, rows, 260, hidden),
  product("matmulNN", 1, rows, hidden, wide), product("matmulNN", 1, rows, wide, hidden), product("matmulTN", 1, wide, hidden, rows), product("matmulTN", 1, hidden, hidden, rows),
  product("matmulNT", 64, 256, 256, 16), product("matmulNN", 64, 256, 16, 256), product("matmulTN", 64, 256, 16, 256),
  product("matmulNT", 4, 256, 256, 16), product("matmulNN", 4, 256, 16, 256), product("matmulTN", 4, 256, 16, 256),
  ...[16, 32, 48, 64].flatMap((n) => ["matmulNT", "matmulNN", "matmulTN"].map((kernel) => product(kernel, 1, n, n, n))),
  ...[8, 16, 32].flatMap((n) => ["matmulNT", "matmulNN", "matmulTN"].map((kernel) => product(kernel, 1, 256, n, n))),
  ...["add", "multiply"].map((kernel) => ({ kernel, lengths: { a: rows * hidden, b: rows * hidden, out: rows * hidden }, params: { count: rows * hidden, scale: 1 } })),
  { kernel: "affine", lengths: { x: rows * hidden, out: rows * hidden }, params: { count: rows * hidden, scale: 2, shift: 1 } },
  { kernel: "swiglu", lengths: { gate: rows * wide, up: rows * wide, out: rows * wide }, params: { count: rows * wide } },
  { kernel: "swigluGradient", lengths: { gate: rows * wide, up: rows * wide, gradient: rows * wide, gateGradient: rows * wide, upGradient: rows * wide }, params: { count: rows * wide } },
  { kernel: "map", lengths: { x: rows * hidden, out: rows * hidden }, params: { count: rows * hidden, mode: 0 } },
  { kernel: "rmsNorm", lengths: { x: rows * hidden, gain: hidden, out: rows * hidden, inverse: rows }, params: { rows, columns: hidden, epsilon: 1e-5 } },
  { kernel: "rmsNormGradient", lengths: { x: rows * hidden, gain: hidden, inverse: rows, gradient: rows * hidden, out: rows * hidden }, params: { rows, columns: hidden } },
  { kernel: "rmsNormGainGradient", lengths: { x: rows * hidden, inverse: rows, gradient: rows * hidden, out: hidden }, params: { rows, columns: hidden } },
  { kernel: "rope", lengths: { x: rows * hidden, positions: rows, cosines: 256 * 8, sines: 256 * 8, out: rows * hidden }, params: { count: rows * hidden / 2, heads: 8, headSize: 16, direction: 1 } },
  { kernel: "permute", lengths: { x: rows * hidden, out: rows * hidden }, params: { count: rows * hidden, b: 256, c: 8, d: 16 } },
  ...[2048, scores, scores * 4].map((many) => ({ kernel: "causalSoftmax", lengths: { x: many * 256, out: many * 256 }, params: { rows: many, columns: 256, queries: 256, offset: 0, window: 0, scale: 0.25 } })),
  ...[2048, scores * 4].map((many) => ({ kernel: "softmaxGradient", lengths: { probability: many * 256, gradient: many * 256, out: many * 256 }, params: { rows: many, columns: 256, scale: 0.25 } })),
  { kernel: "softmax", lengths: { x: rows * 256, out: rows * 256 }, params: { rows, columns: 256, scale: 1 } },
  { kernel: "crossEntropy", lengths: { logits: rows * 260, targets: rows, loss: rows, logNormalizer: rows }, params: { rows, columns: 260 }, elements: rows * 260 },
  { kernel: "crossEntropyGradient", lengths: { logits: rows * 260, targets: rows, logNormalizer: rows, gradient: rows, out: rows * 260 }, params: { rows, columns: 260 } },
  { kernel: "adamw", lengths: { parameter: 49152, first: 49152, second: 49152, gradient: 49152, hyper: 7, clip: 2 }, params: { count: 49152, decays: 1 } },
  { kernel: "sumSquares", lengths: { x: 49152, out: 4 }, params: { count: 49152, at: 0 } },
  { kernel: "gather", lengths: { table: 260 * hidden, ids: rows, out: rows * hidden }, params: { count: rows * hidden, columns: hidden, divisor: 1 } }
]

const main = Effect.gen(function*() {
  const device = yield* hostDevice({ workers: 0, onnxRuntime: !values.plain })
  console.log(device.adapter)
  for (const bench of benches.filter(({ kernel }) => new RegExp(values.only).test(kernel))) {
    yield* Effect.scoped(Effect.gen(function*() {
      const arena = yield* device.arena, kernel = kernels.get(bench.kernel)!
      const tensors = Object.fromEntries(Object.entries(bench.lengths).map(([name, length]) => [name, Tensor.kept([length], { dtype: kernel.bindings[name].dtype })]))
      for (const tensor of Object.values(tensors)) if (tensor.dtype === "f32") yield* arena.upload(tensor, Float32Array.from({ length: tensor.slot.length }, (_, i) => 0.5 + Math.sin(i) / 3))
      const program = (repetitions: number) => Recording.record(() => { for (let i = 0; i < repetitions; i++) Recording.step(kernel, tensors, bench.params) })
      const time = Effect.fn(function*(repetitions: number) {
        const steps = program(repetitions)
        yield* arena.submit(steps)
        const begin = process.cpuUsage()
        yield* arena.submit(steps)
        const { system, user } = process.cpuUsage(begin)
        return (user + system) / 1000 / repetitions
      })
      const once = yield* time(3), repetitions = Math.max(3, Math.min(2000, Math.ceil(30 / Math.max(once, 0.001))))
      const times: Array<number> = []
      for (let i = 0; i < 5; i++) times.push(yield* time(repetitions))
      const best = times.sort((a, b) => a - b)[2]!
      const last = Object.keys(kernel.bindings).at(-1)!, elements = bench.elements ?? bench.lengths[bench.kernel === "adamw" ? "parameter" : bench.kernel === "sumSquares" || bench.kernel === "rmsNormGainGradient" ? "x" : last]!
      const measure = "inner" in bench.params ? `${(kernel.flops(bench.params) / best / 1e6).toFixed(1).padStart(7)} GF/s` : `${(best * 1e6 / elements).toFixed(3).padStart(7)} ns/element`
      console.log(`${measure.padEnd(20)} ${best.toFixed(4).padStart(9)} ms  ${bench.kernel} ${Object.entries(bench.params).filter(([name]) => !/stride|alpha|accumulate/.test(name)).map(([name, value]) => `${name} ${value}`).join(" ")}`)
    }))
  }
})
await Effect.runPromise(Effect.scoped(main))
