/**
 * Standard errors as lm-evaluation-harness gives them: in closed form for means, by bootstrap for a perplexity of items, none for the rest.
 * Paper: Efron 1979 (bootstrap).
 */
import { metrics, type Name, type Value } from "./aggregate.ts"
import { mean, sampleDeviation } from "./mean.ts"
import { mersenneTwister } from "./mersenneTwister.ts"

/** Sample deviation / √n. */
export const meanStandardError = (values: ReadonlyArray<number>): number => sampleDeviation(values) / Math.sqrt(values.length)

/** Values of one generator before the next is seeded. */
const chunk = 1000

/**
 * The deviation of a statistic over resamples: chunk i of (at most 1000) draws from Python's Random(i). Iterations that do not fill a chunk
 * are left out, as the harness does (1500 are 1000).
 */
export const bootstrapStandardError = (statistic: (values: Float64Array) => number, values: ReadonlyArray<number>, iterations: number): number => {
  const each = Math.min(chunk, iterations), chunks = Math.floor(iterations / each), count = values.length
  const found = new Float64Array(chunks * each), drawn = new Float64Array(count) // [iterations], [items]
  for (let part = 0; part < chunks; part++) {
    const { random } = mersenneTwister(part)
    for (let at = 0; at < each; at++) {
      for (let item = 0; item < count; item++) drawn[item] = values[Math.floor(random() * count)]!
      found[part * each + at] = statistic(drawn)
    }
  }
  return sampleDeviation(found)
}

/** The standard error of a metric's aggregate, or "N/A" where the harness has none: sums over sums, a single item, no iterations. */
export const standardError = (name: Name, values: ReadonlyArray<Value>, iterations: number): number | "N/A" => {
  if (iterations <= 0 || values.length <= 1) return "N/A"
  switch (metrics[name].aggregation) {
    case "mean": return meanStandardError(values as ReadonlyArray<number>)
    case "perplexity": return bootstrapStandardError((drawn) => Math.exp(-mean(drawn)), values as ReadonlyArray<number>, iterations)
    default: return "N/A"
  }
}

/** Of k parts' means weighted by their sizes: √(Σ (nᵢ−1)·seᵢ²·nᵢ / (Σnᵢ − k) / Σnᵢ), or "N/A" if any part's is. */
export const pooledStandardError = (errors: ReadonlyArray<number | "N/A">, sizes: ReadonlyArray<number>): number | "N/A" => {
  if (errors.length !== sizes.length) throw new Error(`pooledStandardError: ${errors.length} standard errors for ${sizes.length} sizes`)
  const total = sizes.reduce((sum, size) => sum + size, 0)
  let sum = 0
  for (const [at, error] of errors.entries()) {
    if (error === "N/A") return "N/A"
    sum += (sizes[at]! - 1) * error ** 2 * sizes[at]!
  }
  return Math.sqrt(sum / (total - sizes.length) / total)
}

/** The mean of parts, each as often as it has items. */
export const weightedBySize = (values: ReadonlyArray<number>, sizes: ReadonlyArray<number>): number => {
  const sum = values.reduce((sum, value, at) => sum + value * sizes[at]!, 0)
  return sum / sizes.reduce((sum, size) => sum + size, 0)
}
