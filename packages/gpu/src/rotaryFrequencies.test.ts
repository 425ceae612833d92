import { describe, expect, test } from "@jest/globals"
import { rotaryFrequencies } from "./rotaryFrequencies.ts"

/** What transformers 5.23's ROPE_INIT_FUNCTIONS["llama3"] gives for Llama-3.2-1B, in f32 with seven digits. */
const llama32 = [
  1.0, 0.6636013, 0.4403666, 0.2922278, 0.1939228, 0.1286874, 0.0853971, 0.05666962, 0.03760603, 0.02495541, 0.01656044, 0.01098953, 0.007292665, 0.004839421, 0.003211446, 0.001290548,
  0.0004295567, 9.708286e-05, 1.946164e-05, 1.291477e-05, 8.570256e-06, 5.687232e-06, 3.774054e-06, 2.504467e-06, 1.661967e-06, 1.102884e-06, 7.318749e-07, 4.856731e-07, 3.222933e-07,
  2.138742e-07, 1.419272e-07, 9.418306e-08
]
const plain = { headSize: 64, ropeTheta: 500_000 }

describe("rotaryFrequencies", () => {
  test("Llama 3.2's, as transformers computes them", () => {
    const found = rotaryFrequencies({ ...plain, ropeScaling: { kind: "llama3", factor: 32, lowFrequency: 1, highFrequency: 4, originalContext: 8192 } })
    expect(found.length).toBe(32)
    found.forEach((value, i) => expect(Math.abs(value / llama32[i]! - 1)).toBeLessThan(2e-5)) // the interpolated ones subtract in f32 there
  })
  test("linear scaling puts position p · factor where position p was", () => {
    const scaled = rotaryFrequencies({ ...plain, ropeScaling: { kind: "linear", factor: 4 } })
    rotaryFrequencies(plain).forEach((value, i) => expect(scaled[i]! * 12).toBeCloseTo(value * 3, 12))
  })
  test("from one radian down to almost 1 / theta", () => {
    const found = rotaryFrequencies(plain)
    expect([found[0], found[16]]).toEqual([1, 1 / Math.sqrt(500_000)])
  })
})
