/**
 * Fine-tuning as stages: `lora` trains a low-rank adapter on a dense model, `train` chosen tensors of any checkpoint.
 *
 * Both run the same loop (train.ts): the order of the texts is seeded, the state is saved inside the stage, and a killed run goes on where it
 * was, to the same bits.
 */
import { Checkpoint, Corpus, Model, Stage, Table, Tables, Weights } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { Effect, Option, Schema } from "effect"
import * as Adapter from "./Adapter.ts"
import * as Balance from "./Balance.ts"
import { matrices } from "./Expert.ts"
import * as LanguageModel from "./LanguageModel.ts"
import { modulePaths } from "./peftTargets.ts"
import * as Router from "./Router.ts"
import { expertsOf } from "./expertsOf.ts"
import { train as loop } from "./train.ts"
import * as Training from "./Training.ts"
import { type Aims, corrected, sequencesOf, trainStep } from "./trainStep.ts"

const Log = Table.Artifact(Tables.TrainLog)
type Texts = Readonly<Record<string, Corpus.Corpus>>

/** Texts by name, in the names' order: a result does not depend on the order in which they were written down. A list, since a record would put names that are numbers first. */
const inOrder = <A>(texts: Readonly<Record<string, A>>): ReadonlyArray<readonly [string, A]> => Object.entries(texts).sort(([a], [b]) => a < b ? -1 : 1)

const refuse = (option: string, problem: string, remedy: string) => new Training.TrainingError({ option, problem, remedy })

interface Wanted { readonly select: LanguageModel.Selector | ReadonlyArray<LanguageModel.Selector>; readonly adapter?: LanguageModel.Adapter; readonly aims: Aims }

/** What stands against moving the corrections of this router, if anything does. */
const uncorrected = (router: Router.Router, experts: number, balance: ReadonlyArray<Balance.Balance>): Training.TrainingError | undefined => {
  const { first, top } = Router.kept(router.select, experts)
  return balance.every(Balance.isLoss) ? undefined
    : router.correction !== true ? refuse("balance", "lossFree moves a router's correction, and this router has none", "upcycle with Router.corrected(router), which is born with one, or balance by Balance.switchLoss")
      : top === 0 || first.length + top === experts ? refuse("balance", "the same experts are visited whatever the router's correction", "leave lossFree out, or let the router choose fewer of its experts") : undefined
}

/** The language model of one replica, what learns in it and which corrections move. Fails: TrainingError naming the option that does not fit the model. */
const prepare = (model: Model.Model, options: Training.Options, { adapter, aims, select }: Wanted, replicas: number) => Effect.gen(function*() {
  if (options.tokens > model.contextLength) return yield* refuse("tokens", `${options.tokens} tokens in a sequence, the model takes ${model.contextLength}`, `at most ${model.contextLength}`)
  const self = yield* LanguageModel.make(model, { batch: sequencesOf(options.batch, replicas), tokens: options.tokens, storage: options.storage, trained: select, ...adapter === undefined ? {} : { adapter } })
  const names = LanguageModel.select(self, select), form = model.feedForward
  if (names.length === 0) return yield* refuse("trainable", `${JSON.stringify(select)} selects no tensor of this ${form.kind} model`, `choose among "all", "feedForward"${form.kind === "mixture" ? `, "routers", "experts"` : ""}`)
  const aimed = aims.balance.some(Balance.isLoss) || aims.supervise !== undefined
  if (form.kind === "dense" && (aimed || aims.balance.length > 0)) return yield* refuse(aims.supervise === undefined ? "balance" : "supervise", "a dense model has no router", "leave it out, or train a mixture")
  const balances = aims.balance.map(Balance.name), twice = balances.find((each, at) => balances.indexOf(each) < at)
  if (twice !== undefined) return yield* refuse("balance", `${twice} stands there twice`, "give it once, with one weight or rate")
  const error = form.kind === "dense" || self.router === undefined ? undefined : uncorrected(self.router, form.experts, aims.balance)
  if (error !== undefined) return yield* error
  const routers = names.some((name) => name.includes(".router."))
  if (routers && self.router !== undefined && !aimed && Router.gradient(self.router, form.kind === "mixture" ? form.experts : 1) === "none") {
    return yield* refuse("trainable", "this router's weights do not depend on its tensors, so the text's loss does not train them", `give the router weight "prob" or two active experts, or a balance loss or supervision, or leave the routers out`)
  }
  return { self, names, corrections: corrected(self, aims) }
})

