/**
 * The rows of a report, from the scores of several models on the same documents.
 */
import { bitsPerByte, bitsPerToken, difference, type DocumentScore, type Measured, meanOf } from "./metrics.ts"

/** One reported number. Units: `count` counts documents; `standardError` is over documents, null where there are fewer than two. */
export interface Value { readonly model: string; readonly task: string; readonly metric: string; readonly value: number; readonly unit: string; readonly count: number; readonly standardError: number | null }

/** What stands for the mean over domains. */
export const allDomains = "all domains"

/** The scores that a perfect router between whole models would have: each document by its own domain's model. Dies when a domain has none. */
export const oracle = (models: Readonly<Record<string, ReadonlyArray<DocumentScore>>>, expertOf: Readonly<Record<string, string>>): ReadonlyArray<DocumentScore> =>
  [...new Set(Object.values(models).flat().map(({ domain }) => domain))].flatMap((domain) => {
    const scores = models[expertOf[domain] ?? ""]
    if (scores === undefined) throw new Error(`oracle: no model is named for domain ${domain}`)
    return scores.filter((score) => score.domain === domain)
  })

/** Every model's bits per byte and per token by domain and over all, and its paired differences from each baseline. */
export const values = (models: Readonly<Record<string, ReadonlyArray<DocumentScore>>>, options: { readonly baselines?: ReadonlyArray<string> } = {}): ReadonlyArray<Value> => {
  const byDomain = (scores: ReadonlyArray<DocumentScore>, domain: string) => scores.filter((score) => score.domain === domain)
  return Object.entries(models).flatMap(([model, scores]) => {
    const domains = [...new Set(scores.map(({ domain }) => domain))]
    const lines = (metric: string, unit: string, measure: (domain: string) => Measured): ReadonlyArray<Value> => {
      const parts = domains.map(measure)
      const line = (task: string, measured: Measured): Value => ({ model, task, metric, unit, ...measured })
      return [...domains.map((domain, at) => line(domain, parts[at]!)), ...domains.length > 1 ? [line(allDomains, meanOf(parts))] : []]
    }
    return [
      ...lines("bitsPerByte", "bits/byte", (domain) => bitsPerByte(byDomain(scores, domain))),
      ...lines("bitsPerToken", "bits/token", (domain) => bitsPerToken(byDomain(scores, domain))),
      ...(options.baselines ?? []).filter((baseline) => baseline !== model && models[baseline] !== undefined).flatMap((baseline) =>
        lines(`bitsPerByte − ${baseline}`, "bits/byte", (domain) => difference(byDomain(scores, domain), byDomain(models[baseline]!, domain))))
    ]
  })
}
