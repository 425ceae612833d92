/** AdamW's bookkeeping; its numbers are compared with PyTorch's in Decoder.torch.test.ts. */
import { expect, test } from "@jest/globals"
import { Effect } from "effect"
import * as AdamW from "./AdamW.ts"
import * as Gradient from "./Gradient.ts"
import { plainDevice } from "./host/plain.ts"
import * as Op from "./Op.ts"
import * as Recording from "./Recording.ts"
import { kept } from "./Tensor.ts"

test("the first step moves every weight by the learning rate against its gradient's sign; gains do not decay", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* plainDevice({ precision: "f64" }).arena, matrix = kept([2, 2]), gain = kept([2])
  const state = AdamW.make([matrix, gain])
  yield* arena.upload(matrix, Float64Array.of(1, 1, 1, 1))
  yield* arena.upload(gain, Float64Array.of(1, 1))
  const slope = kept([2, 2])
  yield* arena.upload(slope, Float64Array.of(5, -5, 0.1, -0.1))
  const program = Recording.record(() => AdamW.update(state, Gradient.of(Op.add(Op.sumAll(Op.multiply(matrix, slope)), Op.sumAll(gain)), [matrix, gain])))
  yield* arena.upload(state.hyper, AdamW.hyper({ learningRate: 0.25, weightDecay: 0.5, epsilon: 0 }, 1))
  yield* arena.submit(program)
  const kept1 = 1 - 0.25 * 0.5
  ;(yield* arena.read(matrix)).forEach((x, at) => expect(x).toBeCloseTo(kept1 + [-0.25, 0.25, -0.25, 0.25][at]!, 6))
  ;(yield* arena.read(gain)).forEach((x) => expect(x).toBeCloseTo(0.75, 6))
}))))

test("gradients are summed over replicas once, even when two parameters share one", () => {
  const a = kept([3, 2]), b = kept([3, 2]), state = AdamW.make([a, b])
  const { steps } = Recording.record(() => AdamW.update(state, Gradient.of(Op.sumAll(Op.add(a, b)), [a, b])), { replicas: 2 })
  const summed = steps.filter(({ kernel }) => kernel === Recording.sumReplicasStep)
  expect(summed.map(({ slots }) => slots.length)).toEqual([1])
})

test("mistakes are named", () => {
  const a = kept([2], { label: "gain" })
  expect(() => AdamW.make([])).toThrow(/no parameters/)
  expect(() => AdamW.make([a, a])).toThrow(/listed twice/)
  expect(() => AdamW.hyper({ learningRate: 1 }, 0)).toThrow(/step must be 1 or more/)
  expect(() => Recording.record(() => AdamW.update(AdamW.make([a]), [kept([3])]))).toThrow(/gradient of gain axis 0 expected 2, got 3/)
})