/** One step, recorded and added up; nothing is allocated. The device's number of replicas counts where there is a device. */
const planned = (model: Model.Model, options: Training.Options, wanted: Wanted) => Effect.gen(function*() {
  const replicas = Option.match(yield* Effect.serviceOption(Device.Device), { onNone: () => 1, onSome: (device) => device.replicas })
  const { corrections, names, self } = yield* prepare(model, options, wanted, replicas)
  const { deviceBytes, flops, largestBuffer } = yield* Device.planned(trainStep(self, names, options, wanted.aims, { replicas }).program)
  const learning = [...names, ...corrections].reduce((sum, name) => sum + self.parameters.get(name)!.slot.length, 0)
  return { learning, cost: { flops: flops * options.steps, deviceBytes, largestBuffer } }
})

const run = (model: Model.Model, weights: Weights.Weights, tokenizer: Corpus.Encoder, texts: Texts, options: Training.Options, wanted: Wanted, context: Stage.Context) => Effect.gen(function*() {
  const device = yield* Device.Device
  const { corrections, names, self } = yield* prepare(model, options, wanted, device.replicas)
  const batches = yield* Corpus.batches(inOrder(texts).map(([, text]) => text), { tokenizer, split: "train", batch: options.batch, tokens: options.tokens, seed: context.seed })
  const arena = yield* device.arena
  const log = yield* loop(self, names, { arena, device, batches, options, context, aims: wanted.aims, initialize: LanguageModel.load(arena, self, weights, { seed: context.seed }) })
  return { log: yield* Table.fromRows(Tables.TrainLog, log), trained: yield* LanguageModel.read(arena, self, [...names, ...corrections]) }
})

/** A tokenizer, a configuration, a card: what a small model has beside its weights. */
const besideWeights = 12000
/** Seven columns of four or eight bytes, and the table's own description. */
const logBytes = (steps: number): number => 1500 + 32 * steps

const positive = Schema.Int.check(Schema.isGreaterThan(0))

/**
 * Stage: a low-rank adapter of a dense model's feed-forwards, trained on texts in turn; zero at birth.
 *
 * Options: `rank` 8; `alpha` 2 · rank (the change is alpha / rank · b·a); those of `Training.fields`. Side: `log`.
 * Fails: TrainingError before any work; TrainingDiverged; CorpusError where a text is shorter than a sequence. Paper: Hu et al., "LoRA", 2021.
 */
export const lora = Stage.make("finetune/lora", {
  version: 1,
  seeded: true,
  inputs: [Stage.one("seed", Checkpoint.Dense), Stage.record("texts", Corpus.Artifact)],
  options: Schema.Struct({ rank: positive.pipe(Stage.byDefault(8)), alpha: Schema.optionalKey(Schema.Finite), ...Training.fields }),
  output: Adapter.Artifact,
  sides: { log: Log },
  *describe({ seed, texts }, options) {
    const apart = modulePaths(seed.model), packed = matrices.filter((matrix) => !apart.has(`layers.0.feedForward.${matrix}`))
    if (packed.length > 0) return yield* refuse("seed", `${seed.model.family} keeps ${packed.join(" and ")} in one matrix of its files, on which peft has no adapter of each`, 'train them whole, Finetune.train with trainable: "feedForward", or take a base of another family')
    const header = adapterHeader(seed.model, seed.key, Object.keys(texts), options)
    const { cost } = yield* planned(seed.model, options, lowRank(header))
    return { header, cost: { ...cost, bytesWritten: Adapter.bytes(seed.model, options.rank) + logBytes(options.steps) } }
  },
  *run({ seed, texts }, options, context) {
    const header = adapterHeader(seed.model, context.keys["seed"]!, Object.keys(texts), options)
    const { log, trained } = yield* run(seed.model, seed.weights, seed.tokenizer, texts, options, lowRank(header), context)
    return { main: { kind: "adapter" as const, header, weights: trained }, log }
  }
})
const adapterHeader = (model: Model.Model, base: string, domains: ReadonlyArray<string>, { alpha, rank }: { readonly alpha?: number; readonly rank: number }): Adapter.Header =>
  ({ base, rank, scale: (alpha ?? 2 * rank) / rank, domains: [...domains].sort(), model })
