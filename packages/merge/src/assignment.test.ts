import { expect, test } from "@jest/globals"
import fc from "fast-check"
import { assignment } from "./assignment.ts"

const permutations = (items: ReadonlyArray<number>): ReadonlyArray<ReadonlyArray<number>> =>
  items.length === 0 ? [[]] : items.flatMap((item) => permutations(items.filter((other) => other !== item)).map((rest) => [item, ...rest]))
const value = (similarity: Float64Array, size: number, permutation: Iterable<number>): number => [...permutation].reduce((sum, column, row) => sum + similarity[row * size + column]!, 0)

test("no permutation scores better, by brute force up to seven", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 6 }).chain((size) => fc.tuple(fc.constant(size), fc.array(fc.integer({ min: -50, max: 50 }), { minLength: size * size, maxLength: size * size }))), ([size, numbers]) => {
    const similarity = Float64Array.from(numbers), found = assignment(similarity, size)
    expect([...found].sort()).toEqual(Array.from({ length: size }, (_, i) => i))
    expect(value(similarity, size, found)).toBe(Math.max(...permutations([...found]).map((permutation) => value(similarity, size, permutation))))
  }), { numRuns: 60, seed: 1 })
})

test("a similarity that is not finite is a defect, never an endless loop", () => {
  expect(() => assignment(Float64Array.from([NaN, NaN, NaN, NaN]), 2)).toThrow("finite")
})
