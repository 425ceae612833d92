import { expect, test } from "@jest/globals"
import { Effect } from "effect"
import { count } from "./count.ts"
import { plainDevice } from "./host/plain.ts"
import { add } from "./kernels/add.ts"
import { matmulNN } from "./kernels/matmulNN.ts"
import * as Recording from "./Recording.ts"
import { kept } from "./Tensor.ts"

const [rows, columns, inner] = [6, 10, 4] as const
const product = (replicas: number) => Recording.record(() => {
  const a = kept([rows, inner]), b = kept([inner, columns]), out = kept([rows, columns])
  const sum = Recording.scratch([rows, columns])
  Recording.step(matmulNN, { a, b, out: sum }, { batch: 1, rows, columns, inner, strideA: 0, strideB: 0, alpha: 1, accumulate: 0 })
  Recording.step(add, { a: sum, b: sum, out }, { count: rows * columns, scale: 1 })
}, { replicas })

test("a product and a sum, by hand", () => {
  // two floating-point operations to a multiply-add, and two to an element of out = a + scale · b
  const floats = 2 * rows * columns * inner + 2 * rows * columns
  // product: a, b, sum; sum: a, b, out
  const touched = 4 * (rows * inner + inner * columns + rows * columns + 3 * rows * columns)
  const held = 4 * (rows * inner + inner * columns + rows * columns + rows * columns)
  expect(count(product(1))).toEqual({ flops: floats, bytes: touched, deviceBytes: held, largestBuffer: 4 * rows * columns })
  expect(count(product(3))).toEqual({ flops: 3 * floats, bytes: 3 * touched, deviceBytes: 3 * held, largestBuffer: 4 * rows * columns })
  expect(count(product(1), { replicas: 3 })).toEqual(count(product(3)))
})

test("what an arena holds afterwards is what was counted", async () => {
  const program = product(1)
  const { flops, peakBytes } = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const arena = yield* plainDevice().arena
    yield* arena.submit(program)
    return yield* arena.stats
  })))
  expect({ flops, peakBytes }).toEqual({ flops: count(program).flops, peakBytes: count(program).deviceBytes })
})
