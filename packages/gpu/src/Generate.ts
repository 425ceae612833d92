/**
 * Text from a model, as a stream: several prompts side by side in the rows of a generator, the next prompt taking a row as soon as one is
 * free. What comes out of a prompt depends on the prompt and its number alone, not on what stands beside it.
 */
import type { Tokenizer } from "@switchyard/core"
import { Effect, Option, Schema, Stream } from "effect"
import type { Failure } from "./Device.ts"
import type { Generator } from "./Generator.ts"
import * as Sampling from "./Sampling.ts"
import * as TextCutter from "./TextCutter.ts"

/**
 * Options: sampling's, and `maximum` tokens of each answer; `stop` ids end an answer (the tokenizer's eos, where there is a tokenizer and none are given),
 * `stopStrings` too, across tokens; neither is given out. `first` is the number of the first prompt: draws of prompts that are given in several calls go on from it.
 */
export interface Options extends Sampling.Options {
  readonly maximum: number
  readonly stop?: ReadonlyArray<number>
  readonly stopStrings?: ReadonlyArray<string>
  readonly first?: number
}
/** Why an answer ended: at `maximum`, at an id or a string of `stop`, or because the generator's window was full. */
export type Finish = "maximum" | "stop" | "stopString" | "window"
/** A token of an answer: which prompt's, its number in the answer, and the text it settles (a character that several tokens spell comes with the last). The last piece of an answer says why it ended; it has no id when a stop id did. */
export interface Piece { readonly prompt: number; readonly index: number; readonly id?: number; readonly text: string; readonly finish?: Finish }
export interface Answer { readonly ids: ReadonlyArray<number>; readonly text: string; readonly finish: Finish }

/** A prompt that cannot be taken. */
export class PromptError extends Schema.TaggedError<PromptError>()("PromptError", { prompt: Schema.Number, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `prompt ${this.prompt}: ${this.problem}. ${this.remedy}` }
}

type Decoding = Pick<Tokenizer.Tokenizer, "decode" | "eos">
interface Row { readonly prompt: number; readonly before: Set<number>; readonly next: ReadonlyArray<number>; readonly count: number; readonly held: number; readonly cutter: TextCutter.TextCutter | undefined }

const refused = (prompts: ReadonlyArray<ReadonlyArray<number>>, window: number): PromptError | undefined => {
  for (const [prompt, { length }] of prompts.entries()) {
    if (length === 0) return new PromptError({ prompt, problem: "it has no tokens", remedy: "Give at least one, say the tokenizer's bos." })
    if (length > window) return new PromptError({ prompt, problem: `it has ${length} tokens, the generator's window holds ${window}`, remedy: "Shorten it, or open the generator with a larger window." })
  }
  return undefined
}

