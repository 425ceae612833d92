/**
 * Log-likelihoods of continuations and of whole texts on a device: what every task asks of a model.
 *
 * Requests are sorted by length and run in batches, padded on the right. Requests that feed a model the same tokens (a question whose choices
 * are one token each, the same text twice) are one row of a batch, run once; those that share their question go on from it (sharedContexts.ts). Numbers do not
 * depend on the batch but for rounding.
 */
import { type Checkpoint, rollingWindows } from "@switchyard/core"
import { Decoder, Device, Op, Recording, type Storage, Tensor } from "@switchyard/gpu"
import { LanguageModel } from "@switchyard/routing"
import { Effect, Schema } from "effect"
import type { Encoder, Pair } from "./encodePair.ts"
import type { Answer } from "./judgeChoices.ts"
import * as Shared from "./sharedContexts.ts"

/** A request that cannot be scored: nothing to score, or longer than the model sees. */
export class ScoreError extends Schema.TaggedError<ScoreError>()("ScoreError", { request: Schema.Int, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `request ${this.request}: ${this.problem}. ${this.remedy}` }
}

export interface Scorer {
  /** The most tokens fed at once. */
  readonly maximum: number
  readonly device: string
  /** The answers in the requests' order. Options: `finished` hears of each batch's answers by their requests' indices. */
  readonly score: <E = never, R = never>(pairs: ReadonlyArray<Pair>, finished?: (answers: ReadonlyMap<number, Answer>) => Effect.Effect<void, E, R>) => Effect.Effect<ReadonlyArray<Answer>, ScoreError | Device.Failure | E, R>
}

/** The pairs whose log-likelihoods add up to a text's: every token once, the first given the prefix token, with as much left context as fits in `maximum`. */
export const rollingPairs = (encoder: Encoder, text: string, maximum: number): ReadonlyArray<Pair> => {
  const tokens = encoder.encode(text), at = (index: number) => index < 0 ? encoder.prefix : tokens[index]!
  return rollingWindows(tokens.length, maximum).map(({ contextFrom, targetFrom, targetTo }) => ({
    context: Array.from({ length: targetFrom - contextFrom }, (_, index) => at(contextFrom + index)), continuation: tokens.slice(targetFrom, targetTo)
  }))
}

/** Tokens of a row: few sizes, so that few programs are recorded. */
const sizeFor = (tokens: number, longest: number): number => {
  const step = tokens <= 128 ? 16 : tokens <= 512 ? 64 : 256
  return Math.min(longest, Math.ceil(tokens / step) * step)
}
/** What an automatic batch may hold on one replica: rows, and logits (4 bytes each). */
const automatic = { rows: 1024, logits: 2 ** 25 }

/** One row of a batch: what is fed, and which requests read it where. */
interface Sequence { readonly input: ReadonlyArray<number>; readonly wanted: Array<{ readonly request: number; readonly continuation: ReadonlyArray<number> }> }

const sequencesOf = (pairs: ReadonlyArray<Pair>, maximum: number): Effect.Effect<ReadonlyArray<Sequence>, ScoreError> => Effect.gen(function*() {
  const found = new Map<string, Sequence>()
  for (const [request, { context, continuation }] of pairs.entries()) {
    if (context.length === 0 || continuation.length === 0) return yield* new ScoreError({ request, problem: `its ${context.length === 0 ? "context" : "continuation"} has no token`, remedy: "Look at the document: an answer that is empty, or that merges wholly into its question, cannot be scored." })
    if (continuation.length > maximum) return yield* new ScoreError({ request, problem: `its continuation has ${continuation.length} tokens, the model sees ${maximum}`, remedy: "Score it as a rolling text, or take a model with a longer context." })
    const input = [...context, ...continuation].slice(-(maximum + 1)).slice(0, -1), key = input.join()
    const sequence: Sequence = found.get(key) ?? { input, wanted: [] }
    sequence.wanted.push({ request, continuation })
    found.set(key, sequence)
  }
  const before = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): number => {
    for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return a[at]! - b[at]!
    return 0
  }
  return [...found.values()].sort((a, b) => b.input.length - a.input.length || before(a.input, b.input)) // longest first: what does not fit fails at once
})

/** The program for a batch of a size; `slots` is how many tokens one replica's rows are asked for. */
const program = (self: LanguageModel.LanguageModel, slots: number, replicas: number) => {
  const rows = self.batch * self.tokens
  const kept = (length: number, label: string) => Tensor.kept([length], { dtype: "u32", sharded: true, label })
  const ids = kept(rows, "ids"), places = kept(slots, "places"), targets = kept(slots, "targets")
  return {
    ids, places, targets,
    program: Recording.record(() => {
      const { logits } = LanguageModel.forward(self, ids) // [rows, vocabulary]
      const asked = Op.gatherRows(logits, places) // [slots, vocabulary]
      return { losses: Op.keep(Op.crossEntropy(asked, targets), "losses", { sharded: true }), best: Op.keep(Op.view(Op.topK(asked, 1), [slots]), "best", { sharded: true }) }
    }, { replicas })
  }
}

/**
 * A checkpoint ready to score, on the device there is, for as long as the scope lasts. Options: `longest`, the most tokens that will be fed at once;
 * `maximum`, at which contexts are cut from the left (the model's context); `batch` sequences at a time, or "auto"; `storage` of the weights on the device, f32 when left out;
 * `shareContexts: false` runs every request whole.
 */
