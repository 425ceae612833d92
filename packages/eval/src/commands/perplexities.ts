/**
 * Perplexities from per-document log-likelihoods, by the definitions of lm-evaluation-harness (0.4.13): a token's, a byte's and a word's. Its
 * `word_perplexity` and `byte_perplexity` are ours of a single text; `tokenPerplexity` it does not report.
 */
import { bitsPerByte, bitsPerToken, type DocumentScore, type Measured, meanOf, ratio } from "../metrics.ts"
import { allDomains, type Value } from "../values.ts"

/** Runs of white space as Python's `\s` sees them: with U+001C–U+001F and U+0085, without U+FEFF. */
const space = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/g

/** Pieces between white space, as Python's `re.split(r"\s+", text)` counts them: an end of white space adds an empty piece. */
export const wordCount = (text: string): number => (text.match(space)?.length ?? 0) + 1

/** 2 to the power of so many bits, with the standard error that the bits' own makes of it (delta method). */
const power = ({ count, standardError, value }: Measured): Measured => ({ value: 2 ** value, standardError: standardError === null ? null : Math.LN2 * 2 ** value * standardError, count })

/** Each model's perplexities by domain; over all domains, 2 to the power of the domains' mean bits. `words`: by domain and document. */
export const perplexities = (models: Readonly<Record<string, ReadonlyArray<DocumentScore>>>, words: (score: DocumentScore) => number): ReadonlyArray<Value> =>
  Object.entries(models).flatMap(([model, scores]) => {
    const domains = [...new Set(scores.map(({ domain }) => domain))]
    const bitsPerWord = (part: ReadonlyArray<DocumentScore>) => ratio(part.map(({ logLikelihood }) => -logLikelihood / Math.LN2), part.map(words))
    const measures = [["tokenPerplexity", bitsPerToken], ["bytePerplexity", bitsPerByte], ["wordPerplexity", bitsPerWord]] as const
    return measures.flatMap(([metric, bits]) => {
      const parts = domains.map((domain) => bits(scores.filter((score) => score.domain === domain)))
      const line = (task: string, measured: Measured): Value => ({ model, task, metric, unit: "perplexity", ...power(measured) })
      return [...domains.map((domain, at) => line(domain, parts[at]!)), ...domains.length > 1 ? [line(allDomains, meanOf(parts))] : []]
    })
  })
