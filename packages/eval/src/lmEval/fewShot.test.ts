import { describe, expect, test } from "@jest/globals"
import { fewShot } from "./fewShot.ts"
import { mersenneTwister } from "./mersenneTwister.ts"

const pool = Array.from({ length: 12 }, (_, id) => ({ id }))

describe("fewShot", () => {
  test("one generator for all questions: the second draws on from where the first stopped", () => {
    const draw = fewShot(pool, { by: "random", spare: false }, { count: 3 }), twister = mersenneTwister(1234)
    const expected = [twister.sample(pool, 3), twister.sample(pool, 3)]
    expect([draw(pool[0]!), draw(pool[1]!)]).toEqual(expected)
    expect(expected[0]).not.toEqual(expected[1])
  })
  test("with a spare, the question is never among its examples, and what is drawn is one more", () => {
    const twister = mersenneTwister(5), draw = fewShot(pool, { by: "random", spare: true }, { count: 3, seed: 5 })
    for (const question of pool) {
      const drawn = twister.sample(pool, 4), examples = draw({ ...question })
      expect(examples).toHaveLength(3)
      expect(examples).toEqual(drawn.filter(({ id }) => id !== question.id).slice(0, 3))
    }
  })
  test("a question that stands in the pool several times is left out every time", () => {
    const twins = [{ id: 1 }, { id: 1 }, { id: 1 }, { id: 2 }, { id: 3 }], draw = fewShot(twins, { by: "random", spare: true }, { count: 2, seed: 0 })
    for (let at = 0; at < 20; at++) expect(draw({ id: 1 }).map(({ id }) => id).sort()).toEqual([2, 3])
  })
  test("the first", () => expect(fewShot(pool, { by: "firstN" }, { count: 2 })(pool[0]!)).toEqual([{ id: 0 }, { id: 1 }]))
  test("none, and too few", () => {
    expect(fewShot(pool, { by: "random", spare: true }, { count: 0 })(pool[0]!)).toEqual([])
    expect(() => fewShot(pool, { by: "random", spare: true }, { count: 12 })).toThrow("12 examples of 12")
  })
})
