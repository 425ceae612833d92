import { describe, expect, test } from "@jest/globals"
import fc from "fast-check"
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import * as Dtype from "./Dtype.ts"

describe("number formats", () => {
  const half = (value: number) => new Uint16Array(Dtype.encode(Float32Array.of(value), "F16").buffer)[0]!
  const brain = (value: number) => new Uint16Array(Dtype.encode(Float32Array.of(value), "BF16").buffer)[0]!
  test("known values (IEEE 754, ties to even)", () => {
    expect([1, -2, 65504, 65519, 65520, 2 ** -14, 2 ** -24, 2 ** -25, 1.5 * 2 ** -25, Infinity, -0].map(half))
      .toEqual([0x3c00, 0xc000, 0x7bff, 0x7bff, 0x7c00, 0x0400, 0x0001, 0x0000, 0x0001, 0x7c00, 0x8000])
    expect([1 + 2 ** -11, 1 + 3 * 2 ** -11, 1 + 2 ** -11 + 2 ** -20].map(half)).toEqual([0x3c00, 0x3c02, 0x3c01])
    expect([1, 1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -16, 3.4e38, -Infinity].map(brain)).toEqual([0x3f80, 0x3f80, 0x3f82, 0x3f81, 0x7f80, 0xff80])
  })
  test.each(["F16", "BF16"] as const)("every %s survives the way through f32, and rounding takes the nearest", (dtype) => {
    const words = Uint16Array.from({ length: 65536 }, (_, i) => i), values = new Float32Array(65536)
    Dtype.decode(new Uint8Array(words.buffer), dtype, values)
    const back = new Uint16Array(Dtype.encode(values, dtype).buffer)
    const infinity = dtype === "F16" ? 0x7c00 : 0x7f80
    expect(words.filter((i) => Number.isNaN(values[i]!) ? (back[i]! & 0x7fff) <= infinity : back[i] !== i)).toEqual(new Uint16Array(0))
    const finite = [...values].filter((v) => Number.isFinite(v)).sort((a, b) => a - b)
    fc.assert(fc.property(fc.float({ min: Math.fround(-60000), max: 60000, noNaN: true }), (x) => {
      const out = new Float32Array(1)
      Dtype.decode(Dtype.encode(Float32Array.of(x), dtype), dtype, out)
      let low = 0, high = finite.length - 1
      while (high - low > 1) { const middle = (low + high) >> 1; if (finite[middle]! <= x) low = middle; else high = middle }
      return Math.abs(out[0]! - x) <= Math.min(Math.abs(finite[low]! - x), Math.abs(finite[high]! - x))
    }), { seed: 5, numRuns: 500 })
  })

  const fixture = JSON.parse(readFileSync(new URL("./fixtures/float8/casts.json", import.meta.url), "utf8")) as Record<"F8_E4M3" | "F8_E5M2", { values: ReadonlyArray<number>; inputs: ReadonlyArray<number>; outputs: ReadonlyArray<number>; swept: string }>
  describe.each(["F8_E4M3", "F8_E5M2"] as const)("%s, as torch has it", (dtype) => {
    const { inputs, outputs, swept, values } = fixture[dtype], floats = (words: ArrayLike<number>) => new Float32Array(Uint32Array.from(words).buffer)
    test("all 256 values, bit for bit", () => {
      const out = new Float32Array(256)
      Dtype.decode(Uint8Array.from({ length: 256 }, (_, i) => i), dtype, out)
      const found = new Uint32Array(out.buffer)
      values.forEach((word, i) => expect([i, Number.isNaN(out[i]) ? "NaN" : found[i]]).toEqual([i, Number.isNaN(floats([word])[0]) ? "NaN" : word]))
    })
    test("casts: the neighbours of every value and of every midpoint, infinities, NaN, zeros; a sweep of 131,072 by its hash", () => {
      expect([...Dtype.encode(floats(inputs), dtype)]).toEqual(outputs)
      const sweep = floats(Array.from({ length: 131_072 }, (_, i) => ((i & 0xffff) << 16 | (i >> 16 === 1 ? 0x8001 : 0)) >>> 0)).map((value) => Number.isNaN(value) ? 0 : value)
      expect(createHash("sha256").update(Dtype.encode(sweep, dtype)).digest("hex")).toBe(swept)
    })
    test("what is lost is found: exactly those that come back at or above the largest although they are larger by half a step", () => {
      const largest = dtype === "F8_E4M3" ? 448 : 57344, step = dtype === "F8_E4M3" ? 32 : 8192
      expect([largest, largest + 0.49 * step, -largest].map((value) => Dtype.overflow(Float32Array.of(value), dtype))).toEqual([-1, -1, -1])
      expect([largest + 0.51 * step, -1e9, 3e38].map((value) => Dtype.overflow(Float32Array.of(0, value), dtype))).toEqual([1, 1, 1])
      expect(Dtype.overflow(Float32Array.of(Infinity), dtype)).toBe(dtype === "F8_E4M3" ? 0 : -1)
    })
  })
})
