/**
 * How well a model predicts by position in its context, and how soon a router finds the expert of the text's own domain: the first bytes of
 * a context tell little about its domain, and a mean over all positions hides what that costs.
 */
import { Artifact, Checkpoint, Corpus, Model, Stage, Table } from "@switchyard/core"
import { Device, Op, Recording, Tensor } from "@switchyard/gpu"
import { expertsOf, LanguageModel, meanActiveParameters } from "@switchyard/routing"
import { Effect, Option, Schema } from "effect"
import * as Scores from "./Scores.ts"
import { sizes } from "./score.ts"
import { Task } from "./Task.ts"

/**
 * One row for each domain and position. Units: `nats` summed over `tokens` scored tokens; `weight`: the sum over tokens of the weight that the
 * domain's own expert has, averaged over layers; `chosen`: of the share of layers in which it weighs most. Both are zero without a router.
 */
export const Positions = Table.define("positions", { version: 1, columns: { domain: "label", position: "u32", tokens: "u32", nats: "f64", weight: "f64", chosen: "f64" } })
export type Positions = typeof Positions

/** What the model costs: all its weights, those that take part in a token's (the mean over a context, scoring included), and operations per token. */
export const Size = Schema.Struct({ parameters: Schema.Int, activeParameters: Schema.Finite, flopsPerToken: Schema.Finite })
export type Size = typeof Size.Type

/** The program of one batch: the loss of each row, and what each layer's router chose. */
const program = (model: Checkpoint.Any["model"], task: Task, replicas: number) => Effect.gen(function*() {
  const { batch, tokens } = sizes(model, task, replicas), rows = batch * tokens
  const self = yield* LanguageModel.make(model, { batch, tokens })
  const index = (label: string) => Tensor.kept([rows], { dtype: "u32", sharded: true, label })
  const ids = index("ids"), targets = index("targets")
  const recorded = Recording.record(() => {
    const { decisions, losses } = LanguageModel.lossOf(self, ids, targets)
    return {
      losses: Op.keep(losses, "losses", { sharded: true }), // [rows]
      decisions: decisions.map(({ active, experts, layer, weights }) => ({ // [rows, active] each
        active, experts: Op.keep(experts, `experts ${layer}`, { sharded: true }), weights: Op.keep(weights, `weights ${layer}`, { sharded: true })
      }))
    }
  }, { replicas })
  return { self, ids, targets, program: recorded, batch: batch * replicas, tokens }
})

/**
 * Stage: losses and choices by position. Options: `task`; `labels`: domain → its expert (left out, as the upcycle recorded it; of a dense
 * model none). Sides: `scores`, the same losses by document; `size`. Fails: as `Evaluate.score`; TrainingError where a mixture's experts have no known domains.
 */
