/**
 * Fitting a router by n-grams: counts of up to `orders` tokens in each expert's own text, made into log-odds, in one pass without gradients or a device.
 *
 * Each expert's text has a small model of its own: p_o(x | o − 1 tokens) = (count + strength · p_{o−1}(x | o − 2 tokens)) / (count of the context + strength), p_0 even.
 * The table holds, for each n-gram, what its order adds to the log-probability under each expert, less the mean over experts; added up over a text, that is the
 * log-posterior of the expert given the text (naive Bayes over an interpolated n-gram model). An expert without a text of its own, a generalist, gets the mean of the others'
 * probabilities. N-grams that share a bucket share their mean, weighed by how often they were seen. The idea of routing by a model's posterior over the text so far is
 * Li et al.'s (Branch-Train-Merge, 2022); the small model in place of the experts is ours, the interpolation Jelinek and Mercer's (1980).
 */
import { Checkpoint, Corpus, Stage, Weights } from "@switchyard/core"
import { ngramBucket } from "@switchyard/gpu"
import { Effect, Schema } from "effect"
import * as Router from "./Router.ts"
import { expertsOf } from "./expertsOf.ts"
import { TrainingError } from "./Training.ts"

const count = Schema.Int.check(Schema.isGreaterThan(0))

/** N-grams of one order: the number of their first tokens and of their last, how often each was seen by expert, how often their beginning was. */
interface Grams { readonly ids: Map<number, number>; readonly before: Array<number>; readonly after: Array<number>; readonly seen: Array<Float64Array>; readonly begun: Map<number, Float64Array>; readonly ends: Array<ReadonlyArray<number>> }

/**
 * The table of log-odds. Shapes: texts: for each expert its token sequences, none for a generalist → [experts, orders · buckets].
 *
 * Options: `strength` of the lower order in the higher. Dies when no expert has a text.
 */
export const table = (texts: ReadonlyArray<ReadonlyArray<ArrayLike<number>>>, options: { readonly orders: number; readonly buckets: number; readonly vocabulary: number; readonly strength: number }): Float32Array => {
  const { buckets, orders, strength, vocabulary } = options, experts = texts.length, known = texts.flatMap((text, expert) => text.length > 0 ? [expert] : [])
  if (known.length === 0) throw new Error("Ngram.table: no expert has a text (axis experts)")
  const levels = Array.from({ length: orders }, (): Grams => ({ ids: new Map(), before: [], after: [], seen: [], begun: new Map(), ends: [] }))
  for (const expert of known) for (const sequence of texts[expert]!) {
    let earlier: ReadonlyArray<number> = [] // numbers of the n-grams that end one token before, by order
    for (let at = 0; at < sequence.length; at++) {
      const now: Array<number> = []
      for (let order = 1; order <= Math.min(orders, at + 1); order++) {
        const grams = levels[order - 1]!, before = order === 1 ? 0 : earlier[order - 2]!, key = before * vocabulary + sequence[at]!
        let id = grams.ids.get(key)
        if (id === undefined) {
          grams.ids.set(key, id = grams.seen.length)
          grams.before.push(before)
          grams.after.push(order === 1 ? 0 : now[order - 2]!)
          grams.seen.push(new Float64Array(experts))
          grams.ends.push(Array.from({ length: order }, (_, back) => sequence[at - order + 1 + back]!))
        }
        grams.seen[id]![expert]! += 1
        let begun = grams.begun.get(before)
        if (begun === undefined) grams.begun.set(before, begun = new Float64Array(experts))
        begun[expert]! += 1
        now.push(id)
      }
      earlier = now
    }
  }
  const sums = new Float64Array(experts * orders * buckets), weights = new Float64Array(orders * buckets)
  let lower: ReadonlyArray<Float64Array> = [new Float64Array(experts).fill(1 / vocabulary)] // [grams of the order below][experts]
  levels.forEach((grams, level) => {
    const probabilities = grams.seen.map((seen, id) => {
      const below = lower[grams.after[id]!]!, begun = grams.begun.get(grams.before[id]!)!
      const each = Float64Array.from(seen, (value, expert) => (value + strength * below[expert]!) / (begun[expert]! + strength))
      const mean = known.reduce((sum, expert) => sum + each[expert]!, 0) / known.length
      texts.forEach((text, expert) => { if (text.length === 0) each[expert] = mean })
      const gains = each.map((value, expert) => Math.log(value / below[expert]!)), middle = gains.reduce((sum, value) => sum + value, 0) / experts
      const bucket = ngramBucket(grams.ends[id]!, level, level + 1, buckets), weight = seen.reduce((sum, value) => sum + value, 0)
      weights[bucket]! += weight
      gains.forEach((gain, expert) => { sums[expert * orders * buckets + bucket]! += weight * (gain - middle) })
      return each
    })
    lower = probabilities
  })
  return Float32Array.from(sums, (sum, i) => sum === 0 ? 0 : sum / weights[i % (orders * buckets)]!)
}

