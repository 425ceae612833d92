/**
 * `eval:perplexity`: bits per byte and per token, and the perplexities of token, byte and word, of models on texts. Every document is scored by
 * rolling log-likelihood: each token once, with as much left context as fits.
 */
import { Corpus, Pipeline, type Stage, type Table, type Tables } from "@switchyard/core"
import type { Storage } from "@switchyard/gpu"
import { Effect, type Option } from "effect"
import { Command, Flag } from "effect/cli"
import * as Evaluate from "../Evaluate.ts"
import { documentNames } from "../metrics.ts"
import * as Report from "../Report.ts"
import * as Scores from "../Scores.ts"
import * as Task from "../Task.ts"
import * as Inputs from "./inputs.ts"
import { perplexities, wordCount } from "./perplexities.ts"
import { present } from "./present.ts"
import { common, place, several, start, storage, stored, work } from "./target.ts"

/** Flags of scoring: `--tokens --document-bytes`. */
export const scoring = {
  tokens: Flag.Int("tokens").pipe(Flag.withDefault(256), Flag.withDescription("tokens of a window, at most the model's context")),
  documentBytes: Flag.Int("document-bytes").pipe(Flag.withDefault(1024), Flag.withDescription("a text is cut between paragraphs into documents of about so many characters; each line of a .jsonl file is one"))
}
const limit = "score at most so many bytes of each text, a sample of its documents"

export interface Flags {
  readonly model: ReadonlyArray<string>
  readonly text: ReadonlyArray<string>
  readonly tokens: number
  readonly documentBytes: number
  readonly storage?: "f32" | Storage.Storage
  readonly limit: Option.Option<number>
}

const noLogs: Readonly<Record<string, Stage.Node<Table.Table<Tables.TrainLog>>>> = {}

/** The scores of each model and a report of them; what `eval:perplexity` and `eval:compare` share. */
export const scored = (target: string, flags: Flags, options: { readonly title: string; readonly models: Readonly<Record<string, Inputs.ModelNode>>; readonly baselines: ReadonlyArray<string> }) => Effect.gen(function*() {
  const texts = yield* Inputs.texts(target, flags.text, flags)
  const task = Task.bitsPerByte({ tokens: flags.tokens })
  const pipeline = Pipeline.make(target, () => {
    const scores = Pipeline.each(options.models, (model) => Evaluate.score(model, texts, { task, ...stored(flags.storage ?? "f32") }))
    const report = Evaluate.report(scores, Pipeline.each(scores, ({ facts }) => facts), noLogs, {
      title: options.title, task, baselines: options.baselines,
      notes: [
        `Rolling log-likelihood in windows of at most ${flags.tokens} tokens: every token once, documents never joined, the first token predicted from the beginning-of-text token, no other special tokens.`,
        "Over several texts a figure is the mean of the texts' figures (of bits, for perplexities), whatever their length."
      ]
    })
    return { texts, scores, report }
  })
  const { report, scores, texts: corpora } = yield* Pipeline.run(pipeline)
  return { report, corpora, documents: Pipeline.each(scores, (table) => Scores.toDocuments(table)) }
})

/** The report of `eval:perplexity`. Fails: `TargetError`, `CheckpointError`, `CorpusError`, `FileError`; the device's and the store's failures. */
export const perplexity = (flags: Flags) => Effect.gen(function*() {
  const models = yield* Inputs.models("eval:perplexity", flags.model)
  const { corpora, documents, report } = yield* scored("eval:perplexity", flags, { title: "Perplexity", models, baselines: [] })
  const words = new Map(Object.values(corpora).flatMap((corpus) => {
    const kept = Corpus.of(corpus, "report"), names = documentNames(kept.map(({ id }) => ({ domain: corpus.domain, document: id })))
    return kept.map(({ text }, at) => [names[at]!, wordCount(text)] as const)
  }))
  const wordsOf = new Map(Object.values(documents).flatMap((scores) => { const names = documentNames(scores); return scores.map((score, at) => [score, words.get(names[at]!)!] as const) }))
  return Report.extend(report, { values: [...report.values, ...perplexities(documents, (score) => wordsOf.get(score)!)] })
})

export const command = Command.make("eval:perplexity", {
  model: several("model", "NAME", "a model's folder, .gguf file or Hub id (org/name@revision), dense or mixture; several times, or several after one another"),
  text: several("text", "FILE", "a text, .jsonl file or folder of them, each a column of the tables"),
  ...scoring, storage, ...common("perplexity", limit)
}, (flags) => Effect.flatMap(work(flags, perplexity(flags)), (report) => present(report, place(flags.out)))).pipe(
  Command.withDescription("bits per byte and per token, and perplexities, of models on texts"))

await start(command, import.meta)
