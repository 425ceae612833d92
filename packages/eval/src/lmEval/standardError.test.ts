import { describe, expect, test } from "@jest/globals"
import { aggregate } from "./aggregate.ts"
import { bootstrapStandardError, meanStandardError, pooledStandardError, standardError, weightedBySize } from "./standardError.ts"

// golden numbers: lm-evaluation-harness's formulas run by Python
const right = [1, 0, 1, 1, 0, 1, 0, 0, 1, 1], likelihoods = [-1, -2, -0.5, -3.25, -0.125]

describe("standard errors", () => {
  test("of a mean", () => {
    expect(aggregate("acc", right)).toBe(0.6)
    expect(meanStandardError(right)).toBeCloseTo(0.16329931618554522, 16)
    expect(standardError("acc", right, 100_000)).toBe(meanStandardError(right))
  })
  test("of a perplexity, by bootstrap, to the last bits; what does not fill a chunk is left out", () => {
    expect(aggregate("perplexity", likelihoods)).toBeCloseTo(3.955076722920577, 14)
    expect(standardError("perplexity", likelihoods, 2000)).toBeCloseTo(2.5628868601461336, 12)
    expect(standardError("perplexity", likelihoods, 1500)).toBeCloseTo(2.58810846409698, 12)
    expect(standardError("perplexity", likelihoods, 100_000)).toBeCloseTo(2.54881006238456, 12)
  })
  test("the bootstrap of a mean approaches the closed form", () =>
    expect(bootstrapStandardError((drawn) => drawn.reduce((sum, value) => sum + value, 0) / drawn.length, right, 20_000)).toBeCloseTo(meanStandardError(right) * Math.sqrt(0.9), 2))
  test("none for sums over sums, for one item, without iterations", () => {
    expect(standardError("bits_per_byte", [[-1, 2], [-2, 3]], 1000)).toBe("N/A")
    expect(standardError("word_perplexity", [[-1, 2], [-2, 3]], 1000)).toBe("N/A")
    expect(standardError("acc", [1], 1000)).toBe("N/A")
    expect(standardError("acc", right, 0)).toBe("N/A")
  })
  test("pooled", () => {
    expect(pooledStandardError([0.05, 0.02], [100, 400])).toBeCloseTo(0.018862214412155336, 16)
    expect(pooledStandardError([0.05, "N/A"], [100, 400])).toBe("N/A")
    expect(weightedBySize([0.5, 1], [1, 3])).toBe(0.875)
  })
})
