/**
 * Fitting what a router compares with, without gradients: one pass over each expert's own text. `fit` gives a router by distance its centroids,
 * `standardize` a whitened unit its mean and deviation.
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
import { pool } from "./pool.ts"
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

/** A unit as it is before its pools are whitened. */
const unwhitened = (unit: Router.Unit): Router.Unit => {
  if (unit.of === "token" || unit.normalize !== "whitened") return unit
  const { normalize: _, ...rest } = unit
  return rest
}

/** The mixture with one expert forced, and the moments of what its router reads in the layers that decide: sums of x and x² over the rows whose `counts` is one. */
const programOf = (self: LanguageModel.LanguageModel, read: Read, inputs: Inputs, replicas: number) => Recording.record(() => {
  const moments: Array<{ readonly layer: number; readonly sums: Tensor.Tensor; readonly squares: Tensor.Tensor }> = []
  LanguageModel.forward(self, inputs.ids, { tap: (point, layer, x) => {
    if (point !== "feedForward.input" || !read.layers.includes(layer)) return
    const state = pool(x, read.unit, self, LanguageModel.routerTensors(self, layer)), total = (rows: Tensor.Tensor) => Op.keep(Op.sumRows(Op.scaleRows(rows, inputs.counts)), `moment of layer ${layer}`) // [width]
    moments.push({ layer, sums: total(state), squares: total(Op.multiply(state, state)) })
  } })
  Recording.sumReplicas(moments.flatMap(({ squares, sums }) => [sums, squares]))
  return moments
}, { replicas })
/** What is measured: states pooled by `unit` in `layers`. */
interface Read { readonly unit: Router.Unit; readonly layers: ReadonlyArray<number> }
interface Inputs { readonly ids: Tensor.Tensor; readonly counts: Tensor.Tensor }

const prepare = (model: Model, options: Options, replicas: number, wanted: "fit" | "standardize") => Effect.gen(function*() {
  const tokens = Math.min(options.window ?? 256, model.contextLength), batch = Math.ceil(options.batch / replicas)
  const self = yield* LanguageModel.make(model, { batch, tokens })
  const router = self.router!, { score, unit } = router
  const refuse = (problem: string, remedy: string) => new TrainingError({ option: "router", problem, remedy })
  if (wanted === "fit" && score.by !== "distance") return yield* refuse(`the mixture's router scores by ${score.by}, not by distance`, "upcycle with Router.prototypes, or train the router with Finetune.train")
  if (wanted === "standardize" && (unit.of === "token" || unit.normalize !== "whitened")) return yield* refuse("the mixture's router does not whiten what it reads", "upcycle with a unit of normalize \"whitened\"")
  const read: Read = { unit: wanted === "fit" ? unit : unwhitened(unit), layers: Router.deciding(router, model.layers) }
  return { self, router, read, width: Router.width(unit, model.hidden), inputs: { ids: Tensor.kept([batch * tokens], { dtype: "u32", sharded: true, label: "ids" }), counts: Tensor.kept([batch * tokens], { sharded: true, label: "counts" }) } }
})

const costOf = (model: Model, texts: Readonly<Record<string, unknown>>, options: Options, wanted: "fit" | "standardize") => Effect.gen(function*() {
  const replicas = Option.match(yield* Effect.serviceOption(Device.Device), { onNone: () => 1, onSome: (device) => device.replicas })
  const { inputs, read, self } = yield* prepare(model, options, replicas, wanted)
  const program = programOf(yield* LanguageModel.withRouter(self, Router.fixed([0])), read, inputs, replicas)
  const { deviceBytes, flops, largestBuffer } = yield* Device.planned(program), submissions = Object.keys(texts).length * Math.ceil(options.tokens / (self.tokens * self.batch * replicas))
  return { flops: flops * submissions, deviceBytes, largestBuffer }
})

/** Of each expert's own text, in a layer that decides: sums of what is read and of its squares [experts, width], and how many rows were counted [experts]. */
interface Moments { readonly layer: number; readonly sums: Float64Array; readonly squares: Float64Array; readonly counted: Float64Array }

