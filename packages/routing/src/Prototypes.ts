/**
 * Fitting the centroids of a router by distance: no gradient, one pass over each expert's own text.
 *
 * The centroid of an expert in a layer is the mean of what the router reads there (the normalised state before the feed-forward, pooled as the
 * router's unit says) while the expert alone runs its domain's text: what the router meets when it routes as it should. The deviation of a whitened
 * metric is that within domains, coordinate by coordinate. Papers: Snell et al., "Prototypical Networks", 2017; Gururangan et al., "c-BTM", 2023.
 */
import { Checkpoint, Corpus, Stage, Weights } from "@switchyard/core"
import { Device, Op, Recording, Tensor } from "@switchyard/gpu"
import { Effect, Option, Schema } from "effect"
import { expertsOf } from "./expertsOf.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as Router from "./Router.ts"
import { TrainingError } from "./Training.ts"

const count = Schema.Int.check(Schema.isGreaterThan(0))
const Options = Schema.Struct({
  split: Schema.Literals(["train", "choose"]).pipe(Stage.byDefault("train")),
  tokens: count.pipe(Stage.byDefault(16384)),
  batch: count.pipe(Stage.byDefault(8)),
  window: Schema.optionalKey(count),
  labels: Schema.optionalKey(Schema.Record(Schema.String, Schema.Int))
})
type Options = typeof Options.Type
type Model = Checkpoint.Checkpoint<"mixture">["model"]

/** The mixture with one expert forced, and the moments of what its router reads: sums of x and x² over the rows whose `counts` is one, by layer. */
const programOf = (self: LanguageModel.LanguageModel, unit: Router.Unit, inputs: { readonly ids: Tensor.Tensor; readonly counts: Tensor.Tensor }, replicas: number) => Recording.record(() => {
  const { batch, model: { hidden }, tokens } = self, moments: Array<{ readonly sums: Tensor.Tensor; readonly squares: Tensor.Tensor }> = []
  const pooled = (x: Tensor.Tensor): Tensor.Tensor => unit.of === "token" ? x
    : Op.view(Op.prefixPool(Op.view(x, [batch, tokens, hidden]), { mean: true, decay: unit.pool === "decay" ? unit.decay : 1 }), [batch * tokens, hidden]) // [rows, hidden]
  LanguageModel.forward(self, inputs.ids, { tap: (point, layer, x) => {
    if (point !== "feedForward.input") return
    const state = pooled(x), total = (rows: Tensor.Tensor) => Op.keep(Op.sumRows(Op.scaleRows(rows, inputs.counts)), `moment of layer ${layer}`) // [hidden]
    moments[layer] = { sums: total(state), squares: total(Op.multiply(state, state)) }
  } })
  Recording.sumReplicas(moments.flatMap(({ squares, sums }) => [sums, squares]))
  return moments
}, { replicas })

const prepare = (model: Model, options: Options, replicas: number) => Effect.gen(function*() {
  const tokens = Math.min(options.window ?? 256, model.contextLength), batch = Math.ceil(options.batch / replicas)
  const self = yield* LanguageModel.make(model, { batch, tokens })
  const router = self.router!
  if (router.score.by !== "distance") return yield* new TrainingError({ option: "router", problem: `the mixture's router scores by ${router.score.by}, not by distance`, remedy: "upcycle with Router.prototypes, or train the router with Finetune.train" })
  return { self, router, ids: Tensor.kept([batch * tokens], { dtype: "u32", sharded: true, label: "ids" }), counts: Tensor.kept([batch * tokens], { sharded: true, label: "counts" }) }
})

/**
 * Stage: the mixture with fitted centroids (and deviation, where the metric is whitened); everything else keeps its bits.
 *
 * Options: `split` of the texts; `tokens` read of each; `batch`, `window` as they run; `labels`: domain → expert, left out as the upcycle recorded it.
 * Fails: TrainingError when the router is not by distance or an expert has no text; CorpusError; the device's failures.
 */
