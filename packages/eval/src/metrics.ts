/**
 * Numbers out of per-document log-likelihoods. A document is the unit of sampling: standard errors are over documents, and two models are
 * compared document by document on the same text, which removes what the texts' difficulty has in common.
 */

/** What one model gave one document. Units: logLikelihood in nats, summed over its tokens. */
export interface DocumentScore { readonly domain: string; readonly document: string; readonly tokens: number; readonly bytes: number; readonly logLikelihood: number }

/** A name for each document: those of one id in one domain (a file may give an id to several) are told apart by their order. */
export const documentNames = (scores: ReadonlyArray<Pick<DocumentScore, "domain" | "document">>): ReadonlyArray<string> => {
  const seen = new Map<string, number>()
  return scores.map(({ document, domain }) => {
    const name = `${domain}/${document}`, times = seen.get(name) ?? 0
    seen.set(name, times + 1)
    return JSON.stringify([name, times])
  })
}

/** A measured number: `standardError` is null where it cannot be had (fewer than two documents). */
export interface Measured { readonly value: number; readonly standardError: number | null; readonly count: number }

/**
 * Σ numerator / Σ denominator with the standard error of a ratio estimator: residuals of each document from the common ratio
 * (Cochran 1977, §6.4, without the finite-population factor).
 */
export const ratio = (numerator: ReadonlyArray<number>, denominator: ReadonlyArray<number>): Measured => {
  const count = numerator.length
  if (count !== denominator.length) throw new Error(`ratio: ${count} numerators for ${denominator.length} denominators`)
  const total = denominator.reduce((sum, value) => sum + value, 0)
  const value = numerator.reduce((sum, value) => sum + value, 0) / total
  if (count < 2) return { value, standardError: null, count }
  const squares = numerator.reduce((sum, top, at) => sum + (top - value * denominator[at]!) ** 2, 0)
  return { value, standardError: Math.sqrt(squares * count / (count - 1)) / total, count }
}

const bits = (nats: number): number => -nats / Math.LN2

/** Bits that the model needs for a byte of text: −Σ log₂ p / Σ bytes. Comparable between tokenizers. */
export const bitsPerByte = (scores: ReadonlyArray<DocumentScore>): Measured => ratio(scores.map(({ logLikelihood }) => bits(logLikelihood)), scores.map(({ bytes }) => bytes))

/** Bits for a token: −Σ log₂ p / Σ tokens. Comparable between models of one tokenizer only. */
export const bitsPerToken = (scores: ReadonlyArray<DocumentScore>): Measured => ratio(scores.map(({ logLikelihood }) => bits(logLikelihood)), scores.map(({ tokens }) => tokens))

/** How many bits per byte more `a` needs than `b`, paired by document: negative where `a` is better. Dies when the two saw different documents. */
export const difference = (a: ReadonlyArray<DocumentScore>, b: ReadonlyArray<DocumentScore>): Measured => {
  if (a.length !== b.length) throw new Error(`difference: ${a.length} documents against ${b.length}: paired models must see the same documents`)
  const others = documentNames(b), other = new Map(b.map((score, at) => [others[at]!, score])), names = documentNames(a)
  const gaps = a.map((score, at) => {
    const match = other.get(names[at]!)
    if (match === undefined || match.bytes !== score.bytes) throw new Error(`difference: document ${score.domain}/${score.document} was not scored alike by both models`)
    return bits(score.logLikelihood) - bits(match.logLikelihood)
  })
  return ratio(gaps, a.map(({ bytes }) => bytes))
}

/** The plain mean of independent parts (domains count alike, whatever their length). */
export const meanOf = (parts: ReadonlyArray<Measured>): Measured => ({
  value: parts.reduce((sum, { value }) => sum + value, 0) / parts.length,
  standardError: parts.some(({ standardError }) => standardError === null) ? null : Math.sqrt(parts.reduce((sum, { standardError }) => sum + standardError! ** 2, 0)) / parts.length,
  count: parts.reduce((sum, { count }) => sum + count, 0)
})
