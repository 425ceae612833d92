/**
 * PHATGOOSE's gates: for each expert, after it is trained, a direction of the hidden state that says where it helps, learned on its own text.
 *
 * While gates are trained everything else is frozen, and a sequence is run by its domain's expert alone, what the expert adds scaled by sigmoid(x · gate): of
 * low-rank experts their three changes, with one gate for the feed-forward where the paper has one for each linear layer; of full ones their output, which is ours,
 * since they add to nothing. Gates begin at zero, half open. An expert's gate meets only its own sequences, so that all are trained in one run.
 * The router then compares standardized gates with standardized states (`Router.phatgoose`).
 * Paper: Muqeeth et al., "Learning to route among specialized experts for zero-shot generalization", 2024.
 */
import { Checkpoint, Corpus, Stage, Table, Tables, Weights } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { Effect, Option, Schema } from "effect"
import { expertsOf } from "./expertsOf.ts"
import * as LanguageModel from "./LanguageModel.ts"
import { train } from "./train.ts"
import * as Training from "./Training.ts"
import { sequencesOf, trainStep } from "./trainStep.ts"

type Model = Checkpoint.Checkpoint<"mixture">["model"]
const { steps: _, weightDecay: __, ...fields } = Training.fields
const Options = Schema.Struct({
  ...fields, steps: Schema.Int.check(Schema.isGreaterThan(0)).pipe(Stage.byDefault(100)), labels: Schema.optionalKey(Schema.Record(Schema.String, Schema.Int))
})
type Options = typeof Options.Type

const prepare = (model: Model, options: Options, replicas: number) => Effect.gen(function*() {
  const refuse = (option: string, problem: string, remedy: string) => new Training.TrainingError({ option, problem, remedy })
  if (options.tokens > model.contextLength) return yield* refuse("tokens", `${options.tokens} tokens in a sequence, the model takes ${model.contextLength}`, `at most ${model.contextLength}`)
  const self = yield* LanguageModel.make(model, { batch: sequencesOf(options.batch, replicas), tokens: options.tokens })
  const by = self.router?.score.by
  if (by !== "standardized") return yield* refuse("router", `the mixture's router scores by ${by}, it has no gates`, "upcycle with Router.phatgoose")
  return { self, names: LanguageModel.select(self, "routers").filter((name) => name.endsWith(".router.gates")) }
})

/**
 * Stage: the mixture with trained gates; everything else keeps its bits.
 *
 * Options: `steps` 100 and those of `Training.fields` without weight decay, which would move the gates of experts that are not at work; `labels`: domain → expert, left out
 * as the upcycle recorded it. Side: `log`. Fails: TrainingError before any work when the router has no gates; when an expert is not known; TrainingDiverged; CorpusError.
 */
export const fit = Stage.make("phatgoose/fit", {
  version: 1,
  seeded: true,
  inputs: [Stage.one("mixture", Checkpoint.Mixture), Stage.record("texts", Corpus.Artifact)],
  options: Options,
  output: Checkpoint.Mixture,
  sides: { log: Table.Artifact(Tables.TrainLog) },
  *describe({ mixture: { key: _key, ...header }, texts }, options) {
    const replicas = Option.match(yield* Effect.serviceOption(Device.Device), { onNone: () => 1, onSome: (device) => device.replicas })
    const { names, self } = yield* prepare(header.model as Model, options, replicas), aims = { balance: [], gated: { labels: Object.keys(texts).map(() => 0) } }
    const { deviceBytes, flops, largestBuffer } = yield* Device.planned(trainStep(self, names, options, aims, { replicas }).program)
    return { header, cost: { flops: flops * options.steps, deviceBytes, largestBuffer } }
  },
  *run({ mixture, texts }, given, context) {
    const device = yield* Device.Device, options = { ...given, weightDecay: 0 }
    const { names, self } = yield* prepare(mixture.model, given, device.replicas), domains = Object.keys(texts).sort()
    const labels = yield* expertsOf(mixture, domains, given.labels)
    const batches = yield* Corpus.batches(domains.map((name) => texts[name]!), { tokenizer: mixture.tokenizer, split: "train", batch: options.batch, tokens: options.tokens, seed: context.seed })
    const arena = yield* device.arena
    const initialize = Effect.gen(function*() {
      yield* LanguageModel.load(arena, self, mixture.weights)
      for (const name of names) yield* arena.upload(self.parameters.get(name)!, new Float32Array(self.parameters.get(name)!.slot.length))
    })
    const log = yield* train(self, names, { arena, device, batches, options, context, aims: { balance: [], gated: { labels } }, initialize })
    const main = Checkpoint.derive(mixture, {
      weights: Weights.overlay(mixture.weights, yield* LanguageModel.read(arena, self, names)),
      step: { stage: "phatgoose/fit", key: context.key, inputs: context.keys, facts: { steps: options.steps, tokens: options.steps * options.batch * options.tokens, seed: context.seed } }
    })
    return { main, log: yield* Table.fromRows(Tables.TrainLog, log) }
  }
})
