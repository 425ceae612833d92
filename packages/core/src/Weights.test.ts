import { describe, expect, test } from "@jest/globals"
import { Effect, Exit } from "effect"
import * as Weights from "./Weights.ts"

const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
const base = Weights.fromMemory({ a: { shape: [3, 2], data: Float32Array.of(0, 1, 2, 3, 4, 5) }, b: { shape: [2], data: Float32Array.of(7, 8) } })

describe("Weights", () => {
  test("rows of the first axis", async () => {
    expect([...await run(base.read("a", { from: 1, to: 3 }))]).toEqual([2, 3, 4, 5])
    expect([...await run(base.read("b", { from: 1, to: 2 }))]).toEqual([8])
    expect([...await run(base.read("a", { from: 3, to: 3 }))]).toEqual([])
  })
  test("renamed, overlaid and selected weights read the same numbers under the new view", async () => {
    const over = Weights.fromMemory({ b: { shape: [1], data: Float32Array.of(9) } })
    const both = Weights.overlay(base, over)
    expect([...await run(both.read("b"))]).toEqual([9])
    expect([...await run(both.read("a"))]).toEqual([...await run(base.read("a"))])
    const renamed = Weights.rename(both, new Map([["layers.0.x", "b"]]))
    expect([...renamed.infos]).toEqual([["layers.0.x", { dtype: "F32", shape: [1] }]])
    expect([...await run(renamed.read("layers.0.x"))]).toEqual([9])
    expect([...Weights.select(both, (name) => name !== "b").infos.keys()]).toEqual(["a"])
  })
  test("a name outside the view fails and names the nearest, also when what lies below has it", async () => {
    for (const view of [Weights.rename(base, new Map([["aa", "a"]])), Weights.select(base, (name) => name === "a")]) {
      const error = Exit.findErrorOption(await Effect.runPromiseExit(view.read("b")))
      expect(error._tag === "Some" && error.value._tag).toBe("WeightsError")
    }
    expect(Exit.findErrorOption(await Effect.runPromiseExit(base.read("A")))).toMatchObject({ value: { message: expect.stringContaining("the nearest name is \"a\"") } })
  })
  test("rows outside the tensor fail; a shape that lies and a rename of nothing die", async () => {
    for (const rows of [{ from: -1, to: 1 }, { from: 0, to: 4 }, { from: 2, to: 1 }, { from: 0.5, to: 1 }]) expect(Exit.isFailure(await Effect.runPromiseExit(base.read("a", rows)))).toBe(true)
    expect(() => Weights.fromMemory({ a: { shape: [2, 2], data: new Float32Array(3) } })).toThrow(/shape \[2,2\] has 4 values, data 3/)
    expect(() => Weights.rename(base, new Map([["x", "y"]]))).toThrow(/no tensor "y"/)
  })
})