/** The answers' tokens as they come, of all prompts; those of one prompt in order. With a tokenizer they have text. Fails: PromptError, before any work. */
export const tokens = (generator: Generator, prompts: ReadonlyArray<ReadonlyArray<number>>, options: Options, tokenizer?: Decoding): Stream.Stream<Piece, Failure | PromptError> => {
  Sampling.check(options)
  if (!(Number.isInteger(options.maximum) && options.maximum >= 1)) throw new Error(`Generate: maximum (${options.maximum}) must be a whole number from 1 on`)
  if (tokenizer === undefined && options.stopStrings?.some((stop) => stop !== "") === true) throw new Error("Generate: stop strings need a tokenizer")
  const wrong = refused(prompts, generator.window), { first = 0, maximum, stop = tokenizer?.eos === undefined ? [] : [tokenizer.eos], stopStrings = [] } = options
  if (wrong !== undefined) return Stream.fail(wrong)
  const begin = (prompt: number): Row => ({ prompt, before: new Set(prompts[prompt]), next: prompts[prompt]!, count: 0, held: 0, cutter: tokenizer === undefined ? undefined : TextCutter.make(tokenizer, prompts[prompt]!, stopStrings) })
  /** A row's next token: its piece, and the row as it goes on unless it has ended. */
  const take = (row: Row, logits: Float32Array): readonly [Piece, Row | undefined] => {
    const { before, count, cutter, prompt } = row, held = row.held + row.next.length
    const id = Sampling.choose(logits, options, { row: first + prompt, index: count, before })
    if (stop.includes(id)) return [{ prompt, index: count, text: cutter?.flush() ?? "", finish: "stop" }, undefined]
    const { stopped, text } = cutter?.push(id) ?? { text: "", stopped: false }
    const finish = stopped ? "stopString" : count + 1 === maximum ? "maximum" : held === generator.window ? "window" : undefined
    if (finish !== undefined) return [{ prompt, index: count, id, text: stopped ? text : text + (cutter?.flush() ?? ""), finish }, undefined]
    before.add(id)
    return [{ prompt, index: count, id, text }, { ...row, next: [id], count: count + 1, held }]
  }
  type State = { readonly rows: ReadonlyArray<Row | undefined>; readonly asked: number }
  const step = Effect.fn("Generate.step")(function*({ asked, rows: before }: State) {
    let next = asked
    const rows = before.map((row) => row ?? (next < prompts.length ? begin(next++) : undefined))
    const busy = rows.flatMap((row, at) => row === undefined ? [] : [{ row, at }])
    if (busy.length === 0) return [[], Option.none<State>()] as const
    const logits = yield* generator.advance(busy.map(({ at, row }) => ({ row: at, ids: row.next, fresh: row.count === 0 })))
    const taken = busy.map(({ row }, which) => take(row, logits[which]!)), after = [...rows]
    busy.forEach(({ at }, which) => { after[at] = taken[which]![1] })
    return [taken.map(([piece]) => piece), after.some((row) => row !== undefined) || next < prompts.length ? Option.some<State>({ rows: after, asked: next }) : Option.none<State>()] as const
  })
  return Stream.paginate<State, Piece, Failure, never>({ rows: Array.from({ length: generator.batch }, () => undefined), asked: 0 }, step)
}

/** Token ids after one prompt, as they come. */
export const ids = (generator: Generator, prompt: ArrayLike<number>, options: Options): Stream.Stream<number, Failure | PromptError> =>
  Stream.flattenIterable(Stream.map(tokens(generator, [Array.from(prompt)], options), ({ id }) => id === undefined ? [] : [id]))

/** A text as a prompt: its ids behind the tokenizer's bos, where it has one that the text does not begin with. */
export const prompted = (tokenizer: Tokenizer.Tokenizer, text: string): ReadonlyArray<number> => {
  const ids = Array.from(tokenizer.encode(text))
  return tokenizer.bos === undefined || ids[0] === tokenizer.bos ? ids : [tokenizer.bos, ...ids]
}

/** Pieces of text after one prompt, as they come: `Stream.toAsyncIterable` makes a `for await` of them. */
export const pieces = (generator: Generator, tokenizer: Tokenizer.Tokenizer, prompt: string | ReadonlyArray<number>, options: Options): Stream.Stream<Piece, Failure | PromptError> =>
  tokens(generator, [typeof prompt === "string" ? prompted(tokenizer, prompt) : prompt], options, tokenizer)

/** The whole answers of several prompts. */
export const answers = (generator: Generator, tokenizer: Tokenizer.Tokenizer, prompts: ReadonlyArray<string | ReadonlyArray<number>>, options: Options): Effect.Effect<ReadonlyArray<Answer>, Failure | PromptError> =>
  Effect.map(Stream.runCollect(tokens(generator, prompts.map((prompt) => typeof prompt === "string" ? prompted(tokenizer, prompt) : prompt), options, tokenizer)), (all) => {
    const found = prompts.map(() => ({ ids: [] as Array<number>, text: "", finish: "maximum" as Finish }))
    for (const { finish, id, prompt, text } of all) {
      const answer = found[prompt]!
      if (id !== undefined) answer.ids.push(id)
      answer.text += text
      if (finish !== undefined) answer.finish = finish
    }
    return found
  })

/** One prompt's answer: ids, text and why it ended. */
export const run = (generator: Generator, tokenizer: Tokenizer.Tokenizer, prompt: string | ReadonlyArray<number>, options: Options): Effect.Effect<Answer, Failure | PromptError> =>
  Effect.map(answers(generator, tokenizer, [prompt], options), ([answer]) => answer!)
