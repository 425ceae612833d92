/**
 * Fitting what a router compares with, without gradients: one pass over each expert's own text. `fit` gives a router by distance its centroids,
 * `standardize` a whitened unit its mean and deviation, `embed` a router that generates its directions the embeddings of the experts' domains.
 *
 * The centroid of an expert in a layer is the mean of what the router reads there (the normalised state before the feed-forward, pooled as the
 * router's unit says) while the expert alone runs its domain's text: what the router meets when it routes as it should. The deviation of a whitened
 * metric is that within domains, coordinate by coordinate. Papers: Snell et al., "Prototypical Networks", 2017; Gururangan et al., "c-BTM", 2023.
 */
import { Checkpoint, Corpus, Stage, Weights } from "@switchyard/core"
import { costOf, type Fitted, type Model, type Moments, momentsOf, Options } from "./moments.ts"

/** A coordinate that never moves must not decide alone. */
const leastVariance = 1e-6
const vector = (length: number, of: (i: number) => number): Weights.MemoryTensor => ({ shape: [length], data: Float32Array.from({ length }, (_, i) => of(i)) })
type Found = ReadonlyMap<string, Weights.MemoryTensor>
/** What one pass over the texts gave: `found` has a layer's sums each. */
interface Gathered { readonly experts: number; readonly width: number; readonly found: ReadonlyArray<Moments> }

/** A stage that fits tensors of the router; they alone change. */
const fitting = <const Wanted extends Fitted>(wanted: Wanted, fitted: (gathered: Gathered, mixture: Checkpoint.Checkpoint<"mixture">) => Found) => Stage.make(`prototypes/${wanted}`, {
  version: 1,
  inputs: [Stage.one("mixture", Checkpoint.Mixture), Stage.record("texts", Corpus.Artifact)],
  options: Options,
  output: Checkpoint.Mixture,
  *describe({ mixture: { key: _key, ...header }, texts }, options) {
    return { header, cost: yield* costOf(header.model as Model, texts, options, wanted) }
  },
  *run({ mixture, texts }, options, context) {
    const tensors = fitted(yield* momentsOf(mixture, texts, options, wanted, context), mixture)
    return Checkpoint.derive(mixture, { weights: Weights.overlay(mixture.weights, Weights.fromMemory(tensors)), step: { stage: `prototypes/${wanted}`, key: context.key, inputs: context.keys, facts: { tokens: options.tokens, split: options.split } } })
  }
})

/**
 * Stage: the mixture with fitted centroids (and deviation, where the metric is whitened); everything else keeps its bits.
 *
 * Options: `split` of the texts; `tokens` read of each; `batch`, `window` as they run; `labels`: domain → expert, left out as the upcycle recorded it.
 * Fails: TrainingError when the router is not by distance or an expert has no text; CorpusError; the device's failures.
 */
export const fit = fitting("fit", ({ experts, found, width }, mixture) => {
  const fitted = new Map<string, Weights.MemoryTensor>()
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
  return fitted
})

/**
 * Stage: the mixture whose router's whitened unit has its mean and deviation, of all rows of the texts together, each text run by its expert; everything
 * else keeps its bits.
 *
 * Options: as `fit`, but an expert may be without a text. Fails: TrainingError when the router's unit is not whitened; CorpusError; the device's failures.
 */
export const standardize = fitting("standardize", ({ experts, found, width }) => {
  const fitted = new Map<string, Weights.MemoryTensor>()
  for (const { counted, layer, squares, sums } of found) {
    const total = counted.reduce((sum, each) => sum + each, 0)
    const over = (from: Float64Array, i: number) => { let sum = 0; for (let e = 0; e < experts; e++) sum += from[e * width + i]!; return sum / total }
    fitted.set(`layers.${layer}.router.pool.mean`, vector(width, (i) => over(sums, i)))
    fitted.set(`layers.${layer}.router.pool.deviation`, vector(width, (i) => Math.sqrt(Math.max(over(squares, i) - over(sums, i) ** 2, leastVariance))))
  }
  return fitted
})

/**
 * Stage: the mixture whose router has the embeddings of its experts' domains: the mean of the model's last states over each expert's text, run by that expert, and
 * the mean of these means, from which the router reads them. Every layer has the same. Everything else keeps its bits.
 *
 * Options: as `fit`. Fails: TrainingError when the router does not generate its directions, its embeddings are not as long as the model's states, or an
 * expert has no text; CorpusError; the device's failures. Paper: Gritsch et al., "Nexus", 2024, which embeds texts by a model of their own.
 */
export const embed = fitting("embed", ({ experts, found, width }, mixture) => {
  const { counted, sums } = found[0]!
  const means = sums.map((sum, i) => sum / counted[Math.floor(i / width)]!) // [experts, width]
  const mean = vector(width, (i) => { let sum = 0; for (let e = 0; e < experts; e++) sum += means[e * width + i]!; return sum / experts })
  const fitted = [...mixture.weights.infos.keys()].filter((name) => /\.router\.embeddings(\.mean)?$/.test(name))
    .map((name) => [name, name.endsWith("mean") ? mean : { shape: [experts, width], data: Float32Array.from(means) }] as const)
  return new Map(fitted)
})
