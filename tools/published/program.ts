// What somebody who installed the packages from npm writes: compiled strictly against the published types, then run.
import { Model, Random, Weights } from "@switchyard/core"
import { Diagnostics } from "@switchyard/eval"
import { Device, Op, Recording, Tensor } from "@switchyard/gpu"
import { Merge } from "@switchyard/merge"
import { LanguageModel, Router } from "@switchyard/routing"
import { Effect } from "effect"

const router = Router.topK({ active: 2 })
const model: Model.Model = {
  family: "llama", vocabulary: 260, hidden: 16, layers: 1, heads: 2, keyValueHeads: 2, headSize: 8, contextLength: 16, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, extra: {},
  feedForward: { kind: "mixture", inner: 24, experts: 3, active: 2, expert: { kind: "full" }, router, routerTensors: Router.tensors(router, { experts: 3, hidden: 16 }) }
}
const random = (seed: number): Weights.Weights => Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }) =>
  [name, { shape, data: Random.fillNormal(Random.make(seed, name), new Float32Array(shape.reduce((product, axis) => product * axis, 1)), { deviation: 0.1 }) }] as const)))

const program = Effect.gen(function*() {
  const device = yield* Device.Device, arena = yield* device.arena

  // a matrix product
  const a = Tensor.kept([2, 3]), b = Tensor.kept([2, 3])
  const product = Recording.record(() => Op.keep(Op.matmul(a, b, { transposeB: true })), { replicas: device.replicas })
  yield* arena.upload(a, Float32Array.of(1, 2, 3, 4, 5, 6))
  yield* arena.upload(b, Float32Array.of(1, 0, 1, 0, 1, 0))
  yield* arena.submit(product)

  // two tiny models become one
  const merged = yield* Merge.fold(Merge.linear(), { one: random(1), two: random(2) }, { weights: { one: 3 } })
  const [one, two, mean] = yield* Effect.all([random(1).read("norm"), random(2).read("norm"), merged.read("norm")])
  const mergeError = Math.max(...mean.map((value, at) => Math.abs(value - (3 * one[at]! + two[at]!) / 4)))

  // one batch is routed
  const self = yield* LanguageModel.make(model, { batch: 1, tokens: 16 })
  const ids = Tensor.kept([16], { dtype: "u32", sharded: true })
  const routed = Recording.record(() => {
    const [decision] = LanguageModel.forward(self, ids).decisions
    return { experts: Op.keep(decision!.experts, "experts", { sharded: true }), weights: Op.keep(decision!.weights, "weights", { sharded: true }) }
  }, { replicas: device.replicas })
  yield* LanguageModel.load(arena, self, merged)
  yield* arena.upload(ids, Uint32Array.from({ length: 16 * device.replicas }, (_, at) => 65 + at % 16))
  yield* arena.submit(routed)
  const weights = yield* arena.read(routed.outputs.weights)
  return {
    device: device.adapter, product: [...(yield* arena.read(product.outputs))], mergeError,
    experts: [...(yield* arena.read(routed.outputs.experts))].slice(0, 32), weightSums: Array.from({ length: 16 }, (_, row) => weights[2 * row]! + weights[2 * row + 1]!), diagnostics: typeof Diagnostics.layers
  }
})

const found = await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(Device.host({ workers: Number(process.argv[2] ?? 0) }))))
console.log(JSON.stringify(found))
