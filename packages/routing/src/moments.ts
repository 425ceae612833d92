/**
 * The moments of what a router reads, or of a model's last states, while each expert alone runs its own text: what prototypes, whitening and domain
 * embeddings are fitted from. One pass, no gradient.
 */
import { Checkpoint, Corpus, Stage } from "@switchyard/core"
import { Device, Op, Recording, Tensor } from "@switchyard/gpu"
import { Effect, Option, Schema } from "effect"
import { expertsOf } from "./expertsOf.ts"
import * as LanguageModel from "./LanguageModel.ts"
import { pool } from "./pool.ts"
import * as Router from "./Router.ts"
import { TrainingError } from "./Training.ts"

const count = Schema.Int.check(Schema.isGreaterThan(0))
/** `tokens` read of each text, of its `split`; `batch` and `window` as they run; `labels`: domain → expert, left out as the upcycle recorded it. */
export const Options = Schema.Struct({
  split: Schema.Literals(["train", "choose"]).pipe(Stage.byDefault("train")),
  tokens: count.pipe(Stage.byDefault(16384)),
  batch: count.pipe(Stage.byDefault(8)),
  window: Schema.optionalKey(count),
  labels: Schema.optionalKey(Schema.Record(Schema.String, Schema.Int))
})
export type Options = typeof Options.Type
export type Model = Checkpoint.Checkpoint<"mixture">["model"]
/** What is fitted: a distance's centroids, a whitened unit's moments, domain embeddings. */
export type Fitted = "fit" | "standardize" | "embed"

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
    if (point !== read.point || !read.layers.includes(layer)) return
    const state = pool(x, read.unit, self), total = (rows: Tensor.Tensor) => Op.keep(Op.sumRows(Op.scaleRows(rows, inputs.counts)), `moment of layer ${layer}`) // [width]
    moments.push({ layer, sums: total(state), squares: total(Op.multiply(state, state)) })
  } })
  Recording.sumReplicas(moments.flatMap(({ squares, sums }) => [sums, squares]))
  return moments
}, { replicas })
/** What is measured: states at `point`, pooled by `unit`, in `layers`. */
interface Read { readonly point: "feedForward.input" | "norm"; readonly unit: Router.Unit; readonly layers: ReadonlyArray<number> }
interface Inputs { readonly ids: Tensor.Tensor; readonly counts: Tensor.Tensor }

const prepare = (model: Model, options: Options, replicas: number, wanted: Fitted) => Effect.gen(function*() {
  const tokens = Math.min(options.window ?? 256, model.contextLength), batch = Math.ceil(options.batch / replicas)
  const self = yield* LanguageModel.make(model, { batch, tokens })
  const router = self.router!, { score, unit } = router
  const refuse = (problem: string, remedy: string) => new TrainingError({ option: "router", problem, remedy })
  if (wanted === "fit" && score.by !== "distance") return yield* refuse(`the mixture's router scores by ${score.by}, not by distance`, "upcycle with Router.prototypes, or train the router with Finetune.train")
  if (wanted === "standardize" && (unit.of === "token" || unit.normalize !== "whitened")) return yield* refuse("the mixture's router does not whiten what it reads", "upcycle with a unit of normalize \"whitened\"")
  if (wanted === "fit" && unit.of !== "token" && unit.normalize === "whitened") return yield* refuse("the centroids of a whitened unit are not fitted", 'use the whitened metric, or a unit of normalize "rms"')
  if (wanted === "embed" && (score.by !== "generated" || score.embedding !== model.hidden)) return yield* refuse(score.by === "generated" ? `embeddings of ${score.embedding} numbers, the model's states have ${model.hidden}` : `the mixture's router scores by ${score.by}: it has no embeddings`, `upcycle with Router.nexus({ active, embedding: ${model.hidden} })`)
  const read: Read = wanted === "embed" ? { point: "norm", unit: { of: "token" }, layers: [model.layers - 1] } : { point: "feedForward.input", unit: wanted === "fit" ? unit : unwhitened(unit), layers: Router.deciding(router, model.layers) }
  return { self, router, read, width: Router.width(read.unit, model.hidden), inputs: { ids: Tensor.kept([batch * tokens], { dtype: "u32", sharded: true, label: "ids" }), counts: Tensor.kept([batch * tokens], { sharded: true, label: "counts" }) } }
})

/** What it costs, from the header alone. */
export const costOf = (model: Model, texts: Readonly<Record<string, unknown>>, options: Options, wanted: Fitted) => Effect.gen(function*() {
  const replicas = Option.match(yield* Effect.serviceOption(Device.Device), { onNone: () => 1, onSome: (device) => device.replicas })
  const { inputs, read, self } = yield* prepare(model, options, replicas, wanted)
  const program = programOf(yield* LanguageModel.withRouter(self, Router.fixed([0])), read, inputs, replicas)
  const { deviceBytes, flops, largestBuffer } = yield* Device.planned(program), submissions = Object.keys(texts).length * Math.ceil(options.tokens / (self.tokens * self.batch * replicas))
  return { flops: flops * submissions, deviceBytes, largestBuffer }
})

/** Of each expert's own text, in a layer that decides: sums of what is read and of its squares [experts, width], and how many rows were counted [experts]. */
export interface Moments { readonly layer: number; readonly sums: Float64Array; readonly squares: Float64Array; readonly counted: Float64Array }

/** Every expert alone on its own text. Fails: TrainingError when an expert has no text. */
export const momentsOf = (mixture: Checkpoint.Checkpoint<"mixture">, texts: Readonly<Record<string, Corpus.Corpus>>, options: Options, wanted: Fitted, context: Stage.Context) => Effect.gen(function*() {
  const device = yield* Device.Device
  const { inputs, read, self, width } = yield* prepare(mixture.model, options, device.replicas, wanted), { counts, ids } = inputs
  const names = Object.keys(texts).sort(), experts = yield* expertsOf(mixture, names, options.labels)
  const form = mixture.model.feedForward, all = form.kind === "mixture" ? form.experts : 0
  const lacking = wanted !== "standardize" ? Array.from({ length: all }, (_, expert) => expert).filter((expert) => !experts.includes(expert)) : []
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