export const positions = Stage.make("evaluate/positions", {
  version: 1,
  inputs: [Stage.one("model", Checkpoint.Either), Stage.record("texts", Corpus.Artifact)],
  options: Schema.Struct({ task: Task, labels: Schema.optionalKey(Schema.Record(Schema.String, Schema.Int)) }),
  output: Table.Artifact(Positions),
  sides: { scores: Table.Artifact(Scores.Scores), size: Artifact.json("size", Size) },
  *describe({ model, texts }, { task }) {
    const replicas = Option.match(yield* Effect.serviceOption(Device.Device), { onNone: () => 1, onSome: (device) => device.replicas })
    const { batch, program: recorded, tokens } = yield* program(model.model, task, replicas)
    const { deviceBytes, flops, largestBuffer } = yield* Device.planned(recorded)
    const bytes = Object.values(texts).reduce((sum, { bytes = 0, splits }) => sum + Math.min(task.maximumBytes ?? Infinity, splits?.[task.split].bytes ?? bytes), 0)
    return { header: { table: "positions", version: 1, rows: Object.keys(texts).length * tokens }, cost: { flops: Math.ceil(bytes / (batch * tokens)) * flops, deviceBytes, largestBuffer } }
  },
  *run({ model, texts }, { labels, task }, context) {
    const device = yield* Device.Device, arena = yield* device.arena
    const { batch, ids, program: recorded, self, targets, tokens } = yield* program(model.model, task, device.replicas)
    yield* LanguageModel.load(arena, self, model.weights)
    const names = Object.keys(texts), own = recorded.outputs.decisions.length === 0 ? undefined : yield* expertsOf(model, names, labels)
    const rows = (yield* Effect.forEach(names, (domain, at) => Effect.map(
      Corpus.windows(texts[domain]!, { tokenizer: model.tokenizer, split: task.split, tokens, documentBytes: task.documentBytes, maximumBytes: task.maximumBytes }),
      (windows) => windows.map((window) => ({ at, window }))))).flat()
    const columns = () => new Float64Array(names.length * tokens) // [domains, tokens]
    const documents = new Map<string, { domain: string; document: string; tokens: number; bytes: number; logLikelihood: number }>()
    const count = columns(), nats = columns(), weight = columns(), chosen = columns()
    for (let first = 0; first < rows.length; first += batch) {
      const part = rows.slice(first, first + batch), feed = new Uint32Array(batch * tokens), aim = new Uint32Array(batch * tokens).fill(Op.noTarget) // [batch · tokens]
      part.forEach(({ window }, row) => {
        feed.set(window.ids, row * tokens)
        aim.set(window.targets.subarray(window.from, window.length), row * tokens + window.from)
      })
      yield* arena.upload(ids, feed)
      yield* arena.upload(targets, aim)
      yield* arena.submit(recorded)
      const losses = yield* arena.read(recorded.outputs.losses) // [batch · tokens]
      const layers = yield* Effect.forEach(recorded.outputs.decisions, ({ active, experts, weights }) => Effect.map(Effect.all([arena.read(experts), arena.read(weights)]), ([chosen, given]) => ({ active, chosen, given })))
      part.forEach(({ at, window }, row) => {
        const name = `${at}/${window.document}`, document = documents.get(name) ?? { domain: names[at]!, document: window.id, tokens: 0, bytes: 0, logLikelihood: 0 }
        documents.set(name, document)
        document.tokens += window.length - window.from
        document.bytes += window.bytes
        for (let at = window.from; at < window.length; at++) document.logLikelihood -= losses[row * tokens + at]!
        for (let position = window.from; position < window.length; position++) {
          const cell = at * tokens + position, from = row * tokens + position
          count[cell]! += 1
          nats[cell]! += losses[from]!
          for (const { active, chosen: experts, given } of layers) {
            const seen = Array.from({ length: active }, (_, rank) => ({ expert: experts[from * active + rank]!, given: given[from * active + rank]! }))
            const mine = seen.find(({ expert }) => expert === own![at]!)?.given ?? 0
            weight[cell]! += mine / layers.length
            if (mine > 0 && seen.every(({ given }) => given <= mine)) chosen[cell]! += 1 / layers.length
          }
        }
      })
      yield* context.progress(Math.min(first + batch, rows.length), rows.length, "windows")
    }
    const stats = yield* arena.stats
    yield* context.actual({ flops: stats.flops, deviceBytes: stats.peakBytes, device: device.adapter })
    const cells = [...count.keys()].filter((cell) => count[cell]! > 0)
    const of = (column: Float64Array) => Float64Array.from(cells, (cell) => column[cell]!)
    const main = Table.make(Positions, {
      domain: cells.map((cell) => names[Math.floor(cell / tokens)]!), position: Uint32Array.from(cells, (cell) => cell % tokens),
      tokens: Uint32Array.from(cells, (cell) => count[cell]!), nats: of(nats), weight: of(weight), chosen: of(chosen)
    })
    const size = { parameters: Model.parameters(model.model), activeParameters: meanActiveParameters(model.model, { tokens }), flopsPerToken: recorded.flops * device.replicas / (batch * tokens) }
    return { main, scores: Scores.fromDocuments([...documents.values()]), size }
  }
})
