import { describe, expect, test } from "@jest/globals"
import { Random } from "@switchyard/core"
import { Effect, type Scope } from "effect"
import type { Service } from "../Device.ts"
import type { Binding } from "../Kernel.ts"
import * as Gradient from "../Gradient.ts"
import { kernels } from "../kernels.ts"
import { add } from "../kernels/add.ts"
import { matmulNT } from "../kernels/matmulNT.ts"
import { softmax } from "../kernels/softmax.ts"
import { attention } from "../ops/attention.ts"
import { keep } from "../ops/keep.ts"
import { multiply } from "../ops/multiply.ts"
import { sumAll } from "../ops/sumAll.ts"
import * as Recording from "../Recording.ts"
import { kept, type Tensor } from "../Tensor.ts"
import { hostDevice } from "./host.ts"
import { plainDevice } from "./plain.ts"
import { placeTiles, tilesOf } from "./tiles.ts"

const writes = (step: Recording.Step) => step.slots.filter((_, at) => (Object.values(kernels.get(step.kernel)!.bindings) as ReadonlyArray<Binding>)[at]!.access !== "read")
const shape = { batch: 2, tokens: 192, heads: 6, keyValueHeads: 3, headSize: 8 }
const rows = shape.batch * shape.tokens
const record = () => {
  const q = kept([rows, 48]), k = kept([rows, 24]), v = kept([rows, 24]), weight = kept([rows, 48])
  const inputs = [q, k, v, weight]
  const program = Recording.record(() => {
    const out = attention(q, k, v, shape)
    const gradients = Gradient.of(sumAll(multiply(out, weight)), [q, k, v])
    return [out, ...gradients].map((tensor) => keep(tensor))
  })
  return { inputs, program }
}
const run = (device: Effect.Effect<Service, unknown, Scope.Scope>, { inputs, program }: ReturnType<typeof record>) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* (yield* device).arena
  for (const [at, tensor] of inputs.entries()) yield* arena.upload(tensor, Random.fillNormal(Random.make(3, `input ${at}`), new Float32Array(tensor.slot.length)))
  yield* arena.submit(program)
  yield* arena.submit(program) // the second time over what the first left in scratch
  return yield* Effect.forEach(program.outputs, (tensor) => arena.read(tensor))
})))

describe("attention, worked off a few heads at a time", () => {
  test("forward and backward are runs, and scores never leave the tile", () => {
    const { program } = record()
    const tiles = tilesOf(program, writes)
    expect(tiles.map(({ from, to }) => program.steps.slice(from, to).map(({ kernel }) => kernel))).toEqual([
      ["matmulNT", "causalSoftmax", "matmulNN"],
      ["matmulNT", "matmulTN", "softmaxGradient", "matmulNN", "matmulTN"]
    ])
    expect(tiles.map(({ entries, local }) => [entries, local.size])).toEqual([[6, 1], [6, 2]]) // scores; gradients of probabilities and of scores
  })

  test.each([["with onnxruntime-node", true], ["without", false]])("gives what the plain device gives in f64, %s", async (_, onnxRuntime) => {
    const recorded = record()
    const [expected, got] = [await run(Effect.succeed(plainDevice({ precision: "f64" })), recorded), await run(hostDevice({ workers: 0, onnxRuntime }), recorded)]
    for (const [at, numbers] of got.entries()) {
      const worst = Math.max(...Array.from(numbers, (x, i) => Math.abs(x - expected[at]![i]!)))
      expect(worst).toBeLessThan(2e-5)
    }
  })
})

describe("what is not cut", () => {
  const entries = 8, side = 256, product = (a: Tensor, b: Tensor, out: Tensor, strideB = side * 16) =>
    Recording.step(matmulNT, { a, b, out }, { batch: entries, rows: side, columns: side, inner: 16, strideA: side * 16, strideB, alpha: 1, accumulate: 0 })
  const operand = () => kept([entries * side * 16])

  test("steps that treat the entries differently, or a single step", () => {
    const a = operand(), b = operand()
    const program = Recording.record(() => {
      const first = Recording.scratch([entries, side, side]), second = Recording.scratch([entries, side, side]), third = Recording.scratch([entries * side - 1, side])
      product(a, b, first)
      Recording.step(add, { a: first, b: first, out: second }, { count: first.slot.length, scale: 1 })
      product(a, b, first)
      Recording.step(softmax, { x: first, out: third }, { rows: entries * side - 1, columns: side, scale: 1 }) // rows do not divide
    })
    expect(tilesOf(program, writes)).toEqual([])
  })
})

test("nothing that a run touches lies where something else of the run does", () => {
  const { program } = record()
  const tiles = tilesOf(program, writes)
  const { slabOf, slabs } = placeTiles(program, tiles)
  for (const { from, to } of tiles) {
    const scratch = [...new Set(program.steps.slice(from, to).flatMap(({ slots }) => slots))].filter((id) => !program.slots.get(id)!.kept)
    expect(new Set(scratch.map((id) => slabOf.get(id))).size).toBe(scratch.length)
  }
  for (const [id, slab] of slabOf) expect(slabs[slab]).toBeGreaterThanOrEqual(program.slots.get(id)!.length)
})
