/** Streams of answers: rows taken in turn, ends, text, and nothing that depends on how prompts were batched. */
import { Tokenizer } from "@switchyard/core"
import { expect, test } from "@jest/globals"
import { Effect, Stream } from "effect"
import * as Generate from "./Generate.ts"
import type { Generator } from "./Generator.ts"

/** A model by hand: after a text of n tokens ending in t, logits favour (7 t + n) mod 256, and some others. */
const model = (batch: number, window = 32): { readonly generator: Generator; readonly calls: Array<number> } => {
  const held = Array.from({ length: batch }, (): ReadonlyArray<number> => []), calls: Array<number> = []
  return {
    calls,
    generator: {
      batch, window,
      advance: (rows) => Effect.sync(() => {
        calls.push(rows.length)
        return rows.map(({ fresh, ids, row }) => {
          const text = held[row] = fresh ? ids : [...held[row]!, ...ids]
          if (text.length > window) throw new Error("too long")
          const best = (7 * text.at(-1)! + text.length) % 256
          return Float32Array.from({ length: 260 }, (_, id) => id === best ? 5 : id === (best + 1) % 256 ? 4 : id < 256 ? Math.sin(id * text.length) : -9)
        })
      })
    }
  }
}
const prompts = [[1, 2, 3], [50], [9, 9, 9, 9, 9], [200, 7], [31]]
const collect = (generator: Generator, given: ReadonlyArray<ReadonlyArray<number>>, options: Generate.Options) => Effect.runPromise(Stream.runCollect(Generate.tokens(generator, given, options)))
const idsOf = (pieces: ReadonlyArray<Generate.Piece>, prompt: number) => pieces.filter((piece) => piece.prompt === prompt).map(({ id }) => id)

test("an answer is the same alone, in any batch, and in calls of a few", async () => {
  for (const options of [{ maximum: 9 }, { maximum: 9, temperature: 1.5, seed: 3, repetitionPenalty: 1.3 }]) {
    const together = await collect(model(5).generator, prompts, options)
    for (const batch of [1, 2, 3]) {
      const inTurn = await collect(model(batch).generator, prompts, options)
      for (const [prompt, ids] of prompts.entries()) {
        expect(idsOf(inTurn, prompt)).toEqual(idsOf(together, prompt))
        expect(idsOf(await collect(model(1).generator, [ids], { ...options, first: prompt }), 0)).toEqual(idsOf(together, prompt))
      }
    }
  }
})
test("a prompt takes the row of an answer that has ended", async () => {
  const { calls, generator } = model(2)
  await collect(generator, prompts, { maximum: 4 })
  expect(calls).toEqual([...Array.from({ length: 8 }, () => 2), ...Array.from({ length: 4 }, () => 1)])
})
test("answers end at a maximum, a stop id, a full window, a stop string", async () => {
  const first = idsOf(await collect(model(1).generator, [[1]], { maximum: 5 }), 0) as ReadonlyArray<number>
  const stopped = await collect(model(1).generator, [[1]], { maximum: 5, stop: [first[2]!] })
  expect(stopped.map(({ finish, id }) => ({ finish, id }))).toEqual([{ id: first[0] }, { id: first[1] }, { finish: "stop", id: undefined }].map((one) => ({ finish: undefined, ...one })))
  const full = await collect(model(1, 4).generator, [[1, 2]], { maximum: 50 })
  expect(full.map(({ finish }) => finish)).toEqual([undefined, undefined, "window"]) // four are held, the one after them is known
  const tokenizer = Tokenizer.bytes(), letters: Generator = { batch: 1, window: 64, advance: () => Effect.sync(() => [Float32Array.from({ length: 260 }, (_, id) => id === "hello END".charCodeAt(at % 9) ? 1 : 0)].map((logits) => { at++; return logits })) }
  let at = 0
  const answer = await Effect.runPromise(Generate.run(letters, tokenizer, "x", { maximum: 30, stopStrings: ["EN", "lo E"] }))
  expect(answer).toEqual({ ids: [...tokenizer.encode("hello E")], text: "hel", finish: "stopString" })
})
test("pieces join to the answer's text, a character cut between tokens among them", async () => {
  const tokenizer = Tokenizer.bytes(), options = { maximum: 12, temperature: 1.5, seed: 3, stop: [] }
  const pieces: Array<Generate.Piece> = []
  for await (const piece of Stream.toAsyncIterable(Generate.pieces(model(1).generator, tokenizer, "é", options))) pieces.push(piece)
  const { ids, text } = await Effect.runPromise(Generate.run(model(1).generator, tokenizer, "é", options))
  expect(pieces.map(({ id }) => id)).toEqual(ids)
  expect(pieces.map((piece) => piece.text).join("")).toBe(text)
  expect(tokenizer.decode([...tokenizer.encode("é"), ...ids])).toBe(`é${text}`)
})
test("a prompt without tokens or longer than the window is refused before any work", async () => {
  const { calls, generator } = model(1, 4)
  for (const [given, says] of [[[[1], []], /prompt 1: it has no tokens/], [[[1, 2, 3, 4, 5]], /prompt 0: it has 5 tokens, the generator's window holds 4/]] as const) {
    await expect(collect(generator, given, { maximum: 1 })).rejects.toThrow(says)
  }
  expect(calls).toEqual([])
})
