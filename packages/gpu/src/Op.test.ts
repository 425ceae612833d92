/** Every op's gradient against central differences in f64, and the shape checks. */
import { describe, expect, test } from "@jest/globals"
import { checkGradient } from "./checkGradient.ts"
import { cases } from "./Op.cases.ts"
import * as Op from "./Op.ts"
import * as Recording from "./Recording.ts"
import { kept, type Tensor } from "./Tensor.ts"

describe("gradients agree with central differences", () => {
  test.each(cases)("%s", async (_name, inputs, build) => {
    expect(await checkGradient(inputs, () => build(...inputs.map(({ tensor }) => tensor)))).toBeLessThan(1e-7)
  })
})

describe("shape checks name the op, the argument and the axis", () => {
  const a = kept([3, 4]), b = kept([5, 6]), ids = kept([3], { dtype: "u32" })
  test.each<readonly [string, () => unknown, RegExp]>([
    ["linear", () => Op.linear(a, b), /linear: weight axis 1 expected 4, got 6/],
    ["matmul", () => Op.matmul(a, b), /matmul: b axis 0 expected 4, got 5/],
    ["add", () => Op.add(a, b), /add: b axis 0 expected 3, got 5/],
    ["embedding", () => Op.embedding(a, a), /embedding: ids must be u32, got f32/],
    ["crossEntropy", () => Op.crossEntropy(b, ids), /crossEntropy: targets axis 0 expected 5, got 3/],
    ["topK", () => Op.topK(a, 5), /topK: active must be 1 … 4 \(axis 1 of x\), got 5/],
    ["attention", () => Op.attention(a, a, a, { batch: 1, tokens: 3, heads: 3, keyValueHeads: 2, headSize: 2 }), /attention: heads \(3\) must be a multiple of keyValueHeads \(2\)/],
    ["view", () => Op.view(a, [5]), /view: x \[3, 4\] has 12 elements, shape \[5\] has 5/],
    ["sliceColumns", () => Op.sliceColumns(a, 2, 3), /sliceColumns: x axis 1 has 4 columns/],
    ["groupedLinear", () => Op.groupedLinear(a, kept([2, 3, 4]), ids, 1).shape && Op.groupedLinear(a, kept([2, 3, 4]), kept([4], { dtype: "u32" })), /groupedLinear: offsets axis 0 expected 3, got 4/]
  ])("%s", (_name, build, message) => { expect(() => Recording.record(build)).toThrow(message) })
})

test("a frozen weight costs nothing in the backward pass", async () => {
  const { Gradient } = await import("./index.ts")
  const input = kept([4, 3]), frozen = kept([5, 3]), trained = kept([2, 5])
  const steps = (wanted: ReadonlyArray<Tensor>) => Recording.record(() => {
    const out = Op.linear(Op.linear(input, frozen), trained)
    Gradient.of(Op.sumAll(out), wanted)
  }).steps.filter(({ kernel }) => kernel.startsWith("matmul")).length
  expect(steps([trained])).toBe(3) // two forward, one weight gradient: neither the frozen weight's nor any input's
  expect(steps([trained, frozen])).toBe(5)
})
