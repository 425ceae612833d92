/** Choosing by counts and by hand; the window against a whole forward pass. */
import { Model, Random, Tokenizer, Weights } from "@switchyard/core"
import { expect, test } from "@jest/globals"
import { Effect, Stream } from "effect"
import * as Decoder from "./Decoder.ts"
import * as Generate from "./Generate.ts"
import { plainDevice } from "./host/plain.ts"
import * as Op from "./Op.ts"
import * as Recording from "./Recording.ts"
import { kept } from "./Tensor.ts"

const logits = Float32Array.from([0.5, 0.1, 0.3, 0.05, 0.05], Math.log)
const shares = (options: Omit<Generate.Options, "maximum">, draws = 4000) => {
  const counts = Array.from(logits, () => 0)
  for (let index = 0; index < draws; index++) counts[Generate.choose(logits, options, index)]!++
  return counts.map((count) => count / draws)
}
const near = (actual: ReadonlyArray<number>, expected: ReadonlyArray<number>) => actual.forEach((share, id) => expect(Math.abs(share - expected[id]!)).toBeLessThan(expected[id] === 0 ? 1e-12 : 0.025)) // three standard errors of 4000 draws
const draw = (seed: number) => Array.from({ length: 50 }, (_, index) => Generate.choose(logits, { temperature: 1, seed }, index))

test("greedy takes the likeliest, ties to the lowest id", () => {
  expect(Generate.choose(logits, {}, 0)).toBe(0)
  expect(Generate.choose(Float32Array.of(1, 3, 3), {}, 0)).toBe(1)
})
test("draws follow softmax(logits / temperature), cut by top-k and top-p and renormalised", () => {
  near(shares({ temperature: 1 }), [0.5, 0.1, 0.3, 0.05, 0.05])
  near(shares({ temperature: 0.5 }), [0.25, 0.01, 0.09, 0.0025, 0.0025].map((p) => p / 0.355))
  near(shares({ temperature: 1, topK: 2 }), [0.625, 0, 0.375, 0, 0])
  near(shares({ temperature: 1, topP: 0.85 }), [5 / 9, 1 / 9, 3 / 9, 0, 0]) // 0.5 + 0.3 does not reach it, 0.9 does
  near(shares({ temperature: 1, topP: 0.4 }), [1, 0, 0, 0, 0])
})
test("a draw depends on seed and index alone", () => {
  expect(draw(1)).toEqual(draw(1))
  expect(draw(1)).not.toEqual(draw(2))
})

test("the window gives what a whole forward pass gives, slides past its length, and pieces join to the text", async () => {
  const tokenizer = Tokenizer.bytes(), window = 8, vocabulary = tokenizer.vocabulary
  const model: Model.Model = { family: "llama", vocabulary, hidden: 8, layers: 1, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 16, normEpsilon: 1e-5, ropeTheta: 100, tiedEmbeddings: true, feedForward: { kind: "dense", inner: 8 }, extra: {} }
  const weights = Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) => [name, { shape, data: Random.fillNormal(Random.make(5, name), new Float32Array(shape.reduce((a, b) => a * b, 1))) }])))
  await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const arena = yield* plainDevice().arena, decoder = Decoder.make(model, { sizes: [{ batch: 1, tokens: 12 }] })
    yield* Decoder.load(arena, decoder, weights)
    const generator = yield* Generate.fromDecoder(arena, decoder, { window })
    const ids = kept([12], { dtype: "u32" }), whole = Recording.record(() => Op.keep(Decoder.forward(decoder, ids, { batch: 1, tokens: 12 })))
    const prompt = [10, 200, 33, 90]
    const rest = yield* Stream.runCollect(Generate.ids(generator, prompt, { maximum: 7 }))
    expect(rest.length).toBe(7)
    yield* arena.upload(ids, Uint32Array.from([...prompt, ...rest, 0]))
    yield* arena.submit(whole)
    const all = yield* arena.read(whole.outputs)
    const likeliest = (row: number) => { const values = Array.from(all.subarray(row * vocabulary, (row + 1) * vocabulary)); return values.indexOf(Math.max(...values)) }
    for (let at = prompt.length; at <= window; at++) expect(rest[at - prompt.length]).toBe(likeliest(at - 1)) // as long as the window holds everything
    const last = yield* generator.logits([...prompt, ...rest]), cut = yield* generator.logits([...prompt, ...rest].slice(-window))
    expect(last).toEqual(cut)
    const stopped = yield* Stream.runCollect(Generate.ids(generator, prompt, { maximum: 7, stop: [rest[2]!] }))
    expect(stopped).toEqual(rest.slice(0, rest.indexOf(rest[2]!)))
    const options = { maximum: 12, temperature: 1.5, seed: 3, stop: [] }
    const { ids: drawn, text } = yield* Generate.run(generator, tokenizer, "é", options)
    const pieces: Array<Generate.Piece> = []
    yield* Effect.promise(async () => { for await (const piece of Stream.toAsyncIterable(Generate.pieces(generator, tokenizer, "é", options))) pieces.push(piece) })
    expect(pieces.map(({ id }) => id)).toEqual(drawn)
    expect(pieces.map((piece) => piece.text).join("")).toBe(text)
    expect(tokenizer.decode([...tokenizer.encode("é"), ...drawn]).startsWith(`é${text}`)).toBe(true)
  })))
})
