/** Statistics taps against sums written out, over two submissions. */
import { expect, test } from "@jest/globals"
import { Effect } from "effect"
import { plainDevice } from "./host/plain.ts"
import * as Op from "./Op.ts"
import * as Recording from "./Recording.ts"
import * as Tap from "./Tap.ts"
import { kept } from "./Tensor.ts"

test("Gram matrices, squares and captured activations of chosen points only, over two submissions", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* plainDevice({ precision: "f64" }).arena, x = kept([3, 2]), squares = kept([3, 2]), counts = kept([2])
  const grams = Tap.grams(["feedForward.input"]), captured = Tap.capture(["feedForward.input", "norm"], { layers: [1] })
  const program = Recording.record(() => {
    const tap = Tap.all([grams.tap, captured.tap])
    tap("feedForward.input", 0, x)
    tap("feedForward.input", 1, Op.affine(x, { scale: 2 }))
    tap("feedForward.output", 1, x)
    Tap.accumulateSquares(squares, x)
    Tap.accumulate(counts, Op.sumRows(x))
  })
  const batches = [[1, 2, 3, 4, 5, 6], [-1, 0, 2, 0.5, 0, 1]]
  for (const batch of batches) {
    yield* arena.upload(x, Float64Array.from(batch))
    yield* arena.submit(program)
  }
  const sum = (of: (batch: ReadonlyArray<number>) => number) => batches.reduce((total, batch) => total + of(batch), 0)
  const gram = [[0, 0], [0, 1], [1, 0], [1, 1]].map(([i, j]) => sum((batch) => [0, 1, 2].reduce((total, row) => total + batch[2 * row + i!]! * batch[2 * row + j!]!, 0)))
  expect([...grams.sums.keys()]).toEqual(["feedForward.input 0", "feedForward.input 1"])
  expect([...yield* arena.read(grams.sums.get("feedForward.input 0")!)]).toEqual(gram)
  expect([...yield* arena.read(grams.sums.get("feedForward.input 1")!)]).toEqual(gram.map((value) => 4 * value))
  expect([...yield* arena.read(squares)]).toEqual([0, 1, 2, 3, 4, 5].map((at) => sum((batch) => batch[at]! ** 2)))
  expect([...yield* arena.read(counts)]).toEqual([0, 1].map((column) => sum((batch) => batch[column]! + batch[column + 2]! + batch[column + 4]!)))
  expect([...captured.kept.keys()]).toEqual(["feedForward.input 1"])
  expect([...yield* arena.read(captured.kept.get("feedForward.input 1")!)]).toEqual(batches[1]!.map((value) => 2 * value))
}))))

test("with several replicas a Gram matrix is summed over them before it is added", () => {
  const grams = Tap.grams(["norm"]), x = kept([3, 2])
  const { steps } = Recording.record(() => grams.tap("norm", 1, x), { replicas: 2 })
  expect(steps.map(({ kernel }) => kernel)).toEqual(["matmulTN", Recording.sumReplicasStep, "add", "copyColumns"])
})
