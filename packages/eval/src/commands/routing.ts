/**
 * `eval:routing`: who carries the load in a mixture, how decided its routers are, which experts work together, and which text asks whom.
 */
import { File, Pipeline, Table, type Tables } from "@switchyard/core"
import { Trace } from "@switchyard/routing"
import { Console, Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { join } from "node:path"
import * as Diagnostics from "../Diagnostics.ts"
import * as Plot from "../Plot.ts"
import * as Report from "../Report.ts"
import * as Inputs from "./inputs.ts"
import { aligned, present } from "./present.ts"
import { scoring } from "./perplexity.ts"
import { common, place, several, start, TargetError, work } from "./target.ts"

/** Bytes of each text that are traced where no limit is given: one row for each token, layer and rank. */
const traced = 20_000

export interface Flags {
  readonly model: string
  readonly text: ReadonlyArray<string>
  readonly tokens: number
  readonly documentBytes: number
  readonly limit: Option.Option<number>
  readonly seed: number
}

const documentsIn = (trace: Table.Table<Tables.Trace>): number => {
  const domain = Table.column(trace, "domain").indices
  return new Set(Array.from(Table.column(trace, "document"), (document, row) => `${domain[row]}/${document}`)).size
}

/** How experts share: of the tokens that ask one, the part that asks each other too. */
const companions = (layers: ReadonlyArray<Diagnostics.Layer>) => layers.map(({ coActivation, layer, load }) => ({
  layer, load, byDomain: Object.fromEntries(coActivation.map((row, expert) => [`expert ${expert}`, row.map((share) => row[expert] === 0 ? 0 : share / row[expert]!)]))
}))

/** The report, the trace and every layer's diagnostics. Fails: `TargetError` on a dense model; else as `eval:perplexity`. */
export const routing = (flags: Flags) => Effect.gen(function*() {
  const target = "eval:routing", loaded = yield* Inputs.model(flags.model)
  if (loaded.form === "dense") return yield* new TargetError({ target, problem: `${flags.model} holds a dense model, which routes nothing`, remedy: "Give a mixture's folder, or score it with eval:perplexity" })
  const limit = Option.getOrElse(flags.limit, () => traced), texts = yield* Inputs.texts(target, flags.text, { ...flags, limit: Option.some(limit) })
  const pipeline = Pipeline.make(target, () => ({ trace: Trace.capture(loaded.node, texts, { split: "report", tokens: limit * flags.text.length, window: flags.tokens }) }))
  const { trace } = yield* Pipeline.run(pipeline)
  const layers = Diagnostics.layers(trace, { experts: loaded.experts }), [model] = yield* Inputs.names(target, [flags.model])
  const count = documentsIn(trace), number = (value: number) => value.toFixed(2)
  // "bit": an entropy, of which neither more nor less is better, as of bits needed for a byte
  const value = (layer: number, metric: string, unit: string, value: number): Report.Value => ({ model: model!, task: `layer ${layer}`, metric, unit, value, count, standardError: null })
  const figure = (spec: Plot.Spec, alt: string, howToRead: string): Report.Figure => ({ spec: spec as never, alt, howToRead })
  const report = Report.make({
    title: `Routing of ${model}`, seed: flags.seed,
    values: [
      ...layers.map((at) => value(at.layer, "loadEntropy", "bit", at.loadEntropy)), ...layers.map((at) => value(at.layer, "tokenEntropy", "bit", at.tokenEntropy)),
      ...layers.map((at) => value(at.layer, "specialisation", "bit", at.specialisation)), ...layers.map((at) => value(at.layer, "largestLoad", "share of slots", Math.max(...at.load)))
    ],
    sections: [
      {
        title: "Load", text: layers.map(({ layer, load, loadEntropy }) => `Layer ${layer}: ${load.map((share) => `${(100 * share).toFixed(0)} %`).join(", ")}; entropy ${number(loadEntropy)} of ${number(Math.log2(load.length))} bits.`).join(" "),
        figures: [figure(Plot.expertLoad(layers), "Expert load by layer", "A row is a layer; its cells add up to 100 %. Even cells mean an even load.")]
      },
      { title: "Specialisation", text: layers.map(({ layer, specialisation }) => `Layer ${layer}: the text tells ${number(specialisation)} bits about the expert.`).join(" "), figures: [figure(Plot.domainHeat(layers), "Expert by text", "A row is a text, its cells add up to 100 %. Rows alike mean that routing ignores the text.")] },
      { title: "Co-activation", figures: [figure(Plot.domainHeat(companions(layers)), "Experts asked together", "Of the tokens that ask the row's expert, the part that asks the column's too; the diagonal is 100 %.")] }
    ],
    notes: [
      "loadEntropy: log₂ experts when the load is even. tokenEntropy: mean entropy of a token's own combine weights, 0 when one expert has all the say. specialisation: mutual information of text and expert, 0 when routing ignores the text.",
      `${trace.header.rows.toLocaleString("en")} rows of ${count} documents, all in trace.arrow; loads, texts and pairs in diagnostics.json.`
    ]
  })
  return { report, trace, layers }
})

export const command = Command.make("eval:routing", {
  model: Flag.String("model").pipe(Flag.withMetavar("NAME"), Flag.withDescription("a mixture's folder, .gguf file or Hub id (org/name@revision)")),
  text: several("text", "FILE", "a text, .jsonl file or folder of them; specialisation is measured between them"),
  ...scoring, ...common("routing", `trace at most so many bytes of each text, a sample of its documents (default ${traced})`)
}, (flags) => Effect.gen(function*() {
  const { layers, report, trace } = yield* work(flags, routing(flags)), out = place(flags.out)
  yield* Table.write(trace, join(out, "trace.arrow"))
  yield* File.writeJson(join(out, "diagnostics.json"), layers)
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`
  yield* Console.log(`load (share of slots)\n${aligned([["", ...layers[0]?.load.map((_, expert) => `expert ${expert}`) ?? []], ...layers.map(({ layer, load }) => [`layer ${layer}`, ...load.map(percent)])])}\n`)
  yield* present(report, out, ["beside it: trace.arrow, diagnostics.json"])
})).pipe(Command.withDescription("load, entropy, specialisation and co-activation of a mixture's experts on texts"))

await start(command, import.meta)
