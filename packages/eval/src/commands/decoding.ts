/**
 * Generation on the host in `eval:bench`: a prompt in one pass, and each token after it, of a random Llama of SmolLM2-135M's sizes; beside it the same
 * sizes in transformers and transformers.js, each in a process of its own that works when it is asked to. A token also with the matrices stored in fewer
 * bytes, beside ours in f32.
 */
import { Checkpoint, Model, Random, Tokenizer, Weights } from "@switchyard/core"
import { Device, Storage, Tensor } from "@switchyard/gpu"
import { Generation } from "@switchyard/routing"
import { Effect } from "effect"
import { type Case, clocked, quantile } from "./measure.ts"

/** What is generated with. `tokens` are timed after the first prompt. */
export interface Decoding { readonly model: Model.Model; readonly prompts: ReadonlyArray<number>; readonly tokens: number }
const llama = (sizes: Pick<Model.Model, "vocabulary" | "hidden" | "layers" | "heads" | "keyValueHeads" | "headSize">, inner: number): Model.Model =>
  ({ family: "llama", ...sizes, contextLength: 2048, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, feedForward: { kind: "dense", inner }, extra: {} })
export const smol: Decoding = { model: llama({ vocabulary: 49_152, hidden: 576, layers: 30, heads: 9, keyValueHeads: 3, headSize: 64 }, 1536), prompts: [128, 512], tokens: 16 }
export const look: Decoding = { model: llama({ vocabulary: 260, hidden: 48, layers: 2, heads: 3, keyValueHeads: 1, headSize: 16 }, 96), prompts: [16], tokens: 2 }

/** The cases' names; shapes tell them apart further. */
export const names = { prompt: "prompt", token: "token" } as const
/** Who is compared with, by the names of their cases: what is quicker counts. */
export const rivals = ["transformers", "transformers.js"] as const
const millions = (model: Model.Model) => `${(Model.parameters(model) / 1e6).toPrecision(3)} M parameters`
export const shapes = { prompt: ({ model }: Decoding, length: number) => `${length} tokens, ${millions(model)}`, token: ({ model, prompts }: Decoding) => `after ${prompts[0]}, ${millions(model)}` }

/** Operations of a pass of `tokens`, only the last of which passes the head: two for each weight and token, and attention's products of whole squares. */
const flops = (model: Model.Model, tokens: number): number => {
  const head = model.vocabulary * model.hidden
  return 2 * (Model.parameters(model) - head) * tokens + 2 * head + 4 * model.layers * model.heads * model.headSize * tokens ** 2
}

/** A generator over random weights on the device, as cases; lives as long as the scope. Units of the token's row: milliseconds of one token, the median of `tokens`. */
export const cases = (device: Device.Service, decoding: Decoding, seed: number) => Effect.gen(function*() {
  const { model, prompts, tokens } = decoding, bytes = 4 * Model.parameters(model)
  const weights = Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }) => {
    const data = new Float32Array(Tensor.size(shape))
    return [name, { shape, data: shape.length === 1 ? data.fill(1) : Random.fillNormal(Random.make(seed, name), data, { deviation: 0.02 }) }]
  })))
  const open = (storage?: Storage.Storage) => Effect.provideService(Generation.open(Checkpoint.make({ model, weights, tokenizer: Tokenizer.bytes() }), { window: 1024, storage }), Device.Device, Device.Device.of(device))
  const generator = yield* open(), stored = yield* Effect.forEach(Storage.storages, (storage) => Effect.map(open(storage), (generator) => ({ storage, generator })))
  const prompt = (length: number, of = generator) => of.advance([{ row: 0, ids: Array.from({ length }, (_, at) => at % model.vocabulary), fresh: true }])
  const each = (of = generator) => Effect.map(Effect.forEach(Array.from({ length: tokens }, (_, token) => token), (token) => clocked(of.advance([{ row: 0, ids: [token], fresh: false }]))), (times) => ({ wall: quantile(times.map(({ wall }) => wall), 0.5) }))
  const about = { device: device.name, adapter: device.adapter, atMost: 2 } as const
  return [
    ...prompts.map((length): Case => ({ ...about, name: names.prompt, shape: shapes.prompt(decoding, length), against: rivals.map((rival) => `${rival} ${names.prompt}`), work: { flops: flops(model, length), bytes }, time: clocked(prompt(length)) })),
    { ...about, name: names.token, shape: shapes.token(decoding), against: rivals.map((rival) => `${rival} ${names.token}`), work: { flops: flops(model, 1), bytes }, time: Effect.andThen(prompt(prompts[0]!), each()) },
    ...stored.map(({ generator, storage }): Case => ({
      device: device.name, adapter: device.adapter, name: `${names.token}, ${storage}`, shape: shapes.token(decoding), against: names.token, work: { flops: flops(model, 1), bytes: 4 * Storage.words(storage, Model.parameters(model)) },
      time: Effect.andThen(prompt(prompts[0]!, generator), each(generator))
    }))
  ] satisfies ReadonlyArray<Case>
})

/** Asked to take a prompt of so many tokens and then so many more, one at a time: milliseconds of each. */
export type Ask = (prompt: number, tokens: number) => Effect.Effect<{ readonly prompt: number; readonly tokens: ReadonlyArray<number> }, { readonly message: string }>
/** The same cases by another. */
export const rivalCases = (decoding: Decoding, device: string, rival: typeof rivals[number], adapter: string, ask: Ask): ReadonlyArray<Case> => {
  const { prompts, tokens } = decoding, about = { device, adapter }
  return [
    ...prompts.map((length): Case => ({ ...about, name: `${rival} ${names.prompt}`, shape: shapes.prompt(decoding, length), time: Effect.map(ask(length, 0), ({ prompt }) => ({ wall: prompt })) })),
    { ...about, name: `${rival} ${names.token}`, shape: shapes.token(decoding), time: Effect.map(ask(prompts[0]!, tokens), (times) => ({ wall: quantile(times.tokens, 0.5) })) }
  ]
}
