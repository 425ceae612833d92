import { describe, expect, test } from "@jest/globals"
import fc from "fast-check"
import * as Random from "./Random.ts"

const hex = (out: Uint32Array) => [...out].map((x) => x.toString(16).padStart(8, "0"))
const philox = (counter: ReadonlyArray<number>, key: ReadonlyArray<number>) => {
  const out = new Uint32Array(4)
  Random.philox(counter[0]!, counter[1]!, counter[2]!, counter[3]!, key[0]!, key[1]!, out)
  return hex(out)
}

describe("Philox 4x32-10 against the known answers of Random123 (kat_vectors)", () => {
  test("zeros", () => expect(philox([0, 0, 0, 0], [0, 0])).toEqual(["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]))
  test("ones", () => expect(philox([0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff])).toEqual(["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"]))
  test("digits of pi", () =>
    expect(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual(["d16cfe09", "94fdcceb", "5001e420", "24126ea1"]))
})

describe("streams", () => {
  const source = Random.make(7, "weights")
  test("any window of a stream equals the numbers asked for one by one", () =>
    fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 40 }), fc.integer({ min: 1, max: 20 }), (from, length) => {
      const window = Random.fillUnsigned(source, new Uint32Array(length), from)
      return window.every((x, i) => x === Random.unsigned(source, from + i))
    }), { seed: 1 }))
  test("a normal number does not depend on the window it is drawn in", () => {
    const whole = Random.fillNormal(source, new Float32Array(64))
    expect(Random.fillNormal(source, new Float32Array(9), { from: 5 })).toEqual(whole.slice(5, 14))
  })
  test("seed, name and index each change the number", () => {
    const at = (seed: number, name: string) => Random.unsigned(Random.make(seed, name), 0)
    expect(new Set([at(0, "a"), at(1, "a"), at(0, "b"), at(2 ** 32, "a"), Random.unsigned(Random.make(0, "a"), 1)]).size).toBe(5)
  })
  test("a seed that is not an integer dies", () => expect(() => Random.make(0.5, "a")).toThrow(/seed must be an integer/))
})

describe("distributions", () => {
  const count = 100_000
  const source = Random.make(1, "moments")
  test("uniform numbers lie in [0, 1), exact in f32, mean 1/2 and variance 1/12", () => {
    const x = Random.fillUniform(source, new Float32Array(count))
    const mean = x.reduce((a, b) => a + b, 0) / count
    expect(Math.min(...x.subarray(0, 9000))).toBeGreaterThanOrEqual(0)
    expect(Math.max(...x.subarray(0, 9000))).toBeLessThan(1)
    expect(Math.abs(mean - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / count))
    expect(x.every((v) => v * 2 ** 24 === Math.floor(v * 2 ** 24))).toBe(true)
  })
  test("normal numbers have the moments 0, 1, 0, 3", () => {
    const x = Random.fillNormal(source, new Float32Array(count))
    const moment = (p: number) => x.reduce((a, b) => a + b ** p, 0) / count
    expect(Math.abs(moment(1))).toBeLessThan(4 / Math.sqrt(count))
    expect(Math.abs(moment(2) - 1)).toBeLessThan(4 * Math.sqrt(2 / count))
    expect(Math.abs(moment(3))).toBeLessThan(4 * Math.sqrt(15 / count))
    expect(Math.abs(moment(4) - 3)).toBeLessThan(4 * Math.sqrt(96 / count))
  })
  test("a shuffle is a permutation, and every order of three is equally likely", () => {
    fc.assert(fc.property(fc.nat(200), (n) => [...Random.shuffle(source, n)].sort((a, b) => a - b).every((x, i) => x === i)), { seed: 2 })
    const seen = new Map<string, number>()
    for (let i = 0; i < 6000; i++) {
      const order = Random.shuffle(Random.make(i, "three"), 3).join()
      seen.set(order, (seen.get(order) ?? 0) + 1)
    }
    const chiSquared = [...seen.values()].reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0)
    expect(seen.size).toBe(6)
    expect(chiSquared).toBeLessThan(20.5) // 5 degrees of freedom, p = 0.001
  })
  test("categories are drawn in proportion to their weights, those of weight zero never", () => {
    const weights = [1, 0, 3, 6], seen = [0, 0, 0, 0]
    for (let i = 0; i < 20_000; i++) seen[Random.categorical(source, i, weights)]!++
    expect(seen[1]).toBe(0)
    for (const i of [0, 2, 3]) {
      const p = weights[i]! / 10
      expect(Math.abs(seen[i]! / 20_000 - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / 20_000))
    }
    expect(() => Random.categorical(source, 0, [0, 0])).toThrow(/every weight is zero/)
    expect(() => Random.categorical(source, 0, [1, NaN])).toThrow(/weight 1 is NaN/)
  })
})
