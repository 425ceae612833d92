/**
 * Evaluation as stages: `score` runs one model over held-out text, `report` sets the scores of several beside each other; `compare` is both,
 * so that a model scored once is not scored again when another joins the table.
 */
import { Artifact, Checkpoint, Corpus, Model, Pipeline, Stage, Table, Tables } from "@switchyard/core"
import { Device, Storage } from "@switchyard/gpu"
import { meanActiveParameters } from "@switchyard/routing"
import { Effect, Option, Schema } from "effect"
import * as Diagnostics from "./Diagnostics.ts"
import { allDomains, oracle, values } from "./values.ts"
import * as Plot from "./Plot.ts"
import * as Report from "./Report.ts"
import { program, score as scoreDocuments } from "./score.ts"
import * as ScoredWindows from "./scoredWindows.ts"
import * as Scores from "./Scores.ts"
import { Task } from "./Task.ts"

/** What a model is and what scoring it took. Units: bytes; activeParameters and flopsPerToken count everything executed for a token, scoring by routers included. */
export const Facts = Schema.Struct({
  form: Schema.String, parameters: Schema.Int, activeParameters: Schema.Int, experts: Schema.Int, active: Schema.Int, flopsPerToken: Schema.Finite, tokens: Schema.Int, device: Schema.String, key: Schema.String, made: Schema.Array(Schema.String)
})
export type Facts = typeof Facts.Type
const facts = Artifact.json("facts", Facts)
const scores = Table.Artifact(Scores.Scores), trace = Table.Artifact(Tables.Trace), log = Table.Artifact(Tables.TrainLog)

const replicasOf = Effect.map(Effect.serviceOption(Device.Device), Option.match({ onNone: () => 1, onSome: ({ replicas }) => replicas }))

/** Stage: the log-likelihood of every held-out document. Side: `facts`. Options: `task` (`Task.bitsPerByte()`); `storage` of the weights on the device (f32 when left out). Fails: CorpusError on an empty split; the device's failures. */
export const score = Stage.make("evaluate/score", {
  version: 2,
  inputs: [Stage.one("model", Checkpoint.Either), Stage.record("texts", Corpus.Artifact)],
  options: Schema.Struct({ task: Task, storage: Schema.optionalKey(Storage.Storage) }),
  output: scores,
  sides: { facts },
  *describe({ model, texts }, { storage, task }) {
    const replicas = yield* replicasOf
    const fed = yield* program(model.model, task, replicas, storage), { deviceBytes, flops, largestBuffer } = yield* Device.planned(fed.program)
    return {
      header: { table: "scores", version: 1, rows: Object.values(texts).reduce((sum, { splits }) => sum + (splits?.[task.split].documents ?? 0), 0) },
      cost: { flops: ScoredWindows.submissions(texts, task, fed) * flops, deviceBytes, largestBuffer }
    }
  },
  *run({ model, texts }, { storage, task }, context) {
    const found = yield* scoreDocuments(model, texts, task, (done, total) => context.progress(done, total, "tokens"), storage)
    yield* context.actual({ flops: found.flops, deviceBytes: found.deviceBytes, device: found.device })
    const form = model.model.feedForward
    return {
      main: Scores.fromDocuments(found.scores),
      facts: {
        form: form.kind, parameters: Model.parameters(model.model), activeParameters: Math.round(meanActiveParameters(model.model, { tokens: Math.min(task.tokens, model.model.contextLength) })), experts: form.kind === "mixture" ? form.experts : 1, active: form.kind === "mixture" ? form.active : 1,
        flopsPerToken: found.flopsPerToken, tokens: found.tokens, device: found.device, key: context.keys["model"] ?? "", made: model.lineage.map(({ stage }) => stage)
      }
    }
  }
})

const ReportOptions = {
  title: Schema.String,
  /** What the reader must know before the first number: "one seed, short budget". */
  banner: Schema.optionalKey(Schema.String),
  task: Task,
  /** Models that every other is compared with, document by document. */
  baselines: Schema.Array(Schema.String).pipe(Stage.byDefault([])),
  /** Adds the row `oracle`: each document by its own domain's model; domain → model. */
  oracle: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  notes: Schema.Array(Schema.String).pipe(Stage.byDefault([]))
} as const