export const make = (checkpoint: Checkpoint.Any, options: { readonly longest: number; readonly maximum?: number; readonly batch?: number | "auto"; readonly storage?: Storage.Storage | undefined; readonly shareContexts?: boolean }) => Effect.gen(function*() {
  const { model } = checkpoint, maximum = options.maximum ?? model.contextLength, longest = Math.min(options.longest, maximum)
  const device = yield* Device.Device, arena = yield* device.arena, { replicas } = device
  const given = options.batch ?? "auto"
  const batchFor = (tokens: number): number => Math.max(1, given === "auto"
    ? Math.min(Math.floor(automatic.rows / tokens), Math.floor(automatic.logits / (tokens * model.vocabulary)))
    : Math.ceil(given / replicas))
  const self = yield* LanguageModel.make(model, { batch: batchFor(longest), tokens: longest, storage: options.storage }), mayShare = (options.shareContexts ?? true) && Shared.canShare(model, self.router)
  yield* LanguageModel.load(arena, self, checkpoint.weights)
  const programs = new Map<string, ReturnType<typeof program>>()
  const programFor = (batch: number, tokens: number, slots: number) => Effect.gen(function*() {
    const key = [batch, tokens, slots].join("×"), known = programs.get(key)
    if (known !== undefined) return known
    yield* Decoder.prepare(arena, self.decoder, { batch, tokens })
    const made = program({ ...self, batch, tokens }, slots, replicas)
    programs.set(key, made)
    return made
  })

  const runBatch = (part: ReadonlyArray<Shared.Sequence>, batch: number, tokens: number) => Effect.gen(function*() {
    const shares = Array.from({ length: replicas }, (_, replica) => part.slice(replica * batch, (replica + 1) * batch))
    const needed = Math.max(...shares.map((share) => share.reduce((sum, { wanted }) => sum + wanted.reduce((sum, { continuation }) => sum + continuation.length, 0), 0)))
    const slots = Math.max(8, 2 ** Math.ceil(Math.log2(needed)))
    const { ids, places, program: recorded, targets } = yield* programFor(batch, tokens, slots)
    const feed = new Uint32Array(replicas * batch * tokens), where = new Uint32Array(replicas * slots), aim = new Uint32Array(replicas * slots).fill(Op.noTarget)
    const reads: Array<{ readonly request: number; readonly from: number; readonly continuation: ReadonlyArray<number> }> = []
    for (const [replica, share] of shares.entries()) {
      let slot = replica * slots
      for (const [row, { input, wanted }] of share.entries()) {
        feed.set(input, (replica * batch + row) * tokens)
        for (const { continuation, request } of wanted) {
          reads.push({ request, from: slot, continuation })
          for (const [at, token] of continuation.entries()) {
            where[slot] = row * tokens + input.length - continuation.length + at
            aim[slot++] = token
          }
        }
      }
    }
    yield* arena.upload(ids, feed)
    yield* arena.upload(places, where)
    yield* arena.upload(targets, aim)
    yield* arena.submit(recorded)
    const losses = yield* arena.read(recorded.outputs.losses), best = yield* arena.read(recorded.outputs.best) // [replicas · slots]
    return new Map(reads.map(({ continuation, from, request }) => {
      let logLikelihood = 0, isGreedy = true
      for (const [at, token] of continuation.entries()) {
        logLikelihood -= losses[from + at]!
        isGreedy &&= best[from + at] === token
      }
      return [request, { logLikelihood, isGreedy } satisfies Answer as Answer] as const
    }))
  })

  const score: Scorer["score"] = (pairs, finished) => Effect.gen(function*() {
    const answers = new Array<Answer>(pairs.length), all = yield* sequencesOf(pairs, maximum), { alone: sequences, groups } = mayShare ? Shared.groupsOf(all) : { alone: all, groups: [] }
    const sizeOf = (length: number): number => {
      if (length > longest) throw new Error(`Scorer.score: axis tokens: ${length} are fed, the scorer was made for ${longest}`)
      return sizeFor(length, longest)
    }
    for (let first = 0; first < groups.length;) {
      const capacity = sizeOf(Shared.lengthOf(groups[first]!)), batch = batchFor(capacity), shared = Shared.make(arena, self, { batch, capacity, replicas })
      for (; first < groups.length && sizeOf(Shared.lengthOf(groups[first]!)) === capacity; first += batch * replicas) {
        const found = yield* shared.ask(groups.slice(first, first + batch * replicas))
        for (const [request, answer] of found) answers[request] = answer
        if (finished !== undefined) yield* finished(found)
      }
      yield* shared.free
    }
    for (let first = 0; first < sequences.length;) {
      const tokens = sizeOf(sequences[first]!.input.length), batch = batchFor(tokens)
      const found = yield* runBatch(sequences.slice(first, first + batch * replicas), batch, tokens)
      for (const [request, answer] of found) answers[request] = answer
      if (finished !== undefined) yield* finished(found)
      first += batch * replicas
    }
    return answers
  })
  return { maximum, device: `${device.name}: ${device.adapter}`, score } satisfies Scorer as Scorer
})
