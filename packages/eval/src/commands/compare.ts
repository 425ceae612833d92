/**
 * `eval:compare`: models against each other and against a control, document by document on the same text. A difference counts when it is
 * larger than two of its standard errors; models with different tokenizers are compared in bits per byte of the same bytes.
 */
import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { difference, type DocumentScore, type Measured, meanOf } from "../metrics.ts"
import * as Report from "../Report.ts"
import { withError } from "../reportTables.ts"
import { allDomains } from "../values.ts"
import * as Inputs from "./inputs.ts"
import { type Flags as Scoring, scored, scoring } from "./perplexity.ts"
import { present } from "./present.ts"
import { common, place, several, start, storage, TargetError, work } from "./target.ts"

/** `a − b = …: b better`, in bits per byte: less is better. */
export const verdict = (a: string, b: string, measured: Measured): string => {
  const { standardError, value } = measured
  const end = standardError === null ? "too few documents for a standard error" : Math.abs(value) <= 2 * standardError ? "no difference beyond two standard errors" : `${value < 0 ? a : b} better`
  return `${a} − ${b} = ${withError(measured)} bits/byte: ${end}`
}

/** A verdict for each pair, on each domain and over all. */
export const verdicts = (documents: Readonly<Record<string, ReadonlyArray<DocumentScore>>>, pairs: ReadonlyArray<readonly [string, string]>): ReadonlyArray<{ readonly task: string; readonly text: string }> => pairs.flatMap(([a, b]) => {
  const domains = [...new Set(documents[a]!.map(({ domain }) => domain))]
  const of = (model: string, domain: string) => documents[model]!.filter((score) => score.domain === domain)
  const parts = domains.map((domain) => difference(of(a, domain), of(b, domain)))
  return [...domains.map((task, at) => ({ task, text: verdict(a, b, parts[at]!) })), ...domains.length > 1 ? [{ task: allDomains, text: verdict(a, b, meanOf(parts)) }] : []]
})

export interface Flags extends Scoring { readonly control: Option.Option<string> }
/** The report of `eval:compare` and its verdicts. Fails: as `perplexity`, and on fewer than two models. */
export const compare = (flags: Flags) => Effect.gen(function*() {
  if (flags.model.length < 2) return yield* new TargetError({ target: "eval:compare", problem: `${flags.model.length} model is given`, remedy: "Give --model at least twice; for a single model there is eval:perplexity" })
  const folders = [...flags.model, ...Option.toArray(flags.control)]
  const models = yield* Inputs.models("eval:compare", folders), names = Object.keys(models)
  const { documents, report } = yield* scored("eval:compare", flags, { title: "Comparison", models, baselines: names.slice(1) })
  const pairs = names.flatMap((a, at) => names.slice(at + 1).map((b) => [a, b] as const))
  const found = verdicts(documents, pairs), last = found.at(-1)!.task
  return {
    report: Report.extend(report, {
      banner: found.filter(({ task }) => task === last).map(({ text }) => text).join("; "),
      notes: [`Differences are paired by document; ± is one standard error over documents. Control: ${Option.isSome(flags.control) ? names.at(-1) : "none"}.`, ...found.map(({ task, text }) => `${task}: ${text}`)]
    }),
    verdicts: found
  }
})

export const command = Command.make("eval:compare", {
  model: several("model", "NAME", "a model's folder, .gguf file or Hub id (org/name@revision); at least two"),
  control: Flag.String("control").pipe(Flag.withMetavar("NAME"), Flag.optional, Flag.withDescription("the model that any gain must be measured against")),
  text: several("text", "FILE", "a text, .jsonl file or folder of them, each a column of the tables"),
  ...scoring, storage, ...common("compare", "score at most so many bytes of each text, a sample of its documents")
}, (flags) => Effect.flatMap(work(flags, compare(flags)), ({ report, verdicts }) => present(report, place(flags.out), verdicts.map(({ task, text }) => `${task}: ${text}`)))).pipe(
  Command.withDescription("paired differences of models against each other and against a control, with standard errors over documents"))

await start(command, import.meta)