/** Every expert alone on its own text. Fails: TrainingError when an expert has no text. */
const momentsOf = (mixture: Checkpoint.Checkpoint<"mixture">, texts: Readonly<Record<string, Corpus.Corpus>>, options: Options, wanted: "fit" | "standardize", context: Stage.Context) => Effect.gen(function*() {
  const device = yield* Device.Device
  const { inputs, read, self, width } = yield* prepare(mixture.model, options, device.replicas, wanted), { counts, ids } = inputs
  const names = Object.keys(texts).sort(), experts = yield* expertsOf(mixture, names, options.labels)
  const form = mixture.model.feedForward, all = form.kind === "mixture" ? form.experts : 0
  const lacking = wanted === "fit" ? Array.from({ length: all }, (_, expert) => expert).filter((expert) => !experts.includes(expert)) : []
  if (lacking.length > 0) return yield* new TrainingError({ option: "labels", problem: `no text belongs to expert ${lacking.join(", ")}`, remedy: "give every expert a text" })
  const arena = yield* device.arena
  yield* LanguageModel.load(arena, self, mixture.weights)
  const found: ReadonlyArray<Moments> = read.layers.map((layer) => ({ layer, sums: new Float64Array(all * width), squares: new Float64Array(all * width), counted: new Float64Array(all) }))
  const sequences = self.batch * device.replicas
  for (const [at, name] of names.entries()) {
    const expert = experts[at]!
    const program = programOf(yield* LanguageModel.withRouter(self, Router.fixed([expert])), read, inputs, device.replicas)
    const windows = yield* Corpus.windows(texts[name]!, { tokenizer: mixture.tokenizer, split: options.split, tokens: self.tokens, maximumTokens: options.tokens })
    for (let first = 0; first < windows.length; first += sequences) {
      const batch = windows.slice(first, first + sequences), fed = new Uint32Array(sequences * self.tokens), ones = new Float32Array(sequences * self.tokens)
      batch.forEach((window, row) => { fed.set(window.ids, row * self.tokens); ones.fill(1, row * self.tokens + window.from, row * self.tokens + window.length) })
      yield* arena.upload(ids, fed)
      yield* arena.upload(counts, ones)
      yield* arena.submit(program)
      for (const [place, { squares, sums }] of program.outputs.entries()) {
        const into = found[place]!, x = yield* arena.read(sums), square = yield* arena.read(squares)
        for (let i = 0; i < width; i++) { into.sums[expert * width + i]! += x[i]!; into.squares[expert * width + i]! += square[i]! }
        into.counted[expert]! += ones.reduce((sum, one) => sum + one, 0)
      }
    }
    yield* context.progress(at + 1, names.length, "domains")
  }
  const { flops, peakBytes } = yield* arena.stats
  yield* context.actual({ flops, deviceBytes: peakBytes, device: device.adapter })
  return { found, width, experts: all }
})

/** A coordinate that never moves must not decide alone. */
const leastVariance = 1e-6
const vector = (length: number, of: (i: number) => number): Weights.MemoryTensor => ({ shape: [length], data: Float32Array.from({ length }, (_, i) => of(i)) })
const derived = (mixture: Checkpoint.Checkpoint<"mixture">, found: ReadonlyMap<string, Weights.MemoryTensor>, stage: string, options: Options, context: Stage.Context) =>
  Checkpoint.derive(mixture, { weights: Weights.overlay(mixture.weights, Weights.fromMemory(found)), step: { stage, key: context.key, inputs: context.keys, facts: { tokens: options.tokens, split: options.split } } })

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
    return { header, cost: yield* costOf(header.model as Model, texts, options, "fit") }
  },
  *run({ mixture, texts }, options, context) {
    const { experts, found, width } = yield* momentsOf(mixture, texts, options, "fit", context), fitted = new Map<string, Weights.MemoryTensor>()
    for (const { counted, layer, squares, sums } of found) {
      const means = sums.map((sum, i) => sum / counted[Math.floor(i / width)]!) // [experts, width]
      fitted.set(`layers.${layer}.router.centroids`, { shape: [experts, width], data: Float32Array.from(means) })
      if (!mixture.weights.infos.has(`layers.${layer}.router.deviation`)) continue
      const total = counted.reduce((sum, each) => sum + each, 0)
      fitted.set(`layers.${layer}.router.deviation`, vector(width, (i) => {
        let within = 0
        for (let e = 0; e < experts; e++) within += squares[e * width + i]! - counted[e]! * means[e * width + i]! ** 2
        return Math.sqrt(Math.max(within / total, leastVariance))
      }))
    }
    return derived(mixture, fitted, "prototypes/fit", options, context)
  }
})

/**
 * Stage: the mixture whose router's whitened unit has its mean and deviation, of all rows of the texts together, each text run by its expert; everything
 * else keeps its bits.
 *
 * Options: as `fit`, but an expert may be without a text. Fails: TrainingError when the router's unit is not whitened; CorpusError; the device's failures.
 */
export const standardize = Stage.make("prototypes/standardize", {
  version: 1,
  inputs: [Stage.one("mixture", Checkpoint.Mixture), Stage.record("texts", Corpus.Artifact)],
  options: Options,
  output: Checkpoint.Mixture,
  *describe({ mixture: { key: _key, ...header }, texts }, options) {
    return { header, cost: yield* costOf(header.model as Model, texts, options, "standardize") }
  },
  *run({ mixture, texts }, options, context) {
    const { experts, found, width } = yield* momentsOf(mixture, texts, options, "standardize", context), fitted = new Map<string, Weights.MemoryTensor>()
    for (const { counted, layer, squares, sums } of found) {
      const total = counted.reduce((sum, each) => sum + each, 0)
      const over = (from: Float64Array, i: number) => { let sum = 0; for (let e = 0; e < experts; e++) sum += from[e * width + i]!; return sum / total }
      fitted.set(`layers.${layer}.router.pool.mean`, vector(width, (i) => over(sums, i)))
      fitted.set(`layers.${layer}.router.pool.deviation`, vector(width, (i) => Math.sqrt(Math.max(over(squares, i) - over(sums, i) ** 2, leastVariance))))
    }
    return derived(mixture, fitted, "prototypes/standardize", options, context)
  }
})