const lowRank = (adapter: LanguageModel.Adapter): Wanted => ({ select: "adapter", adapter: { rank: adapter.rank, scale: adapter.scale }, aims: { balance: [] } })

const Supervise = Schema.Struct({
  weight: Schema.Finite, labels: Schema.optionalKey(Schema.Record(Schema.String, Schema.Int)),
  generalist: Schema.optionalKey(Schema.Struct({ expert: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)), until: positive })), detach: Schema.optionalKey(Schema.Boolean)
})
/** Supervision with the expert of each text, in the texts' order. Fails: TrainingError when the generalist is no expert of the model. */
const supervised = ({ feedForward: form }: Model.Model, options: typeof Supervise.Type | undefined, labels: ReadonlyArray<number>): Effect.Effect<Aims["supervise"], Training.TrainingError> => {
  const expert = options?.generalist?.expert, experts = form.kind === "mixture" ? form.experts : 0
  return expert !== undefined && expert >= experts ? Effect.fail(refuse("supervise.generalist", `there is no expert ${expert} among ${experts}`, `give an expert from 0 to ${experts - 1}`))
    : Effect.succeed(options === undefined ? undefined : { ...options, labels })
}
const Trainable = Schema.Union([LanguageModel.Selector, Schema.Array(LanguageModel.Selector)])

/**
 * Stage: trains tensors of a checkpoint, dense or mixture, and gives the same kind; the others keep their bits.
 *
 * Options: `trainable`: "all", "routers", "experts", "feedForward", … or several; `balance`: auxiliary losses, and `Balance.lossFree`, which moves the router's corrections
 * whatever is trainable; `supervise`: adds weight · cross-entropy
 * of every position's router logits, in the layers that decide, against the expert of its domain (`labels`: domain → expert; left out, as the upcycle
 * recorded it). Its `generalist: { expert, until }` is a part of the target that falls evenly from all of it at the first token of a sequence to none at
 * token `until`; with `detach` its gradient reaches the router's tensors only, not what made the states that the router reads. Those of `Training.fields`. Side: `log`. Fails: as `lora`.
 */
export const train = Stage.make("finetune/train", {
  version: 1,
  seeded: true,
  inputs: [Stage.one("checkpoint", Checkpoint.Either), Stage.record("texts", Corpus.Artifact)],
  options: Schema.Struct({
    trainable: Trainable,
    balance: Schema.Array(Balance.Balance).pipe(Stage.byDefault([])),
    supervise: Schema.optionalKey(Supervise),
    ...Training.fields
  }),
  output: Stage.same,
  sides: { log: Log },
  *describe({ checkpoint: { key: _key, ...header }, texts }, options) {
    // labels that only the lineage knows do not change the cost
    const supervise = yield* supervised(header.model, options.supervise, Object.keys(texts).map(() => 0))
    const { cost, learning } = yield* planned(header.model, options, { select: options.trainable, aims: { balance: options.balance, supervise } })
    // what learns is kept in f32, the rest as it came
    const bytes = Math.round(header.bytes * (header.parameters - learning) / header.parameters) + 4 * learning
    return { header: { ...header, bytes }, cost: { ...cost, bytesRead: header.bytes, bytesWritten: bytes + besideWeights + logBytes(options.steps) } }
  },
  *run({ checkpoint, texts }, options, context) {
    const labels = options.supervise === undefined ? [] : yield* expertsOf(checkpoint, inOrder(texts).map(([name]) => name), options.supervise.labels)
    const supervise = yield* supervised(checkpoint.model, options.supervise, labels)
    const { log, trained } = yield* run(checkpoint.model, checkpoint.weights, checkpoint.tokenizer, texts, options, { select: options.trainable, aims: { balance: options.balance, supervise } }, context)
    const { steps, trainable } = options
    const main = Checkpoint.derive(checkpoint, {
      weights: Weights.overlay(checkpoint.weights, trained),
      step: { stage: "finetune/train", key: context.key, inputs: context.keys, facts: { trainable: trainable as never, steps, tokens: steps * options.batch * options.tokens, seed: context.seed } }
    })
    return { main: main as typeof checkpoint, log } // of the form it came in
  }
})
