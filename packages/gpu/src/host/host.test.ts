import { describe, expect, test } from "@jest/globals"
import { Effect } from "effect"
import { disagreements, kernelCases, runCase } from "../kernels.cases.ts"
import { kernels } from "../kernels.ts"
import { hostDevice } from "./host.ts"

describe.each([["with onnxruntime-node", true], ["without", false]])("the host device in this thread, %s", (_, onnxRuntime) => {
  test.each([...kernels.keys()])("%s agrees with its plain form in f64", async (kernel) => {
    const found = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const arena = yield* (yield* hostDevice({ workers: 0, onnxRuntime })).arena
      return (yield* Effect.forEach(kernelCases.filter((one) => one.kernel === kernel), (one) => Effect.map(runCase(arena, one), (result) => disagreements(one, result)))).flat()
    })))
    expect(found).toEqual([])
  })
})
