/**
 * A task as data: which file holds its documents, how a document becomes requests, which metrics are asked. The words and defaults are those of
 * lm-evaluation-harness 0.4.13's task files; tasks.ts has the table.
 */
import { Schema } from "effect"
import type { Name } from "./aggregate.ts"
import type { Filter } from "./extractAnswer.ts"
import type { Sampler } from "./fewShot.ts"

/** One document: a row of the data set, in the columns that it has on the Hub. */
export type Row = Readonly<Record<string, unknown>>
/** What is asked of a model: one continuation of one context, or a whole text where there is no continuation. */
export type Request = readonly [context: string, continuation: string] | readonly [text: string]

interface Shared {
  readonly version: number
  /** Shown in the table in place of the name. */
  readonly alias?: string
  /** The split that is evaluated. */
  readonly split: string
  /** Where worked examples come from, and how they are drawn. */
  readonly examples: { readonly split: string; readonly sampler: Sampler }
  /** The data set's configuration on the Hub, where it has several. */
  readonly configuration?: string
  /** Stands before everything else. */
  readonly description?: string
  readonly numFewShot?: number
  /** Columns made from columns, as the harness's process_docs. */
  readonly prepare?: (row: Row) => Row
  /** A row of a file in another common layout → the Hub's columns. Gets the row's number, and the companion file's lines where `labels` names one. */
  readonly read?: (row: Row, at: number, labels: ReadonlyArray<string>) => Row
  /** Files beneath the data folder beside `<task>/<split>.jsonl`, by split. */
  readonly files?: Readonly<Record<string, ReadonlyArray<string>>>
  /** A file beside the data, one label a line: ending of the data file → ending of its labels. */
  readonly labels?: readonly [string, string]
  readonly metrics: ReadonlyArray<Name>
}
/** One of several answers. `inputs` instead of `text`: the choices are in the contexts and the target follows each. */
export interface MultipleChoice extends Shared {
  readonly output: "multiple_choice"
  readonly text?: (row: Row) => string
  readonly inputs?: (row: Row) => { readonly contexts: ReadonlyArray<string>; readonly gold: number; readonly target: string }
  readonly choices: (row: Row) => ReadonlyArray<string>
  /** Index of the right choice. */
  readonly gold: (row: Row) => number
}
/** The log-likelihood of one right answer. */
export interface LogLikelihood extends Shared {
  readonly output: "loglikelihood"
  readonly text: (row: Row) => string
  readonly target: (row: Row) => string
}
/** The log-likelihood of a whole text; `counted` is the text whose words and bytes divide it. */
export interface Rolling extends Shared {
  readonly output: "loglikelihood_rolling"
  readonly target: (row: Row) => string
  readonly counted: (row: Row) => string
}
/** Free text, of which an answer is taken. */
export interface Generate extends Shared {
  readonly output: "generate_until"
  readonly text: (row: Row) => string
  readonly target: (row: Row) => string
  /** Texts that end an answer; the tokenizer's end-of-text token does too. */
  readonly until: ReadonlyArray<string>
  /** Each takes an answer of the text, and is a line of the results. */
  readonly filters: ReadonlyArray<Filter>
  /** Cut out of answer and target before they are compared. */
  readonly ignore: ReadonlyArray<RegExp>
}
export type Recipe = MultipleChoice | LogLikelihood | Rolling | Generate

/** A task's data are missing or not what its recipe reads. */
export class TaskError extends Schema.TaggedError<TaskError>()("TaskError", { task: Schema.String, at: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `${this.task}: ${this.at}: ${this.problem}. ${this.remedy}` }
}
