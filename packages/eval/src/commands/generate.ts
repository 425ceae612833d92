/**
 * `eval:generate`: a model's answer to a prompt, on the terminal as it comes: to see what a model says that the numbers are about. The text goes to standard
 * output, how fast it came to standard error.
 */
import { ChatTemplate, type Checkpoint, Hub } from "@switchyard/core"
import { Device, Generate } from "@switchyard/gpu"
import { Generation } from "@switchyard/routing"
import { Effect, Option, References, Stream } from "effect"
import { Command, Flag } from "effect/cli"
import { modelName } from "./inputs.ts"
import { start, storage, stored, TargetError } from "./target.ts"

const number = (name: string, about: string) => Flag.Finite(name).pipe(Flag.optional, Flag.withDescription(about))

const flags = {
  model: Flag.String("model").pipe(Flag.withMetavar("NAME"), Flag.withDescription("a model's folder, .gguf file or Hub id (org/name@revision), dense or mixture")),
  prompt: Flag.String("prompt").pipe(Flag.withMetavar("TEXT"), Flag.withDescription("the text that is gone on from, or with --chat what the user says")),
  chat: Flag.Boolean("chat").pipe(Flag.withDefault(false), Flag.withDescription("put the prompt through the model's chat template")),
  system: Flag.String("system").pipe(Flag.optional, Flag.withMetavar("TEXT"), Flag.withDescription("with --chat: what stands before the user's turn")),
  maximum: Flag.Int("maximum").pipe(Flag.withDefault(200), Flag.withDescription("tokens of the answer at most")),
  temperature: number("temperature", "0, the default, takes the likeliest token each time"),
  topK: number("top-k", "draw from so many of the likeliest"),
  topP: number("top-p", "draw from the fewest whose probabilities reach this"),
  minP: number("min-p", "draw from those at least so likely as this share of the likeliest"),
  penalty: number("repetition-penalty", "above 1: tokens seen before are less likely"),
  stop: Flag.String("stop").pipe(Flag.optional, Flag.withMetavar("TEXT"), Flag.withDescription("the answer ends before this text")),
  seed: Flag.Int("seed").pipe(Flag.withDefault(0), Flag.withDescription("changes every draw")),
  window: Flag.Int("window").pipe(Flag.optional, Flag.withDescription("tokens of prompt and answer together; the model's context, at most 2048")),
  cache: Flag.Boolean("cache").pipe(Flag.withDefault(true), Flag.withDescription("keep keys and values; when negated (no- in front) the whole window is run for each token: for routers that keep no state")),
  device: Flag.Literals("device", ["auto", "gpu", "host", "software"]).pipe(Flag.withDefault("auto"), Flag.withDescription("what computes; auto: a hardware GPU, else the processor")),
  storage
} as const

const outOfRange = (name: string, found: Option.Option<number>, within: (value: number) => boolean, says: string): Effect.Effect<void, TargetError> =>
  Option.isSome(found) && !within(found.value) ? Effect.fail(new TargetError({ target: "eval:generate", problem: `--${name} ${found.value}`, remedy: `Give ${says}` })) : Effect.void

/** Writes the answer as it comes, then how fast it did. */
const answer = (checkpoint: Checkpoint.Any, prompt: ReadonlyArray<number>, opening: Generation.Options, options: Generate.Options) => Effect.gen(function*() {
  const generator = yield* Generation.open(checkpoint, opening), { adapter } = yield* Device.Device, began = performance.now()
  let first = began, count = 0, finish: Generate.Finish | undefined
  yield* Stream.runForEach(Generate.tokens(generator, [prompt], options, checkpoint.tokenizer), (piece) => Effect.sync(() => {
    if (count++ === 0) first = performance.now()
    finish = piece.finish
    process.stdout.write(piece.text)
  }))
  process.stdout.write("\n")
  const later = (performance.now() - first) / 1000
  process.stderr.write(`${prompt.length} tokens of prompt in ${((first - began) / 1000).toFixed(2)} s, then ${count - 1} at ${later > 0 ? ((count - 1) / later).toFixed(1) : "0"} a second; ended at ${finish ?? "nothing"}; ${adapter}\n`)
})

export const command = Command.make("eval:generate", flags, (given) => Effect.gen(function*() {
  yield* outOfRange("maximum", Option.some(given.maximum), (value) => value >= 1, "1 or more")
  yield* outOfRange("seed", Option.some(given.seed), (value) => value >= 0, "0 or more")
  yield* outOfRange("temperature", given.temperature, (value) => value >= 0, "0 or more")
  yield* outOfRange("top-k", given.topK, (value) => Number.isInteger(value) && value >= 1, "a whole number from 1 on")
  yield* outOfRange("top-p", given.topP, (value) => value > 0 && value <= 1, "a number above 0, at most 1")
  yield* outOfRange("min-p", given.minP, (value) => value >= 0 && value <= 1, "a number from 0 to 1")
  yield* outOfRange("repetition-penalty", given.penalty, (value) => value > 0, "a number above 0")
  yield* outOfRange("window", given.window, (value) => value >= 1, "1 or more")
  if (Option.isSome(given.system) && !given.chat) return yield* new TargetError({ target: "eval:generate", problem: "--system is given without --chat", remedy: "Add --chat, or leave it out" })
  const checkpoint = yield* Hub.open(modelName(given.model)), { tokenizer } = checkpoint
  const template = given.chat ? yield* ChatTemplate.make(tokenizer) : undefined
  // a rendered template has its special tokens in it already
  const prompt = template === undefined ? Generate.prompted(tokenizer, given.prompt) : Array.from(tokenizer.encode(yield* template.render(
    [...Option.match(given.system, { onNone: () => [], onSome: (content) => [{ role: "system", content }] }), { role: "user", content: given.prompt }], { addGenerationPrompt: true })))
  const said = <K extends string>(name: K, value: Option.Option<number>) => Option.match(value, { onNone: () => ({}), onSome: (found) => ({ [name]: found }) as Record<K, number> })
  const options: Generate.Options = {
    maximum: given.maximum, stop: yield* Generation.stopIds(checkpoint), seed: given.seed, stopStrings: Option.toArray(given.stop),
    ...said("temperature", given.temperature), ...said("topK", given.topK), ...said("topP", given.topP), ...said("minP", given.minP), ...said("repetitionPenalty", given.penalty)
  }
  // the device starts once all that can be refused has been looked at
  yield* Effect.scoped(answer(checkpoint, prompt, { cache: given.cache, ...said("window", given.window), ...stored(given.storage) }, options)).pipe(Effect.provide(Device.byName(given.device)), Effect.provideService(References.LogToStderr, true))
})).pipe(Command.withDescription("a model's answer to a prompt, as it comes"))

await start(command, import.meta)
