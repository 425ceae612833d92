import { expect, test } from "@jest/globals"
import fc from "fast-check"
import { bitsPerByte, bitsPerToken, difference, documentNames, type DocumentScore, meanOf, ratio } from "./metrics.ts"

const score = (document: string, bytes: number, nats: number): DocumentScore => ({ domain: "law", document, tokens: bytes / 2, bytes, logLikelihood: -nats })

test("one bit for each byte is one bit per byte, two per token of two bytes", () => {
  const scores = [score("a", 10, 10 * Math.LN2), score("b", 30, 30 * Math.LN2)]
  expect(bitsPerByte(scores)).toEqual({ value: 1, standardError: 0, count: 2 })
  expect(bitsPerToken(scores).value).toBeCloseTo(2, 12)
})

test("with equal denominators the ratio's standard error is that of a mean: sample deviation over root n", () => {
  // 0.6 and 0.1633 are lm-evaluation-harness's mean and standard error of these ten outcomes
  const found = ratio([1, 0, 1, 1, 0, 1, 0, 0, 1, 1], Array.from({ length: 10 }, () => 1))
  expect(found.value).toBeCloseTo(0.6, 12)
  expect(found.standardError).toBeCloseTo(0.16329931618554522, 12)
})

test("the standard error agrees with the spread of the ratio over resampled documents", () => {
  const bytes = Array.from({ length: 60 }, (_, i) => 50 + (i * 37) % 90), top = bytes.map((size, i) => size * (1.5 + 0.5 * Math.sin(i * 2.3)))
  let state = 12345
  const draw = () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648
  const replicates = Array.from({ length: 4000 }, () => { const picks = bytes.map(() => Math.floor(draw() * 60)); return ratio(picks.map((i) => top[i]!), picks.map((i) => bytes[i]!)).value })
  const mean = replicates.reduce((a, b) => a + b, 0) / 4000, deviation = Math.sqrt(replicates.reduce((a, b) => a + (b - mean) ** 2, 0) / 3999)
  expect(Math.abs(ratio(top, bytes).standardError! / deviation - 1)).toBeLessThan(0.08)
})

test("differences are antisymmetric, zero against oneself, and pair whatever the order", () => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 500 }), fc.double({ min: 0, max: 900, noNaN: true }), fc.double({ min: 0, max: 900, noNaN: true })), { minLength: 2, maxLength: 12 }), (documents) => {
    const a = documents.map(([bytes, nats], i) => score(String(i), bytes, nats)), b = documents.map(([bytes, , nats], i) => score(String(i), bytes, nats))
    expect(difference(a, a).value).toBe(0)
    expect(difference(a, b).value).toBeCloseTo(-difference(b, [...a].reverse()).value, 9)
    expect(difference(a, b).value).toBeCloseTo(bitsPerByte(a).value - bitsPerByte(b).value, 9)
  }), { seed: 3 })
  expect(() => difference([score("a", 5, 1)], [score("b", 5, 1)])).toThrow("law/a")
})

test("a mean over domains weighs them alike; one document has no standard error", () => {
  expect(meanOf([{ value: 1, standardError: 0.3, count: 5 }, { value: 3, standardError: 0.4, count: 500 }])).toEqual({ value: 2, standardError: 0.25, count: 505 })
  expect(bitsPerByte([score("a", 5, 1)]).standardError).toBeNull()
})

test("documents that a file gave one id are told apart by their order", () => {
  const a = [score("same", 5, 1), score("same", 9, 4), score("other", 2, 1)], b = [score("same", 5, 3), score("other", 2, 1), score("same", 9, 4)]
  expect(documentNames([...a, score("same", 1, 1)]).map((name) => JSON.parse(name) as unknown)).toEqual([["law/same", 0], ["law/same", 1], ["law/other", 0], ["law/same", 2]])
  expect(difference(a, b).value).toBeCloseTo(bitsPerByte(a).value - bitsPerByte(b).value, 12)
  expect(() => difference(a, b.slice(1))).toThrow("3 documents against 2")
})
