/**
 * Where a training step on the host spends its time, by kernel: the seed model, and mixtures of its size (8 experts of inner 384, 2 active) under a router
 * by token and one by prefix. One thread, so that shares are of one replica.
 *
 *   node --import tsx --conditions=@switchyard/source tools/bench/profile.ts [--steps 4]
 */
import { parseArgs } from "node:util"
import { Model, Random, Weights } from "@switchyard/core"
import { AdamW, Gradient, hostDevice, type HostStats, Op, Recording, Tensor } from "@switchyard/gpu"
import { LanguageModel, Router } from "@switchyard/routing"
import { Effect } from "effect"

const { values } = parseArgs({ options: { steps: { type: "string", default: "4" } } })
const steps = Number(values.steps), batch = 8, tokens = 256, rows = batch * tokens
const dense: Model.Model = {
  family: "llama", vocabulary: 260, hidden: 128, layers: 4, heads: 8, keyValueHeads: 8, headSize: 16, contextLength: 256, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true,
  feedForward: { kind: "dense", inner: 384 }, extra: {}
}
const mixture = (router: Router.Router): Model.Model =>
  ({ ...dense, family: "switchyard", feedForward: { kind: "mixture", inner: 384, experts: 8, active: 2, expert: { kind: "full" }, router, routerTensors: Router.tensors(router, { experts: 8, hidden: 128 }) } })
const models = { dense, "mixture by token": mixture(Router.topK({ active: 2 })), "mixture by prefix": mixture(Router.prefix({ active: 2 })) }
/** Small kernels beside the products: the first four run in their plain form on the host. */
const small = ["countingSort", "sortFew", "topK", "clipFactor", "prefixPool", "prefixPoolGradient"]

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const device = yield* hostDevice({ workers: 0, profile: true }), lines: Array<Record<string, string>> = []
  for (const [name, model] of Object.entries(models)) yield* Effect.scoped(Effect.gen(function*() {
    const arena = yield* device.arena, self = yield* LanguageModel.make(model, { batch, tokens })
    const numbers = (name: string, shape: ReadonlyArray<number>) => shape.length === 1 ? new Float32Array(Tensor.size(shape)).fill(1) : Random.fillNormal(Random.make(0, name), new Float32Array(Tensor.size(shape)), { deviation: 0.02 })
    yield* LanguageModel.load(arena, self, Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }) => [name, { shape, data: numbers(name, shape) }]))))
    const parameters = [...self.parameters.values()], state = AdamW.make(parameters, { clip: 1 })
    const ids = Tensor.kept([rows], { dtype: "u32" }), targets = Tensor.kept([rows], { dtype: "u32" })
    yield* arena.upload(ids, Uint32Array.from({ length: rows }, (_, at) => Random.below(Random.make(1, "ids"), at, 256)))
    yield* arena.upload(targets, Uint32Array.from({ length: rows }, (_, at) => Random.below(Random.make(1, "targets"), at, 256)))
    yield* arena.upload(state.hyper, AdamW.hyper({ learningRate: 1e-3 }, 1))
    const program = Recording.record(() => AdamW.update(state, Gradient.of(Op.sumAll(LanguageModel.lossOf(self, ids, targets).losses, 1 / rows), parameters)))
    for (let step = 0; step < steps; step++) yield* arena.submit(program)
    const { profile } = (yield* arena.stats) as HostStats, times = new Map<string, number>()
    for (const [label, { milliseconds }] of Object.entries(profile)) {
      const kernel = label.replace(/[ ,].*$/, "")
      times.set(kernel, (times.get(kernel) ?? 0) + milliseconds)
    }
    const total = [...times.values()].reduce((sum, time) => sum + time, 0), share = (names: ReadonlyArray<string>) => `${(100 * names.reduce((sum, name) => sum + (times.get(name) ?? 0), 0) / total).toFixed(2)} %`
    lines.push({ model: name, "ms a step": (total / steps).toFixed(0), products: share([...times.keys()].filter((name) => /atmul/.test(name))), ...Object.fromEntries(small.map((kernel) => [kernel, share([kernel])])) })
  }))
  console.table(lines)
})))
