import { describe, expect, test } from "@jest/globals"
import { aggregate } from "./aggregate.ts"
import { argmax, judgeChoices, softmax } from "./judgeChoices.ts"

const answers = (...sums: ReadonlyArray<number>) => sums.map((logLikelihood) => ({ logLikelihood, isGreedy: logLikelihood > -1 }))

describe("judgeChoices", () => {
  test("the length that divides is of letters, or of bytes", () => {
    // −4 / 2 letters = −2, / 8 bytes = −0.5; −3 / 1 = −3 either way
    expect(judgeChoices(["🚂🚃", "x"], 0, answers(-4, -3))).toMatchObject({ acc: 0, acc_norm: 1, acc_bytes: 1 })
    expect(judgeChoices(["🚂", "xyz"], 0, answers(-3, -5))).toMatchObject({ acc: 1, acc_norm: 0, acc_bytes: 1 })
  })
  test("ties go to the first, nan is the largest", () => expect([argmax([1, 3, 3]), argmax([1, NaN, 5]), argmax([NaN, NaN])]).toEqual([1, 1, 0]))
  test("mutual information takes off what a choice has without its question", () =>
    expect(judgeChoices(["a", "b"], 1, answers(-1, -2), answers(-1, -9))).toMatchObject({ acc: 0, acc_mutual_info: 1 }))
  test("greedy, and a right answer that is none of the choices", () => {
    expect(judgeChoices(["a", "b"], 0, answers(-0.5, -2)).exact_match).toBe(1)
    expect(judgeChoices(["a", "b"], -100, answers(-0.5, -2))).toMatchObject({ acc: 0, acc_norm: 0, exact_match: 0 })
  })
  test("Brier: certain and right is 0, certain and wrong 2, undecided between two 0.5", () => {
    const score = (gold: number, ...sums: ReadonlyArray<number>) => aggregate("brier_score", [judgeChoices(["a", "b"], gold, answers(...sums)).brier_score])
    expect([score(0, 0, -1000), score(1, 0, -1000), score(0, -3, -3)]).toEqual([0, 2, 0.5])
    expect(softmax([-1e4, -1e4])).toEqual([0.5, 0.5])
  })
  test("an empty choice is refused", () => expect(() => judgeChoices(["a", ""], 0, answers(-1, -1))).toThrow("choice 1 is empty"))
})
