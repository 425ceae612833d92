import { describe, expect, test } from "@jest/globals"
import { rotaryFrequencies, rotaryMagnitude } from "./rotaryFrequencies.ts"

/** What transformers 5.23's ROPE_INIT_FUNCTIONS["llama3"] gives for Llama-3.2-1B, in f32 with seven digits. */
const llama32 = [
  1.0, 0.6636013, 0.4403666, 0.2922278, 0.1939228, 0.1286874, 0.0853971, 0.05666962, 0.03760603, 0.02495541, 0.01656044, 0.01098953, 0.007292665, 0.004839421, 0.003211446, 0.001290548,
  0.0004295567, 9.708286e-05, 1.946164e-05, 1.291477e-05, 8.570256e-06, 5.687232e-06, 3.774054e-06, 2.504467e-06, 1.661967e-06, 1.102884e-06, 7.318749e-07, 4.856731e-07, 3.222933e-07,
  2.138742e-07, 1.419272e-07, 9.418306e-08
]
/** The same of ROPE_INIT_FUNCTIONS["yarn"] for gpt-oss (untruncated), and for DeepSeek-V3's sizes with two weights of the logarithm. */
const gptOss = [
  1.0, 0.6890443, 0.474782, 0.3271459, 0.225418, 0.155323, 0.1070244, 0.07374457, 0.05081327, 0.0317057, 0.019335, 0.01159205, 0.006794959, 0.003860359, 0.002093793, 0.001052602, 0.0004564839,
  0.0001293187, 3.830881e-05, 2.639647e-05, 1.818834e-05, 1.253257e-05, 8.635496e-06, 5.950239e-06, 4.099978e-06, 2.825067e-06, 1.946596e-06, 1.341291e-06, 9.24209e-07, 6.368209e-07,
  4.387979e-07, 3.023511e-07
]
const deepseek = [
  1.0, 0.7498942, 0.5623413, 0.4216965, 0.3162278, 0.2371374, 0.1778279, 0.1333521, 0.1, 0.07498942, 0.05623413, 0.03900693, 0.02687936, 0.01837814, 0.01244796, 0.008334509, 0.0055, 0.003561997,
  0.002249365, 0.001370513, 0.0007905694, 0.0004149904, 0.0001778279, 3.333803e-05, 2.5e-05, 1.874735e-05, 1.405853e-05, 1.054241e-05, 7.905694e-06, 5.928434e-06, 4.445698e-06, 3.333804e-06
]
const yarn = { kind: "yarn", originalContext: 4096, fast: 32, slow: 1 } as const
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
  test.each([
    ["gpt-oss's", gptOss, { headSize: 64, ropeTheta: 150_000, ropeScaling: { ...yarn, factor: 32, whole: false } }, 1.3465735902799727],
    ["DeepSeek-V3's, the rotated part of a wider head", deepseek, { headSize: 192, attention: { rotated: 64 }, ropeTheta: 10_000, ropeScaling: { ...yarn, factor: 40, whole: true, weight: 0.8, weightAll: 0.9 } }, 0.9723056921492493]
  ])("YaRN: %s, as transformers computes them, and their magnitude", (_, expected, model, magnitude) => {
    const found = rotaryFrequencies(model)
    expect(found.length).toBe(expected.length)
    found.forEach((value, i) => expect(Math.abs(value / expected[i]! - 1)).toBeLessThan(2e-5))
    expect(rotaryMagnitude(model)).toBeCloseTo(magnitude, 12)
  })
  test("LongRoPE: short factors within the original context, long ones beyond it, one magnitude", () => {
    const short = [1, 1.1, 1.2, 1.3], long = [1, 2, 3, 4], plain = { headSize: 8, ropeTheta: 10_000, contextLength: 131_072 }, model = { ...plain, ropeScaling: { kind: "longrope", short, long, originalContext: 4096 } as const }
    const inverse = (positions: number) => [...rotaryFrequencies(model, { positions })].map((value, i) => rotaryFrequencies(plain)[i]! / value)
    expect(inverse(4096).map((value) => Number(value.toFixed(9)))).toEqual(short)
    expect(inverse(4097).map((value) => Number(value.toFixed(9)))).toEqual(long)
    expect(rotaryMagnitude(model)).toBeCloseTo(1.1902380714238083, 12) // transformers' for these contexts
  })
  test("layers with a window have a theta of their own, unscaled", () => {
    const model = { headSize: 8, ropeTheta: 1e6, attention: { localTheta: 10_000 }, ropeScaling: { kind: "linear", factor: 8 } as const }
    expect(rotaryFrequencies(model, { local: true })).toEqual(rotaryFrequencies({ headSize: 8, ropeTheta: 10_000 }))
    expect(rotaryFrequencies(model)[0]).toBe(1 / 8)
  })
  test("from one radian down to almost 1 / theta", () => {
    const found = rotaryFrequencies(plain)
    expect([found[0], found[16]]).toEqual([1, 1 / Math.sqrt(500_000)])
  })
})
