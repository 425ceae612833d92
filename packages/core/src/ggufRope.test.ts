import { expect, test } from "@jest/globals"
import { ropeScalingOf } from "./ggufRope.ts"

/** As llama.cpp's convert_hf_to_gguf.py computes rope_freqs.weight, in f32. */
const converted = (theta: number, headSize: number, factor: number, low: number, high: number, context: number): Float32Array =>
  Float32Array.from({ length: headSize / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** (2 * i / headSize)
    if (wavelength < context / high) return 1
    if (wavelength > context / low) return factor
    const smooth = (context / wavelength - low) / (high - low)
    return 1 / ((1 - smooth) / factor + smooth)
  })

test.each([["Llama 3.1 8B", 500_000, 128, 8, 4, 8192], ["Llama 3.2 1B", 500_000, 64, 32, 4, 8192], ["numbers of one's own", 10_000, 128, 4, 8, 4096]] as const)("%s: the four numbers come back", (_, theta, headSize, factor, high, context) => {
  expect(ropeScalingOf(converted(theta, headSize, factor, 1, high, context), theta, 131_072)).toEqual({ kind: "llama3", factor, lowFrequency: 1, highFrequency: high, originalContext: context })
})
test("other low frequencies give an equal scaling with low frequency 1", () => {
  expect(ropeScalingOf(converted(500_000, 128, 8, 2, 8, 8192), 500_000, 131_072)).toEqual({ kind: "llama3", factor: 8, lowFrequency: 1, highFrequency: 4, originalContext: 4096 })
})
test("ones are no scaling, equal divisors linear, and anything else is not known", () => {
  expect(ropeScalingOf([1, 1, 1], 10_000, 64)).toBe("none")
  expect(ropeScalingOf([2.5, 2.5], 10_000, 64)).toEqual({ kind: "linear", factor: 2.5 })
  for (const odd of [[1, 3, 2, 7], [8, 4, 2, 1], [1, 0, 2], [1, Number.NaN], [1, Infinity]]) expect(ropeScalingOf(odd, 10_000, 64)).toBe(undefined)
})