/** Stage: scores of several models on the same documents, set beside each other, with plots of quality, training and routing. Dies on a baseline or an oracle's expert that is none of the models, when it is planned. */
export const report = Stage.make("evaluate/report", {
  version: 2, seeded: true,
  inputs: [Stage.record("scores", scores), Stage.record("facts", facts), Stage.record("logs", log)],
  optional: { trace },
  options: Schema.Struct(ReportOptions),
  output: Report.Artifact,
  *describe({ scores }, { baselines, oracle, title }) {
    const models = Object.keys(scores)
    const unknown = (option: string, name: string) => Effect.die(new Error(`evaluate/report: ${option}: ${JSON.stringify(name)} is none of the models, which are ${models.join(", ")}`))
    for (const name of baselines) if (!models.includes(name) && !(name === "oracle" && oracle !== undefined)) yield* unknown("baselines", name)
    for (const [domain, name] of Object.entries(oracle ?? {})) if (!models.includes(name)) yield* unknown(`oracle.${domain}`, name)
    if (oracle !== undefined && models.includes("oracle")) yield* Effect.die(new Error("evaluate/report: oracle: a model has that name already; give it another"))
    return { header: { title, models: Object.keys(scores), values: 0 }, cost: {} }
  },
  *run({ facts, logs, scores, trace }, options, context) {
    const documents = Object.fromEntries(Object.entries(scores).map(([model, table]) => [model, Scores.toDocuments(table)]))
    const all = options.oracle === undefined ? documents : { ...documents, oracle: oracle(documents, options.oracle) }
    const rows = values(all, { baselines: options.baselines })
    // against a baseline where there is one: paired by document, so that the bars say how sure the difference is
    const baseline = options.baselines[0], metric = baseline === undefined ? "bitsPerByte" : `bitsPerByte − ${baseline}`, task = rows.some((row) => row.task === allDomains) ? allDomains : rows[0]?.task
    const quality = [...rows.filter((row) => row.metric === metric && row.task === task), ...baseline === undefined ? [] : [{ model: baseline, value: 0, standardError: 0 }]].filter(({ model }) => facts[model] !== undefined)
      .map(({ model, standardError, value }) => ({ model, value, standardError: standardError ?? 0, parameters: facts[model]!.parameters, activeFlops: facts[model]!.flopsPerToken }))
    const curves = Object.fromEntries(Object.entries(logs).map(([name, table]) => [name, { tokens: Table.column(table, "tokens"), loss: Table.column(table, "loss") }]))
    const figure = (spec: Plot.Spec, alt: string, howToRead: string): Report.Figure => ({ spec: spec as never, alt, howToRead })
    const layers = trace === undefined ? [] : Diagnostics.layers(trace)
    const number = (value: number) => value.toFixed(2)
    yield* Effect.void
    return Report.make({
      title: options.title, ...options.banner === undefined ? {} : { banner: options.banner }, seed: context.seed, split: options.task.split, values: rows, notes: options.notes,
      lineage: Object.fromEntries(Object.entries(facts).map(([model, fact]) => [model, fact as never])),
      sections: [
        { title: "Quality against size and work", text: "Each model on the same held-out documents.", figures: [figure(Plot.qualityBySize(quality, { quality: baseline === undefined ? "bits per byte" : `bits per byte above ${baseline}` }), "Quality against parameters and FLOPs per token", "Lower is better, further left is smaller or cheaper. Bars are one standard error over documents.")] },
        ...Object.keys(curves).length === 0 ? [] : [{ title: "Training", figures: [figure(Plot.lossCurves(curves), "Training loss", "Each line is one training run; a flat line has stopped learning.")] }],
        ...layers.length === 0 ? [] : [{
          title: "Routing",
          text: layers.map((layer) => `Layer ${layer.layer}: load entropy ${number(layer.loadEntropy)} of ${number(Math.log2(layer.load.length))} bits, entropy of a token's weights ${number(layer.tokenEntropy)} bits, domain tells ${number(layer.specialisation)} bits about the expert.`).join(" "),
          figures: [
            figure(Plot.expertLoad(layers), "Expert load by layer", "A row is a layer; its cells add up to 100 %. Even cells mean an even load."),
            figure(Plot.domainHeat(layers), "Expert by domain", "A row is a domain, its cells add up to 100 %. Rows alike mean that routing ignores the domain.")
          ]
        }]
      ]
    })
  }
})

type Options = Omit<Parameters<typeof report>[3], "trace">

/**
 * Scores every model on every text and reports them together. Options: as `report`, and `logs`: training logs to plot.
 *
 * Each model is a node of its own, so a change of one leaves the others' scores remembered.
 */
export const compare = <E1 = never, R1 = never, E2 = never, R2 = never, E3 = never, R3 = never, E4 = never, R4 = never>(
  models: Readonly<Record<string, Stage.Node<Checkpoint.Checkpoint<"dense"> | Checkpoint.Checkpoint<"mixture">, E1, R1>>>, texts: Readonly<Record<string, Stage.Node<Corpus.Corpus, E2, R2>>>,
  { logs = {}, ...options }: Options & {
    readonly logs?: Readonly<Record<string, Stage.Node<Table.Table<Tables.TrainLog>, E3, R3>>>
    readonly trace?: Stage.Node<Table.Table<Tables.Trace>, E4, R4>
  }
) => {
  const scored = Pipeline.each(models, (model) => score(model, texts, { task: options.task }))
  return report(scored, Pipeline.each(scored, ({ facts }) => facts), logs, options)
}
