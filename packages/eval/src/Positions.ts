/**
 * How well a model predicts by position in its context, and how soon a router finds the expert of the text's own domain: the first bytes of
 * a context tell little about its domain, and a mean over all positions hides what that costs.
 */
import { Artifact, Checkpoint, Corpus, Model, Stage, Table } from "@switchyard/core"
import { Device, Op, Recording } from "@switchyard/gpu"
import { expertsOf, LanguageModel, meanActiveParameters } from "@switchyard/routing"
import { Effect, Option, Schema } from "effect"
import * as ScoredWindows from "./scoredWindows.ts"
import * as Scores from "./Scores.ts"
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
  const { batch, tokens } = ScoredWindows.sizes(model, task, replicas)
  const self = yield* LanguageModel.make(model, { batch, tokens }), { ids, targets } = ScoredWindows.inputs(batch * tokens)
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
    const fed = yield* program(model.model, task, replicas), { deviceBytes, flops, largestBuffer } = yield* Device.planned(fed.program)
    return { header: { table: "positions", version: 1, rows: Object.keys(texts).length * fed.tokens }, cost: { flops: ScoredWindows.submissions(texts, task, fed) * flops, deviceBytes, largestBuffer } }
  },
  *run({ model, texts }, { labels, task }, context) {
    const device = yield* Device.Device, arena = yield* device.arena
    const fed = yield* program(model.model, task, device.replicas), { program: recorded, self, tokens } = fed
    yield* LanguageModel.load(arena, self, model.weights)
    const names = Object.keys(texts), own = recorded.outputs.decisions.length === 0 ? undefined : yield* expertsOf(model, names, labels)
    const columns = () => new Float64Array(names.length * tokens) // [domains, tokens]
    const count = columns(), nats = columns(), weight = columns(), chosen = columns()
    const { documents } = yield* ScoredWindows.run(arena, fed, model, texts, task, (part, losses, { windows }) => Effect.gen(function*() {
      const layers = yield* Effect.forEach(recorded.outputs.decisions, ({ active, experts, weights }) => Effect.map(Effect.all([arena.read(experts), arena.read(weights)]), ([chosen, given]) => ({ active, chosen, given })))
      part.forEach(({ at, window }, row) => {
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
      yield* context.progress(windows.done, windows.total, "windows")
    }))
    const stats = yield* arena.stats
    yield* context.actual({ flops: stats.flops, deviceBytes: stats.peakBytes, device: device.adapter })
    const cells = [...count.keys()].filter((cell) => count[cell]! > 0)
    const of = (column: Float64Array) => Float64Array.from(cells, (cell) => column[cell]!)
    const main = Table.make(Positions, {
      domain: cells.map((cell) => names[Math.floor(cell / tokens)]!), position: Uint32Array.from(cells, (cell) => cell % tokens),
      tokens: Uint32Array.from(cells, (cell) => count[cell]!), nats: of(nats), weight: of(weight), chosen: of(chosen)
    })
    const size = { parameters: Model.parameters(model.model), activeParameters: meanActiveParameters(model.model, { tokens }), flopsPerToken: recorded.flops * device.replicas / (fed.batch * tokens) }
    return { main, scores: Scores.fromDocuments(documents), size }
  }
})
