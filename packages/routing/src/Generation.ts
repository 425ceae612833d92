/**
 * Generation from a checkpoint, dense or mixture: gpu's generator over this model, with what its routers carry from token to token. Pools over
 * the text so far go on from a kept sum, n-grams from the last ids; a decision about a token is the one that the whole text would have given.
 *
 * A router that cannot go on this way is refused by name, never run differently.
 */
import { Artifact, ChatTemplate, Checkpoint, Family, type Model, Stage, StrictJson } from "@switchyard/core"
import { Decoder, Device, Generate, Generator, KeyValueCache, Op, Recording, type Storage, Tensor } from "@switchyard/gpu"
import { Effect, Schema, type Scope } from "effect"
import * as LanguageModel from "./LanguageModel.ts"
import * as Router from "./Router.ts"

/** Options: rows that go on side by side (1), tokens that each can hold (the model's context, at most 2048), `cache: false` runs the whole window for each token. */
export interface Options {
  readonly batch?: number
  readonly window?: number
  readonly cache?: boolean
  /** How weights lie on the device, f32 unless given. */
  readonly storage?: Storage.Storage | undefined
  readonly router?: Router.Router
  /** Tokens of each row that a prompt's pass takes at most. */
  readonly chunk?: number
}

const known: Readonly<Record<keyof Router.Router, true>> = { unit: true, score: true, select: true, weight: true, capacity: true, depth: true, activation: true, correction: true, groups: true, scale: true }

/** The router, where what it decides about a token follows from that token and a state of the text before. Fails: `RouterError` for one with a capacity, and one by likelihood, which runs every expert on the whole text. */
export const carried = (router: Router.Router, experts: number, at = "router"): Effect.Effect<Router.Unlimited, Router.RouterError> => Effect.gen(function*() {
  const isolated = yield* Router.isolated(router, at), other = Object.keys(router).find((key) => !Object.hasOwn(known, key))
  if (other !== undefined) return yield* new Router.RouterError({ at: `${at}.${other}`, problem: "it is not known how this goes on from token to token", remedy: "Generate with { cache: false }." })
  if (router.score.by === "likelihood" && Router.scored(router, experts)) {
    return yield* new Router.RouterError({ at: `${at}.score`, problem: "scores by likelihood run every expert on the whole text, of which no state is kept", remedy: "Generate with { cache: false }." })
  }
  return isolated
})

/** What routers carry from token to token, each tensor made when it is first asked for: sums of pools, and the last ids of each text. */
const state = (batch: number): Required<Pick<LanguageModel.Pass, "pools" | "held">> & { readonly kept: ReadonlyMap<string, Tensor.Tensor> } => {
  const kept = new Map<string, Tensor.Tensor>()
  const once = (key: string, make: () => Tensor.Tensor): Tensor.Tensor => {
    const tensor = kept.get(key) ?? make()
    kept.set(key, tensor)
    return tensor
  }
  return {
    kept,
    pools: (layer, decay, columns) => once(`pool ${layer} ${decay} ${columns}`, () => Tensor.kept([2, batch, columns], { label: `cache.${layer}.pool` })),
    held: (layer, count) => once(`held ${layer} ${count}`, () => Tensor.kept([batch, count], { dtype: "u32", label: `cache.${layer}.ids` }))
  }
}

/** A generator over a model on an arena, for as long as the scope lasts. Fails: `RouterError` where the router cannot go on from a cache, or lets the other rows in. */
export const make = (arena: Device.Arena, self: LanguageModel.LanguageModel, options: { readonly replicas?: number } & Omit<Options, "router"> = {}): Effect.Effect<Generator.Generator, Router.RouterError | Device.Failure, Scope.Scope> => Effect.gen(function*() {
  const { batch = self.batch, cache = true, window = self.tokens } = options, { router } = self, form = self.model.feedForward
  if (window > self.tokens) throw new Error(`Generation.make: a window of ${window} tokens, but the model was made for ${self.tokens}`)
  if (!cache) {
    if (router !== undefined) yield* Router.isolated(router, "the model's router")
    const whole = { ...self, batch, tokens: window }
    yield* Decoder.prepare(arena, self.decoder, { batch, tokens: window })
    return yield* Generator.recomputing(arena, { ...options, batch, window, forward: (ids, last) => LanguageModel.head(self, Op.gatherRows(LanguageModel.states(whole, ids).states, last)) })
  }
  if (router !== undefined && form.kind === "mixture") yield* carried(router, form.experts, "the model's router")
  const { held, kept, pools } = state(batch)
  yield* Effect.addFinalizer(() => Effect.ignore(arena.free([...kept.values()])))
  return yield* Generator.make(arena, {
    states: (ids, chunk) => LanguageModel.states(self, ids, { chunk, pools, held }).states,
    head: (x) => LanguageModel.head(self, x)
  }, { ...options, cache: KeyValueCache.make(self.model, { batch, capacity: window }) })
})

/** The ids that end an answer: the tokenizer's eos, and those of the checkpoint's generation_config.json. Fails: `ConfigError` when that file is not what it should be. */
export const stopIds = (checkpoint: Checkpoint.Any): Effect.Effect<ReadonlyArray<number>, Family.ConfigError> => Effect.suspend(() => {
  const file = checkpoint.sideFiles["generation_config.json"], own = checkpoint.tokenizer.eos === undefined ? [] : [checkpoint.tokenizer.eos]
  if (file === undefined) return Effect.succeed(own)
  const wrong = (problem: string) => Effect.fail(new Family.ConfigError({ file: "generation_config.json", key: "eos_token_id", problem, remedy: "correct the file, or remove it" }))
  try {
    const config = StrictJson.parse(new TextDecoder().decode(file)), given = config instanceof Map ? [config.get("eos_token_id") ?? []].flat() : undefined
    return given?.every((id) => typeof id === "number") === true ? Effect.succeed([...new Set([...own, ...given as ReadonlyArray<number>])]) : wrong("it is not a number or a list of numbers")
  } catch (error) {
    return wrong((error as Error).message)
  }
})

