/**
 * What the log-likelihoods of a question's choices say about it: the multiple-choice metrics of lm-evaluation-harness, one document at a time.
 */
import type { Judged } from "./aggregate.ts"
import * as PythonText from "./PythonText.ts"

/** A request's answer. Units: nats. `isGreedy`: every token of the continuation is the model's first choice. `text`: what was generated, where that was asked (the two others then say nothing). */
export interface Answer { readonly logLikelihood: number; readonly isGreedy: boolean; readonly text?: string }

/** numpy's argmax: the first of the largest; a nan is larger than everything. */
export const argmax = (values: ReadonlyArray<number>): number => {
  let best = 0
  for (const [at, value] of values.entries()) {
    if (Number.isNaN(values[best]!)) return best
    if (Number.isNaN(value) || value > values[best]!) best = at
  }
  return best
}

/** exp(x − max) / Σ. */
export const softmax = (values: ReadonlyArray<number>): ReadonlyArray<number> => {
  const largest = Math.max(...values), powers = values.map((value) => Math.exp(value - largest))
  const sum = powers.reduce((sum, power) => sum + power, 0)
  return powers.map((power) => power / sum)
}

export interface Verdict {
  readonly acc: number
  readonly acc_norm: number
  readonly acc_bytes: number
  readonly exact_match: number
  readonly brier_score: Judged
  /** Only where answers without a context were given. */
  readonly acc_mutual_info?: number
}

/**
 * Every metric of one question. `choices` are without the delimiter in front; `gold` is the right one's index, out of range where there is none
 * (which counts as wrong). Options: `alone`, the choices' answers given an empty context, for acc_mutual_info. Dies on an empty choice, which
 * has no length to divide by.
 */
export const judgeChoices = (choices: ReadonlyArray<string>, gold: number, answers: ReadonlyArray<Answer>, alone?: ReadonlyArray<Answer>): Verdict => {
  if (answers.length !== choices.length) throw new Error(`judgeChoices: ${answers.length} answers for ${choices.length} choices`)
  const empty = choices.indexOf("")
  if (empty >= 0) throw new Error(`judgeChoices: choice ${empty} is empty: it has no length to divide its log-likelihood by`)
  const sums = answers.map(({ logLikelihood }) => logLikelihood)
  const right = (values: ReadonlyArray<number>) => argmax(values) === gold ? 1 : 0
  return {
    acc: right(sums),
    acc_norm: right(sums.map((sum, at) => sum / PythonText.length(choices[at]!))),
    acc_bytes: right(sums.map((sum, at) => sum / PythonText.byteLength(choices[at]!))),
    exact_match: answers[gold]?.isGreedy === true ? 1 : 0,
    brier_score: [gold, softmax(sums)],
    ...alone === undefined ? {} : { acc_mutual_info: right(sums.map((sum, at) => sum - alone[at]!.logLikelihood)) }
  }
}
