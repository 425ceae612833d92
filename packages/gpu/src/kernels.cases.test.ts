import { expect, test } from "@jest/globals"
import { Effect } from "effect"
import { plainDevice } from "./host/plain.ts"
import { disagreements, kernelCases, runCase } from "./kernels.cases.ts"
import { kernels } from "./kernels.ts"

test("every kernel has cases that name its bindings and parameters", () => {
  const covered = new Set(kernelCases.map(({ kernel }) => kernel))
  expect([...kernels.keys()].filter((name) => !covered.has(name))).toEqual([])
  for (const { buffers, kernel, name, params } of kernelCases) {
    expect([`${kernel}, ${name}`, Object.keys(buffers)]).toEqual([`${kernel}, ${name}`, Object.keys(kernels.get(kernel)!.bindings)])
    expect(Object.keys(params).sort()).toEqual(Object.keys(kernels.get(kernel)!.params).sort())
  }
})

test("the plain form in f32 agrees with itself in f64 within each case's tolerance", async () => {
  const found = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const arena = yield* plainDevice().arena
    return (yield* Effect.forEach(kernelCases, (kernelCase) => Effect.map(runCase(arena, kernelCase), (result) => disagreements(kernelCase, result)))).flat()
  })))
  expect(found).toEqual([])
})