/** A checkpoint loaded on the device there is, ready to generate for as long as the scope lasts. Fails: as `make` and as loading a model does. */
export const open = Effect.fn("Generation.open")(function*(checkpoint: Checkpoint.Any, options: Options = {}) {
  const { batch = 1, router, storage, window = Math.min(checkpoint.model.contextLength, 2048) } = options
  const device = yield* Device.Device, arena = yield* device.arena
  const self = yield* LanguageModel.make(checkpoint.model, { batch, tokens: window, storage, split: options.cache === false ? 1 : device.replicas, ...router === undefined ? {} : { router } })
  yield* LanguageModel.load(arena, self, checkpoint.weights)
  return yield* make(arena, self, { ...options, batch, window, replicas: device.replicas })
})

// ---- in pipelines
/** Why an answer ended; see gpu's Generate. */
const Finish = Schema.Literals(["maximum", "stop", "stopString", "window"])
/** The answers of a stage, in the prompts' order. */
export const Answers = Schema.Struct({
  kind: Schema.Literal("answers"),
  answers: Schema.Array(Schema.Struct({ prompt: Schema.String, text: Schema.String, ids: Schema.Array(Schema.Int), finish: Finish }))
})
export type Answers = typeof Answers.Type
/** Answers as a stage's result. */
export const AnswersArtifact: Artifact.Artifact<Answers> = Artifact.json("answers", Answers, () => ({}))

const optional = <S extends Schema.Top>(schema: S) => Schema.optionalKey(schema)
const AnswerOptions = Schema.Struct({
  prompts: Schema.Array(Schema.String).check(Schema.isMinLength(1)),
  chat: Schema.Boolean.pipe(Stage.byDefault(false)),
  maximum: Schema.Int.check(Schema.isGreaterThan(0)).pipe(Stage.byDefault(128)),
  batch: Schema.Int.check(Schema.isGreaterThan(0)).pipe(Stage.byDefault(8)),
  window: optional(Schema.Int.check(Schema.isGreaterThan(0))),
  temperature: optional(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))),
  topK: optional(Schema.Int.check(Schema.isGreaterThan(0))),
  topP: optional(Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1))),
  minP: optional(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0), Schema.isLessThanOrEqualTo(1))),
  repetitionPenalty: optional(Schema.Finite.check(Schema.isGreaterThan(0))),
  stopStrings: optional(Schema.Array(Schema.String))
})

/** What a token of every row costs, times the tokens that there may be; prompts come on top. */
const answerCost = (model: Model.Model, { batch, maximum, prompts, window = Math.min(model.contextLength, 2048) }: typeof AnswerOptions.Type) => Effect.gen(function*() {
  const rows = Math.min(batch, prompts.length), self = yield* LanguageModel.make(model, { batch: rows, tokens: window }), cache = KeyValueCache.make(model, { batch: rows, capacity: window })
  const index = (label: string) => Tensor.kept([rows], { dtype: "u32", label }), chunk = { cache, tokens: 1, positions: index("positions"), places: index("places"), fresh: false }
  const { held, pools } = state(rows)
  const counted = yield* Device.planned(Recording.record(() => Op.keep(LanguageModel.head(self, LanguageModel.states(self, index("ids"), { chunk, pools, held }).states))))
  return { flops: counted.flops * maximum * Math.ceil(prompts.length / rows), deviceBytes: counted.deviceBytes, largestBuffer: counted.largestBuffer }
})

/**
 * Stage: a model's answers to prompts, several side by side. What comes out of a prompt depends on the prompt and its place in the list, not on `batch`.
 *
 * Options: prompts; `chat`: each is a user's turn of the model's chat template; maximum 128; batch 8; window; sampling's. Fails: `RouterError` where the
 * router cannot go on from a cache; `PromptError`; `ChatTemplateError`; the device's failures.
 */
export const answers = Stage.make("generation/answers", {
  version: 1,
  seeded: true,
  inputs: [Stage.one("model", Checkpoint.Either)],
  options: AnswerOptions,
  output: AnswersArtifact,
  *describe({ model: { model, parameters } }, options) {
    return { header: {}, cost: { ...yield* answerCost(model as Model.Model, options), bytesRead: 4 * parameters } }
  },
  *run({ model: checkpoint }, options, context) {
    const { batch, chat, maximum, prompts, stopStrings = [], window, ...sampling } = options, { tokenizer } = checkpoint
    const template = chat ? yield* ChatTemplate.make(tokenizer) : undefined, stop = yield* stopIds(checkpoint)
    const given = template === undefined ? prompts.map((prompt) => Generate.prompted(tokenizer, prompt))
      : yield* Effect.forEach(prompts, (content) => Effect.map(template.render([{ role: "user", content }], { addGenerationPrompt: true }), (text) => Array.from(tokenizer.encode(text))))
    const made = yield* Effect.scoped(Effect.gen(function*() {
      const generator = yield* open(checkpoint, { batch: Math.min(batch, prompts.length), ...window === undefined ? {} : { window } })
      return yield* Generate.answers(generator, tokenizer, given, { maximum, stop, stopStrings, seed: context.seed, ...sampling })
    }))
    yield* context.progress(prompts.length, prompts.length, "answers")
    return { kind: "answers" as const, answers: made.map((answer, at) => ({ prompt: prompts[at]!, ...answer })) }
  }
})