/**
 * Stage: the mixture whose router has counted its experts' texts; everything else keeps its bits. Nothing runs on the device.
 *
 * Options: `tokens` read of each text's training split, drawn as training draws them (in sequences of `window`); `strength` of a lower order in a higher (20); `labels`: domain →
 * expert, left out as the upcycle recorded it; an expert without a text is a generalist. Fails: TrainingError when the router does not score by n-grams; CorpusError.
 */
export const fit = Stage.make("ngram/fit", {
  version: 1,
  seeded: true,
  inputs: [Stage.one("mixture", Checkpoint.Mixture), Stage.record("texts", Corpus.Artifact)],
  options: Schema.Struct({
    tokens: count.pipe(Stage.byDefault(122_880)), window: count.pipe(Stage.byDefault(256)), strength: Schema.Finite.check(Schema.isGreaterThan(0)).pipe(Stage.byDefault(20)),
    labels: Schema.optionalKey(Schema.Record(Schema.String, Schema.Int))
  }),
  output: Checkpoint.Mixture,
  *describe({ mixture: { key: _key, ...header } }) {
    yield* described(header.model)
    return { header, cost: { bytesRead: header.bytes, bytesWritten: header.bytes } }
  },
  *run({ mixture, texts }, { labels, strength, tokens, window }, context) {
    const { model, tokenizer, weights } = mixture, { experts, layers, score } = yield* described(model)
    const names = Object.keys(texts).sort(), own = yield* expertsOf(mixture, names, labels)
    const read: Array<Array<Uint32Array>> = Array.from({ length: experts }, () => [])
    for (const [at, name] of names.entries()) {
      const batches = yield* Corpus.batches({ [name]: texts[name]! }, { tokenizer, split: "train", batch: 1, tokens: window, seed: context.seed })
      for (let step = 0; step * window < tokens; step++) read[own[at]!]!.push(batches.at(step).ids)
      yield* context.progress(at + 1, names.length, "domains")
    }
    const data = table(read, { ...score, vocabulary: model.vocabulary, strength })
    const found = new Map(layers.map((layer) => [`layers.${layer}.router.table`, { shape: [experts, score.orders * score.buckets], data }]))
    return Checkpoint.derive(mixture, { weights: Weights.overlay(weights, Weights.fromMemory(found)), step: { stage: "ngram/fit", key: context.key, inputs: context.keys, facts: { tokens, strength } } })
  }
})
const described = (model: Checkpoint.Any["model"]) => Effect.gen(function*() {
  const form = model.feedForward, refuse = (problem: string) => new TrainingError({ option: "router", problem, remedy: "upcycle with Router.ngram" })
  if (form.kind !== "mixture") return yield* refuse("a dense model has no router")
  const router = yield* Router.decode(form.router, "the model's router"), { score } = router
  return score.by === "ngram" ? { score, experts: form.experts, layers: Router.deciding(router, model.layers) } : yield* refuse(`the mixture's router scores by ${score.by}, not by n-grams`)
})
