import { describe, expect, test } from "@jest/globals"
import * as fc from "fast-check"
import { rollingWindows } from "./rollingWindows.ts"

const range = (from: number, to: number) => Array.from({ length: Math.max(0, to - from) }, (_, index) => from + index)
const shown = (length: number, tokens: number) => rollingWindows(length, tokens).map((window) =>
  [range(window.contextFrom, window.targetFrom), range(window.targetFrom, window.targetTo)])

describe("rollingWindows", () => {
  test("lm-evaluation-harness's windows (prefix -1, at most 4 tokens, after make_disjoint)", () => {
    expect(shown(0, 4)).toEqual([])
    expect(shown(3, 4)).toEqual([[[-1], [0, 1, 2]]])
    expect(shown(5, 4)).toEqual([[[-1], [0, 1, 2, 3]], [[0, 1, 2, 3], [4]]])
    expect(shown(8, 4)).toEqual([[[-1], [0, 1, 2, 3]], [[3], [4, 5, 6, 7]]])
    expect(shown(9, 4)).toEqual([[[-1], [0, 1, 2, 3]], [[3], [4, 5, 6, 7]], [[4, 5, 6, 7], [8]]])
    expect(shown(10, 4)).toEqual([[[-1], [0, 1, 2, 3]], [[3], [4, 5, 6, 7]], [[5, 6, 7], [8, 9]]])
  })
  test("every token is scored once, in order, and no window feeds more than fits", () => {
    fc.assert(fc.property(fc.nat(200), fc.integer({ min: 1, max: 40 }), (length, tokens) => {
      const windows = rollingWindows(length, tokens)
      expect(windows.flatMap(({ targetFrom, targetTo }) => range(targetFrom, targetTo))).toEqual(range(0, length))
      for (const { contextFrom, targetFrom, targetTo } of windows) {
        expect(targetTo - 1 - contextFrom).toBeLessThanOrEqual(tokens)
        expect(contextFrom).toBeLessThan(targetFrom)
      }
    }))
  })
  test("no window of no tokens", () => { expect(() => rollingWindows(5, 0)).toThrow("tokens must be a positive integer") })
})
