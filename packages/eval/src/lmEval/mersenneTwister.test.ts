import { describe, expect, test } from "@jest/globals"
import { readFileSync } from "node:fs"
import { mersenneTwister } from "./mersenneTwister.ts"

/** Made by tools/fixtures/lm_eval_python.py with Python's own `random`. */
const golden = JSON.parse(readFileSync(new URL("../fixtures/lm-eval/python.json", import.meta.url), "utf8")) as {
  readonly random: ReadonlyArray<{ readonly seed: number; readonly random: ReadonlyArray<number>; readonly far: ReadonlyArray<number>; readonly choices: ReadonlyArray<number>; readonly samples: ReadonlyArray<{ readonly from: number; readonly count: number; readonly drawn: ReadonlyArray<number> }> }>
}
const range = (length: number) => Array.from({ length }, (_, i) => i)

describe("mersenneTwister", () => {
  test("the first numbers of Python's Random(0) and Random(1)", () => {
    const zero = mersenneTwister(0), one = mersenneTwister(1)
    expect([zero.random(), zero.random(), zero.random()]).toEqual([0.8444218515250481, 0.7579544029403025, 0.420571580830845])
    expect([one.random(), one.random(), one.random()]).toEqual([0.13436424411240122, 0.8474337369372327, 0.763774618976614])
  })
  test("choices as Python draws them, one call after the other", () => {
    const twister = mersenneTwister(0)
    expect(twister.choices(range(5), 5)).toEqual([4, 3, 2, 1, 2])
    expect(twister.choices(range(5), 5)).toEqual([2, 3, 1, 2, 2])
  })
  test.each(golden.random)("random, choices and samples of Random($seed)", ({ choices, far, random, samples, seed }) => {
    const twister = mersenneTwister(seed)
    expect(random.map(() => twister.random())).toEqual(random)
    for (let drawn = 0; drawn < 1000; drawn++) twister.random() // past several refills
    expect(far.map(() => twister.random())).toEqual(far)
    expect(twister.choices(range(1000), choices.length)).toEqual(choices)
    for (const { count, drawn, from } of samples) expect(twister.sample(range(from), count)).toEqual(drawn)
  })
  test("more than there are dies", () => expect(() => mersenneTwister(0).sample([1, 2], 3)).toThrow("3 of 2"))
  test("a seed must be an integer", () => expect(() => mersenneTwister(0.5)).toThrow("seed must be an integer"))
})
