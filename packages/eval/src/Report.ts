/**
 * A report: named values with their unit, count and standard error; where the models came from; what the run was planned to cost and did cost;
 * and sections with plots. One value, rendered as Markdown, JSON, an Arrow table and one self-contained HTML page.
 */
import { Artifact, File, Table, Tables } from "@switchyard/core"
import { Effect, Schema } from "effect"
import { join } from "node:path"
import { page } from "./page.ts"
import { markdown } from "./reportMarkdown.ts"

/** One measured number. Units: `standardError` is over the `count` documents, null where there are fewer than two. */
export const Value = Schema.Struct({
  model: Schema.String, task: Schema.String, metric: Schema.String, value: Schema.Finite, unit: Schema.String,
  count: Schema.Int, standardError: Schema.NullOr(Schema.Finite)
})
export type Value = typeof Value.Type

/** A plot with the sentence that says how to read it; `spec` is Vega-Lite with its data inside. */
export const Figure = Schema.Struct({ spec: Schema.Record(Schema.String, Schema.Json), alt: Schema.String, howToRead: Schema.String })
export type Figure = typeof Figure.Type
export const Section = Schema.Struct({ title: Schema.String, text: Schema.optionalKey(Schema.String), figures: Schema.Array(Figure) })
export type Section = typeof Section.Type

const Quantity = Schema.optionalKey(Schema.Finite)
/** What one stage costs. Units: floating-point operations, bytes (memory: the peak), seconds. */
export const StageCost = Schema.Struct({
  stage: Schema.String, flops: Quantity, hostBytes: Quantity, deviceBytes: Quantity, bytesRead: Quantity, bytesWritten: Quantity,
  largestBuffer: Quantity, seconds: Quantity
})
export type StageCost = typeof StageCost.Type

const Fields = Schema.Struct({
  title: Schema.String,
  /** What the reader must know before the first number: "one seed, short budget". */
  banner: Schema.optionalKey(Schema.String),
  seed: Schema.Int,
  split: Schema.String,
  /** What counts and standard errors are over; documents where left out. */
  over: Schema.optionalKey(Schema.String),
  /** Facts about each model, by its name. */
  lineage: Schema.Record(Schema.String, Schema.Json),
  values: Schema.Array(Value),
  sections: Schema.Array(Section),
  plan: Schema.Array(StageCost),
  actual: Schema.Array(StageCost),
  notes: Schema.Array(Schema.String)
})
export type Fields = typeof Fields.Type
/** What `json` reads and writes. */
export { Fields as schema }

export interface Header { readonly title: string; readonly models: ReadonlyArray<string>; readonly values: number }
export interface Report extends Fields { readonly kind: "report"; readonly header: Header }

/** A report; what is left out is empty. Dies on a model, task and metric that is measured twice. */
export const make = (given: Pick<Fields, "title" | "values"> & Partial<Fields>): Report => {
  const seen = new Set<string>()
  for (const { model, task, metric } of given.values) {
    const name = JSON.stringify([model, task, metric])
    if (seen.has(name)) throw new Error(`Report.make: ${metric} of ${model} on ${task} is given twice`)
    seen.add(name)
  }
  return {
    kind: "report", seed: 0, split: "report", lineage: {}, sections: [], plan: [], actual: [], notes: [], ...given,
    header: { title: given.title, models: [...new Set(given.values.map(({ model }) => model))], values: given.values.length }
  }
}

/** The same report with more in it: sections and notes are appended, lineage is joined, the rest replaced. */
export const extend = (report: Report, more: Partial<Fields>): Report => {
  const { kind: _, header: __, ...fields } = report
  return make({
    ...fields, ...more, lineage: { ...report.lineage, ...more.lineage }, sections: [...report.sections, ...more.sections ?? []],
    notes: [...report.notes, ...more.notes ?? []]
  })
}

/** The report as Markdown: tables, how-to-read lines and notes, without pictures. */
export const toMarkdown = (report: Report): string => markdown(report)

/** The report as JSON data; `values` is the list `{ model, task, metric, value, unit, count, standardError }`. */
export const toJson = (report: Report): Schema.Json => {
  const { kind: _, header: __, ...fields } = report
  return JSON.parse(JSON.stringify(fields)) as Schema.Json
}

/** The report's values as a Results table. */
export const toArrow = (report: Report): Table.Table<Tables.Results> => Table.make(Tables.Results, {
  model: report.values.map(({ model }) => model), task: report.values.map(({ task }) => task), metric: report.values.map(({ metric }) => metric),
  value: report.values.map(({ value }) => value), unit: report.values.map(({ unit }) => unit), count: report.values.map(({ count }) => count),
  standardError: report.values.map(({ standardError }) => standardError),
  seed: report.values.map(() => report.seed), split: report.values.map(() => report.split)
})

/** The report as one HTML page that asks for nothing from anywhere: plots are drawings inside it. */
export const toHtml = (report: Report): Effect.Effect<string> => Effect.promise(() => page(report))

/** Writes `report.json`, `report.md`, `report.html` and `results.arrow` into a folder, each whole or not at all. Fails: `FileError`. */
export const write = (report: Report, folder: string): Effect.Effect<void, File.FileError> => Effect.gen(function*() {
  const html = yield* toHtml(report)
  yield* Table.write(toArrow(report), join(folder, "results.arrow"))
  yield* File.write(join(folder, "report.md"), toMarkdown(report))
  yield* File.write(join(folder, "report.html"), html)
  yield* File.writeJson(join(folder, "report.json"), toJson(report))
})

/** Kept as `value.json`. */
const artifact: Artifact.Artifact<Report> = (() => {
  const kept = Artifact.json("report", Fields)
  return Artifact.make<Report>("report", {
    save: (report, directory) => kept.save(toJson(report) as never, directory),
    load: (directory) => Effect.map(kept.load(directory), make),
    header: ({ header }) => header
  })
})()
export { artifact as Artifact }
