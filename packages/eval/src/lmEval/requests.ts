/**
 * The requests of a task's documents, letter for letter those of lm-evaluation-harness: description, worked examples, question; and what the
 * answers say.
 */
import type { Name, Value } from "./aggregate.ts"
import { exactMatch, extractAnswer } from "./extractAnswer.ts"
import { fewShot } from "./fewShot.ts"
import { type Answer, judgeChoices } from "./judgeChoices.ts"
import * as PythonText from "./PythonText.ts"
import type { Generate, Recipe, Request, Row } from "./Recipe.ts"

/** Between a question and its answer, and after an example. */
const targetDelimiter = " ", exampleDelimiter = "\n\n"

/** One document's requests, in order. */
export interface Asked {
  readonly document: number
  readonly row: Row
  readonly requests: ReadonlyArray<Request>
  /** The right answer as the harness writes it. */
  readonly target: string
}

const example = (recipe: Recipe, row: Row): string => {
  const turn = (question: string, answer: string) => `${question}${answer === "" ? "" : `${targetDelimiter}${answer}${exampleDelimiter}`}`
  switch (recipe.output) {
    case "multiple_choice": {
      if (recipe.inputs !== undefined) {
        const { contexts, gold, target } = recipe.inputs(row)
        return turn(contexts[gold]!, target)
      }
      return turn(recipe.text!(row), recipe.choices(row)[recipe.gold(row)]!)
    }
    case "loglikelihood_rolling": return turn("", recipe.target(row))
    default: return turn(recipe.text(row), recipe.target(row))
  }
}

const targetOf = (recipe: Recipe, row: Row): string => {
  if (recipe.output !== "multiple_choice") return recipe.target(row)
  return recipe.inputs === undefined ? String(recipe.gold(row)) : recipe.inputs(row).target
}

const requestsOf = (recipe: Recipe, row: Row, before: string): ReadonlyArray<Request> => {
  switch (recipe.output) {
    case "loglikelihood_rolling": return [[recipe.target(row)]]
    case "loglikelihood": return [[before + recipe.text(row), recipe.target(row)]]
    case "generate_until": return [[before + recipe.text(row)]]
    case "multiple_choice": {
      const choices = recipe.choices(row), empty = choices.indexOf("")
      if (empty >= 0) throw new Error(`choice ${empty} is empty: it has no length to divide its log-likelihood by`)
      const alone = recipe.metrics.includes("acc_mutual_info") ? choices.map((choice): Request => ["", targetDelimiter + choice]) : []
      if (recipe.inputs !== undefined) {
        const { contexts, target } = recipe.inputs(row)
        return [...contexts.map((context): Request => [before + context, targetDelimiter + target]), ...alone]
      }
      const context = before + recipe.text!(row)
      return [...choices.map((choice): Request => [context, targetDelimiter + choice]), ...alone]
    }
  }
}

/** The requests of the first `limit` documents. Options: `shots` examples of `pool` (rows after `prepare`), drawn with `seed`. Dies where a row lacks a column or a choice is empty, naming document and column. */
export const ask = (recipe: Recipe, rows: ReadonlyArray<Row>, options: { readonly shots: number; readonly pool: ReadonlyArray<Row>; readonly seed?: number; readonly limit?: number | undefined }): ReadonlyArray<Asked> => {
  const { limit = rows.length, pool, seed, shots } = options
  const draw = fewShot(pool, recipe.examples.sampler, { count: shots, ...seed === undefined ? {} : { seed } })
  return rows.slice(0, limit).map((row, document) => {
    try {
      const before = (recipe.description ?? "") + draw(row).map((found) => example(recipe, found)).join("")
      return { document, row, requests: requestsOf(recipe, row, before), target: targetOf(recipe, row) }
    } catch (error) { throw new Error(`document ${document}: ${(error as Error).message}`, { cause: error }) }
  })
}

/** What each filter takes of a generated text, and whether it is right. */
export const filteredOf = (recipe: Generate, row: Row, answers: ReadonlyArray<Answer>): ReadonlyArray<{ readonly filter: string; readonly answer: string; readonly value: 0 | 1 }> => {
  const text = answers[0]!.text
  if (text === undefined) throw new Error("filteredOf: the answer is no text")
  return recipe.filters.map((filter) => {
    const answer = extractAnswer(filter, text)
    return { filter: filter.name, answer, value: exactMatch(answer, recipe.target(row), recipe.ignore) }
  })
}

/** The figures of a task, as its values are named: a metric, with the filter behind it where there are filters. */
export const figuresOf = (recipe: Recipe): ReadonlyArray<{ readonly key: string; readonly metric: Name; readonly filter: string }> =>
  recipe.metrics.flatMap((metric) => recipe.output === "generate_until" ? recipe.filters.map(({ name }) => ({ key: `${metric},${name}`, metric, filter: name })) : [{ key: metric, metric, filter: "none" }])

/** A document's value of every figure of its task. */
export const valuesOf = (recipe: Recipe, { row }: Asked, answers: ReadonlyArray<Answer>): Readonly<Record<string, Value>> => {
  const all = (): Partial<Record<Name, Value>> => {
    switch (recipe.output) {
      case "loglikelihood": return { perplexity: answers[0]!.logLikelihood, acc: answers[0]!.isGreedy ? 1 : 0 }
      case "loglikelihood_rolling": {
        const sum = answers[0]!.logLikelihood, counted = recipe.counted(row), bytes = PythonText.byteLength(counted)
        return { word_perplexity: [sum, PythonText.wordCount(counted)], byte_perplexity: [sum, bytes], bits_per_byte: [sum, bytes] }
      }
      case "multiple_choice": {
        const choices = recipe.choices(row), gold = recipe.inputs === undefined ? recipe.gold(row) : recipe.inputs(row).gold
        return { ...judgeChoices(choices, gold >= 0 && gold < choices.length ? gold : -100, answers.slice(0, choices.length), recipe.metrics.includes("acc_mutual_info") ? answers.slice(choices.length) : undefined) }
      }
      case "generate_until": throw new Error("valuesOf: generated text has no log-likelihood")
    }
  }
  if (recipe.output === "generate_until") return Object.fromEntries(filteredOf(recipe, row, answers).map(({ filter, value }) => [`exact_match,${filter}`, value]))
  const found = all()
  return Object.fromEntries(recipe.metrics.map((name) => [name, found[name]!]))
}
