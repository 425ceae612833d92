/**
 * Text from a decoder, one token at a time: the whole window is run again for each (there is no cache of keys and values yet), and only the
 * last row's logits leave the device.
 *
 * Choices are counter-based: token number i of a seed is the same however the generation was cut. Papers: Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p).
 */
import { Random, type Tokenizer } from "@switchyard/core"
import { Effect, Stream } from "effect"
import * as Decoder from "./Decoder.ts"
import type { Arena, Failure } from "./Device.ts"
import { gatherRows } from "./ops/gatherRows.ts"
import { keep } from "./ops/keep.ts"
import * as Recording from "./Recording.ts"
import { expectShape, kept, type Tensor } from "./Tensor.ts"

/** Gives the logits [vocabulary] of what follows `ids`; of a text longer than the window, its last `window` tokens count. */
export interface Generator { readonly window: number; readonly logits: (ids: ReadonlyArray<number>) => Effect.Effect<Float32Array, Failure> }

/**
 * Options: temperature 0 (the default) takes the likeliest; above 0 draws from softmax(logits / temperature), of the `topK` likeliest only, of the
 * fewest whose probabilities reach `topP` only. Generation ends after `maximum` tokens or at one of `stop`, which is not given out.
 */
export interface Options {
  readonly maximum: number
  readonly temperature?: number
  readonly topK?: number
  readonly topP?: number
  readonly seed?: number
  readonly stop?: ReadonlyArray<number>
}
export interface Piece { readonly id: number; readonly text: string }

/** A generator over any recorded model; `replicas` is the device's. `forward` gets ids u32 [window] and the last token's row, u32 [1], and gives logits [1, vocabulary]. */
export const make = Effect.fn("Generate.make")(function*(arena: Arena, options: { readonly window: number; readonly replicas?: number; readonly forward: (ids: Tensor, last: Tensor) => Tensor }) {
  const { forward, replicas = 1, window } = options
  const input = kept([window], { dtype: "u32", label: "generate.ids" }), last = kept([1], { dtype: "u32", label: "generate.last" })
  const program = Recording.record(() => keep(forward(input, last), "generate.logits"), { replicas })
  expectShape("Generate.make", "logits", program.outputs, [1, undefined])
  yield* Effect.addFinalizer(() => Effect.ignore(arena.free([input, last, program.outputs])))
  const logits = Effect.fn("Generate.logits")(function*(ids: ReadonlyArray<number>) {
    if (ids.length === 0) throw new Error("Generate: a prompt needs at least one token (say the tokenizer's bos)")
    const padded = new Uint32Array(window), seen = ids.slice(-window)
    padded.set(seen) // what stands after the last token is not seen by it
    yield* arena.upload(input, padded)
    yield* arena.upload(last, Uint32Array.of(seen.length - 1))
    yield* arena.submit(program)
    return Float32Array.from(yield* arena.read(program.outputs))
  })
  return { window, logits } satisfies Generator as Generator
})

/** A generator over a dense decoder, or one with another feed-forward; only the last row passes the head. */
export const fromDecoder = Effect.fn("Generate.fromDecoder")(function*(arena: Arena, decoder: Decoder.Decoder, options: { readonly window: number; readonly replicas?: number } & Pick<Decoder.ForwardOptions, "feedForward" | "adapters">) {
  const { adapters, feedForward, window } = options, size = { batch: 1, tokens: window }
  yield* Decoder.prepare(arena, decoder, size)
  return yield* make(arena, { ...options, forward: (ids, last) => Decoder.head(decoder, gatherRows(Decoder.states(decoder, ids, { ...size, feedForward, adapters }), last), adapters) })
})

/** The token chosen from logits as draw number `index` of the options' seed. */
export const choose = (logits: Float32Array, options: Omit<Options, "maximum">, index: number): number => {
  const { seed = 0, temperature = 0, topK = logits.length, topP = 1 } = options
  if (temperature < 0 || topK < 1 || topP <= 0) throw new Error(`Generate.choose: temperature (${temperature}) must be 0 or more, topK (${topK}) 1 or more, topP (${topP}) above 0`)
  const order = Array.from(logits, (_, id) => id).sort((a, b) => logits[b]! - logits[a]! || a - b) // likeliest first, ties to the lowest id
  if (temperature === 0) return order[0]!
  const likeliest = logits[order[0]!]!, candidates = order.slice(0, topK)
  const weights = candidates.map((id) => Math.exp((logits[id]! - likeliest) / temperature))
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  let mass = 0, count = 0
  while (count < weights.length && mass < topP * total) mass += weights[count++]!
  return candidates[Random.categorical(Random.make(seed, "generate"), index, weights.slice(0, count))]!
}

/** Token ids after a prompt, as they come. */
export const ids = (generator: Generator, prompt: ArrayLike<number>, options: Options): Stream.Stream<number, Failure> =>
  Stream.unfold(Array.from(prompt) as ReadonlyArray<number>, (before) => Effect.gen(function*() {
    const drawn = before.length - prompt.length
    if (drawn >= options.maximum) return undefined
    const id = choose(yield* generator.logits(before), options, drawn)
    return options.stop?.includes(id) ? undefined : [id, [...before, id] as ReadonlyArray<number>] as const
  }))

/** Pieces of text after a prompt, as they come: `Stream.toAsyncIterable` makes a `for await` of them. A character cut between tokens comes with the token that completes it. */
export const pieces = (generator: Generator, tokenizer: Tokenizer.Tokenizer, prompt: string, options: Options): Stream.Stream<Piece, Failure> => {
  const start = [...(tokenizer.bos === undefined ? [] : [tokenizer.bos]), ...tokenizer.encode(prompt)]
  const stop = options.stop ?? (tokenizer.eos === undefined ? [] : [tokenizer.eos])
  return Stream.mapAccum(ids(generator, start, { ...options, stop }), () => ({ all: start, given: tokenizer.decode(start).length }), ({ all, given }, id) => {
    const now = [...all, id], whole = tokenizer.decode(now), end = whole.endsWith("\ufffd") ? given : whole.length
    return [{ all: now, given: Math.max(given, end) }, [{ id, text: whole.slice(given, end) }]] as const
  })
}

/** A prompt's continuation: ids and text. */
export const run = (generator: Generator, tokenizer: Tokenizer.Tokenizer, prompt: string, options: Options): Effect.Effect<{ readonly ids: ReadonlyArray<number>; readonly text: string }, Failure> =>
  Effect.map(Stream.runCollect(pieces(generator, tokenizer, prompt, options)), (all) => ({ ids: all.map(({ id }) => id), text: all.map(({ text }) => text).join("") }))