export const fit = Stage.make("prototypes/fit", {
  version: 1,
  inputs: [Stage.one("mixture", Checkpoint.Mixture), Stage.record("texts", Corpus.Artifact)],
  options: Options,
  output: Checkpoint.Mixture,
  *describe({ mixture: { key: _key, ...header }, texts }, options) {
    const replicas = Option.match(yield* Effect.serviceOption(Device.Device), { onNone: () => 1, onSome: (device) => device.replicas })
    const { router, self, ...inputs } = yield* prepare(header.model as Model, options, replicas)
    const program = programOf(yield* LanguageModel.withRouter(self, Router.fixed([0])), router.unit, inputs, replicas)
    const { deviceBytes, flops, largestBuffer } = yield* Device.planned(program), submissions = Object.keys(texts).length * Math.ceil(options.tokens / (self.tokens * self.batch * replicas))
    return { header, cost: { flops: flops * submissions, deviceBytes, largestBuffer } }
  },
  *run({ mixture, texts }, options, context) {
    const device = yield* Device.Device
    const { counts, ids, router, self } = yield* prepare(mixture.model, options, device.replicas)
    const names = Object.keys(texts).sort(), experts = yield* expertsOf(mixture, names, options.labels)
    const form = mixture.model.feedForward, { hidden, layers } = mixture.model, all = form.kind === "mixture" ? form.experts : 0
    const lacking = Array.from({ length: all }, (_, expert) => expert).filter((expert) => !experts.includes(expert))
    if (lacking.length > 0) return yield* new TrainingError({ option: "labels", problem: `no text belongs to expert ${lacking.join(", ")}`, remedy: "give every expert a text" })
    const arena = yield* device.arena
    yield* LanguageModel.load(arena, self, mixture.weights)
    const fitted = Array.from({ length: layers }, () => ({ centroids: new Float64Array(all * hidden), counted: new Float64Array(all), squares: new Float64Array(all * hidden) }))
    const sequences = self.batch * device.replicas
    for (const [at, name] of names.entries()) {
      const expert = experts[at]!
      const program = programOf(yield* LanguageModel.withRouter(self, Router.fixed([expert])), router.unit, { ids, counts }, device.replicas)
      const windows = yield* Corpus.windows(texts[name]!, { tokenizer: mixture.tokenizer, split: options.split, tokens: self.tokens, maximumTokens: options.tokens })
      for (let first = 0; first < windows.length; first += sequences) {
        const batch = windows.slice(first, first + sequences), fed = new Uint32Array(sequences * self.tokens), ones = new Float32Array(sequences * self.tokens)
        batch.forEach((window, row) => { fed.set(window.ids, row * self.tokens); ones.fill(1, row * self.tokens + window.from, row * self.tokens + window.length) })
        yield* arena.upload(ids, fed)
        yield* arena.upload(counts, ones)
        yield* arena.submit(program)
        for (const [layer, { squares, sums }] of program.outputs.entries()) {
          const into = fitted[layer]!, x = yield* arena.read(sums), square = yield* arena.read(squares)
          for (let i = 0; i < hidden; i++) { into.centroids[expert * hidden + i]! += x[i]!; into.squares[expert * hidden + i]! += square[i]! }
          into.counted[expert]! += ones.reduce((sum, one) => sum + one, 0)
        }
      }
      yield* context.progress(at + 1, names.length, "domains")
    }
    const found = new Map<string, Weights.MemoryTensor>()
    fitted.forEach(({ centroids, counted, squares }, layer) => {
      const means = centroids.map((sum, i) => sum / counted[Math.floor(i / hidden)]!) // [experts, hidden]
      found.set(`layers.${layer}.router.centroids`, { shape: [all, hidden], data: Float32Array.from(means) })
      if (form.kind !== "mixture" || form.routerTensors["deviation"] === undefined) return
      const total = counted.reduce((sum, each) => sum + each, 0)
      found.set(`layers.${layer}.router.deviation`, { shape: [hidden], data: Float32Array.from({ length: hidden }, (_, i) => {
        let within = 0
        for (let e = 0; e < all; e++) within += squares[e * hidden + i]! - counted[e]! * means[e * hidden + i]! ** 2
        return Math.sqrt(Math.max(within / total, 1e-6)) // a coordinate that never moves must not decide alone
      }) })
    })
    const { flops, peakBytes } = yield* arena.stats
    yield* context.actual({ flops, deviceBytes: peakBytes, device: device.adapter })
    return Checkpoint.derive(mixture, { weights: Weights.overlay(mixture.weights, Weights.fromMemory(found)), step: { stage: "prototypes/fit", key: context.key, inputs: context.keys, facts: { tokens: options.tokens, split: options.split } } })
  }
})
