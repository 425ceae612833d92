/**
 * Texts generated greedily from prompts, as lm-evaluation-harness's `generate_until` makes them: a prompt is cut from the left to what the model's
 * context holds beside the answer, and an answer ends before the first of its stop texts, or at the end-of-text token.
 */
import type { Checkpoint } from "@switchyard/core"
import { Generate, type Storage } from "@switchyard/gpu"
import { Generation } from "@switchyard/routing"
import { Effect, Stream } from "effect"
import type { Encoder } from "./encodePair.ts"
import { Progress } from "./Progress.ts"
import { TaskError } from "./Recipe.ts"

/** Tokens of an answer where nothing else is said: the harness's max_gen_toks. */
export const defaultGenerated = 256
/** What an automatic batch may hold: rows, and keys and values of all layers (4 bytes each). */
const automatic = { rows: 8, cached: 2 ** 28 }

/** `until` is compared by content: prompts with the same stops run side by side. */
export interface Asked { readonly document: number; readonly prompt: string; readonly until: ReadonlyArray<string> }
interface Options { readonly maximum: number; readonly maximumGenerated: number; readonly batch: number | "auto"; readonly storage?: Storage.Storage | undefined }

/** Generates all texts; `finished` hears of each. Fails: TaskError where a context has no room for an answer; RouterError where the model's router cannot go on from a cache. */
export const generateTexts = <E, R>(checkpoint: Checkpoint.Any, encoder: Encoder, asked: ReadonlyArray<Asked>, options: Options, finished: (document: number, text: string) => Effect.Effect<void, E, R>) => Effect.gen(function*() {
  if (asked.length === 0) return
  const { maximum, maximumGenerated, batch: given } = options, { model, tokenizer } = checkpoint, room = maximum - maximumGenerated
  if (room < 1) return yield* new TaskError({ task: "generate_until", at: "--gen_kwargs", problem: `answers of ${maximumGenerated} tokens leave no room for a prompt in a context of ${maximum}`, remedy: "Say --gen_kwargs max_gen_toks=N with a smaller N." })
  const prompts = asked.map(({ prompt }) => encoder.encode(prompt).slice(-room)), window = Math.max(...prompts.map(({ length }) => length)) + maximumGenerated
  const batch = Math.min(asked.length, given === "auto" ? Math.max(1, Math.min(automatic.rows, Math.floor(automatic.cached / (2 * window * model.layers * model.keyValueHeads * model.headSize)))) : given)
  const generator = yield* Generation.open(checkpoint, { batch, window, storage: options.storage }), { listen } = yield* Progress
  const groups = new Map<string, Array<Asked & { readonly at: number }>>()
  for (const [at, each] of asked.entries()) groups.set(each.until.join("\u0000"), [...groups.get(each.until.join("\u0000")) ?? [], { ...each, at }])
  let done = 0
  for (const group of groups.values()) {
    const texts = group.map(() => "")
    yield* Stream.runForEach(Generate.tokens(generator, group.map(({ at }) => prompts[at]!), { maximum: maximumGenerated, stop: tokenizer.eos === undefined ? [] : [tokenizer.eos], stopStrings: group[0]!.until }, tokenizer), ({ finish, prompt, text }) => Effect.gen(function*() {
      texts[prompt] += text
      if (finish === undefined) return
      yield* finished(group[prompt]!.document, texts[prompt]!)
      yield* Effect.sync(() => listen?.(++done, asked.length))
    }))
  }
})
