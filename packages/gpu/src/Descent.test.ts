import { describe, expect, test } from "@jest/globals"
import { Effect } from "effect"
import * as Descent from "./Descent.ts"
import * as Gradient from "./Gradient.ts"
import { plainDevice } from "./host/plain.ts"
import * as Op from "./Op.ts"
import * as Recording from "./Recording.ts"
import { kept } from "./Tensor.ts"

describe("Descent", () => {
  test("halves a parabola's distance from its foot at each step of rate a quarter", async () => {
    const x = kept([2, 2], { label: "x" })
    const program = Recording.record(() => Descent.update([x], Gradient.of(Op.sumAll(Op.multiply(x, x)), [x]), { rate: 0.25 })) // x − 0.25 · 2x
    const after = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const arena = yield* plainDevice({ precision: "f64" }).arena
      yield* arena.upload(x, Float64Array.of(8, -4, 0, 1))
      for (let step = 0; step < 3; step++) yield* arena.submit(program)
      return [...yield* arena.read(x)]
    })))
    expect(after).toEqual([1, -0.5, 0, 0.125])
  })
  test("a parameter that does not outlive the step, or a direction of another shape, dies by name", () => {
    const x = kept([2], { label: "x" })
    expect(() => Recording.record(() => Descent.update([Op.affine(x, { scale: 2 })], [x], { rate: 1 }))).toThrow("a parameter is scratch")
    expect(() => Recording.record(() => Descent.update([x], [kept([3])], { rate: 1 }))).toThrow("direction of x axis 0 expected 2, got 3")
    expect(() => Recording.record(() => Descent.update([x], [], { rate: 1 }))).toThrow("0 directions for 1 parameters")
  })
})
