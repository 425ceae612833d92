/**
 * How lm-evaluation-harness makes one number of many, by its own names. Sums run in f64, in order, as Python's do.
 */
import { mean } from "./mean.ts"

/** A log-likelihood and what it is divided by: words or bytes. Units: nats. */
export type Weighted = readonly [logLikelihood: number, weight: number]
/** The right choice's index and what the model makes of each. */
export type Judged = readonly [gold: number, probabilities: ReadonlyArray<number>]

/** exp(−mean): of whole items, not of their tokens. */
export const perplexity = (logLikelihoods: ReadonlyArray<number>): number => Math.exp(-mean(logLikelihoods))

const weightedMean = (items: ReadonlyArray<Weighted>): number => {
  let sum = 0, weights = 0
  for (const [logLikelihood, weight] of items) { sum += logLikelihood; weights += weight }
  return sum / weights
}
/** exp(−Σ log-likelihood / Σ weight). */
export const weightedPerplexity = (items: ReadonlyArray<Weighted>): number => Math.exp(-weightedMean(items))
/** −Σ log-likelihood / Σ bytes / ln 2. */
export const bitsPerByte = (items: ReadonlyArray<Weighted>): number => -weightedMean(items) / Math.log(2)

/** Mean squared distance of the probabilities from certainty about the right choice. Paper: Brier 1950. */
export const brierScore = (items: ReadonlyArray<Judged>): number => {
  // a gold of −100 (none of the choices) is counted from the end, as numpy does; the harness fails there, we say so
  return mean(items.map(([gold, probabilities]) => {
    if (!(gold >= 0 && gold < probabilities.length)) throw new Error(`brierScore: axis choices: the right one is number ${gold} of ${probabilities.length}`)
    return probabilities.reduce((sum, probability, at) => sum + (probability - (at === gold ? 1 : 0)) ** 2, 0)
  }))
}

/** How a metric's values become one, and how sure that is. */
export interface Metric {
  readonly aggregation: "mean" | "perplexity" | "weighted_perplexity" | "bits_per_byte" | "brier_score"
  readonly higherIsBetter: boolean
}
/** Every metric by the harness's name. */
export const metrics = {
  acc: { aggregation: "mean", higherIsBetter: true },
  acc_norm: { aggregation: "mean", higherIsBetter: true },
  acc_bytes: { aggregation: "mean", higherIsBetter: true },
  acc_mutual_info: { aggregation: "mean", higherIsBetter: true },
  exact_match: { aggregation: "mean", higherIsBetter: true },
  brier_score: { aggregation: "brier_score", higherIsBetter: false },
  perplexity: { aggregation: "perplexity", higherIsBetter: false },
  word_perplexity: { aggregation: "weighted_perplexity", higherIsBetter: false },
  byte_perplexity: { aggregation: "weighted_perplexity", higherIsBetter: false },
  bits_per_byte: { aggregation: "bits_per_byte", higherIsBetter: false }
} as const satisfies Record<string, Metric>
export type Name = keyof typeof metrics
/** A metric's value of one document. */
export type Value = number | Weighted | Judged

/** One number of a metric's values. */
export const aggregate = (name: Name, values: ReadonlyArray<Value>): number => {
  switch (metrics[name].aggregation) {
    case "mean": return mean(values as ReadonlyArray<number>)
    case "perplexity": return perplexity(values as ReadonlyArray<number>)
    case "weighted_perplexity": return weightedPerplexity(values as ReadonlyArray<Weighted>)
    case "bits_per_byte": return bitsPerByte(values as ReadonlyArray<Weighted>)
    case "brier_score": return brierScore(values as ReadonlyArray<Judged>)
  }
}
