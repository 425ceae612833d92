/** Choosing by counts and by hand. The same numbers as transformers' processors: tools/fixtures/generation.py and Generator.test.ts. */
import { expect, test } from "@jest/globals"
import fc from "fast-check"
import * as Sampling from "./Sampling.ts"

const logits = Float32Array.from([0.5, 0.1, 0.3, 0.05, 0.05], Math.log)
const shares = (options: Sampling.Options, draws = 4000) => {
  const counts = Array.from(logits, () => 0)
  for (let index = 0; index < draws; index++) counts[Sampling.choose(logits, options, { index })]!++
  return counts.map((count) => count / draws)
}
const near = (actual: ReadonlyArray<number>, expected: ReadonlyArray<number>) => actual.forEach((share, id) => expect(Math.abs(share - expected[id]!)).toBeLessThan(expected[id] === 0 ? 1e-12 : 0.025)) // three standard errors of 4000 draws
const draw = (seed: number, row = 0) => Array.from({ length: 50 }, (_, index) => Sampling.choose(logits, { temperature: 1, seed }, { index, row }))

test("greedy takes the likeliest, ties to the lowest id", () => {
  expect(Sampling.choose(logits, {}, { index: 0 })).toBe(0)
  expect(Sampling.choose(Float32Array.of(1, 3, 3), {}, { index: 0 })).toBe(1)
})
test("draws follow softmax(logits / temperature), cut by top-k, top-p and min-p and renormalised", () => {
  near(shares({ temperature: 1 }), [0.5, 0.1, 0.3, 0.05, 0.05])
  near(shares({ temperature: 0.5 }), [0.25, 0.01, 0.09, 0.0025, 0.0025].map((p) => p / 0.355))
  near(shares({ temperature: 1, topK: 2 }), [0.625, 0, 0.375, 0, 0])
  near(shares({ temperature: 1, topP: 0.85 }), [5 / 9, 1 / 9, 3 / 9, 0, 0]) // 0.5 + 0.3 does not reach it, 0.9 does
  near(shares({ temperature: 1, topP: 0.4 }), [1, 0, 0, 0, 0])
  near(shares({ temperature: 1, topK: 3, topP: 0.8 }), [0.625, 0, 0.375, 0, 0]) // of the three left, 8/9 is reached by two
  near(shares({ temperature: 1, minP: 0.15 }), [5 / 9, 1 / 9, 3 / 9, 0, 0]) // at least 0.15 · 0.5
})
test("top-k keeps what ties with its last", () => {
  expect(Sampling.candidates(logits, { temperature: 1, topK: 4 }).ids).toEqual([0, 1, 2, 3, 4])
})
test("a penalty divides positive logits and multiplies negative ones, once for each token", () => {
  expect([...Sampling.penalized(Float32Array.of(2, -2, 3, 0), [0, 1, 1, 3], 2)]).toEqual([1, -4, 3, 0])
  expect(Sampling.choose(Float32Array.of(2, 1.5), { repetitionPenalty: 2 }, { index: 0, before: [0] })).toBe(1)
})
test("a draw depends on seed, prompt and index alone", () => {
  expect(draw(1)).toEqual(draw(1))
  expect(draw(1)).not.toEqual(draw(2))
  expect(draw(1, 1)).not.toEqual(draw(1))
})
test("the fewest that reach top-p: a sort of everything agrees", () => {
  fc.assert(fc.property(fc.array(fc.float({ min: -12, max: 12, noNaN: true }), { minLength: 1, maxLength: 40 }), fc.double({ min: 0.01, max: 0.999, noNaN: true }), fc.double({ min: 0.1, max: 3, noNaN: true }), (values, topP, temperature) => {
    const given = Float32Array.from(values), weights = Array.from(given, (logit) => Math.exp((logit - Math.max(...given)) / temperature)), total = weights.reduce((sum, weight) => sum + weight, 0)
    const { ids } = Sampling.candidates(given, { temperature, topP })
    const mass = ids.reduce((sum, id) => sum + weights[id]!, 0), least = Math.min(...ids.map((id) => weights[id]!))
    expect(mass).toBeGreaterThanOrEqual(topP * total * (1 - 1e-12))
    expect(mass - least).toBeLessThan(topP * total * (1 + 1e-12))
    expect(weights.every((weight, id) => ids.includes(id) || weight <= least)).toBe(true)
  }), { seed: 4 })
})
test("a logit that is NaN is a defect that names it, not the first token", () => {
  for (const options of [{}, { temperature: 1 }, { temperature: 1, topK: 2, topP: 0.5 }]) for (const given of [[NaN, NaN, NaN], [1, NaN, 5]]) {
    expect(() => Sampling.choose(Float32Array.from(given), options, { index: 0 })).toThrow(`id ${given.findIndex(Number.isNaN)} is NaN`)
  }
})
test("an option out of range is a defect that names it", () => {
  for (const [options, name] of [[{ temperature: -1 }, "temperature"], [{ topK: 0 }, "topK"], [{ topP: 0 }, "topP"], [{ minP: 2 }, "minP"], [{ repetitionPenalty: 0 }, "repetitionPenalty"]] as const) expect(() => Sampling.choose(logits, options, { index: 0 })).toThrow(name)
})
