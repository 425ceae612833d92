import { describe, expect, test } from "@jest/globals"
import { Dtype, Random } from "@switchyard/core"
import { Effect } from "effect"
import fc from "fast-check"
import * as Op from "../Op.ts"
import * as Recording from "../Recording.ts"
import { decode, encode, storages } from "../Storage.ts"
import { kept } from "../Tensor.ts"
import { hostDevice } from "./host.ts"

const normal = (seed: number, length: number) => Random.fillNormal(Random.make(seed, "numbers"), new Float32Array(length))

describe.each(storages)("%s", (dtype) => {
  test("a few rows times a stored matrix, and times stacks of them: the bits of the matrix widened first", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const arena = yield* (yield* hostDevice({ workers: 0 })).arena
    yield* Effect.promise(() => fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 13 }), fc.constantFrom(32, 64, 96, 40, 7), fc.nat(), (rows, columns, inner, seed) => Effect.runPromise(Effect.gen(function*() {
      const data = normal(seed, 3 * columns * inner), x = kept([rows, inner]), offsets = kept([4], { dtype: "u32" })
      const [stored, wide] = [dtype, "f32" as const].map((dtype) => ({ matrix: kept([columns, inner], { dtype }), stack: kept([3, columns, inner], { dtype }) }))
      yield* arena.upload(x, normal(seed + 1, rows * inner))
      yield* arena.upload(offsets, Uint32Array.of(0, Math.min(1, rows), Math.min(1, rows), rows))
      for (const [name, length] of [["matrix", columns * inner], ["stack", 3 * columns * inner]] as const) {
        yield* arena.upload(stored![name], data.subarray(0, length))
        yield* arena.upload(wide![name], decode(dtype, encode(dtype, data.subarray(0, length)), length))
      }
      const program = Recording.record(() => [stored!, wide!].map(({ matrix, stack }) => [Op.keep(Op.linear(x, matrix)), Op.keep(Op.groupedLinear(x, stack, offsets))]))
      yield* arena.submit(program)
      const [got, expected] = yield* Effect.forEach(program.outputs, (pair) => Effect.forEach(pair, (out) => arena.read(out)))
      expect(got).toEqual(expected)
      yield* arena.free([x, offsets, ...[stored!, wide!].flatMap(({ matrix, stack }) => [matrix, stack]), ...program.outputs.flat()])
    }))), { numRuns: 40 }))
  }))))
})

test("every f16 that there is, widened: as the file's reader decodes it", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* (yield* hostDevice({ workers: 0 })).arena, bits = Uint16Array.from({ length: 65_536 }, (_, at) => at), weight = kept([65_536], { dtype: "f16" })
  yield* arena.upload(weight, new Uint32Array(bits.buffer))
  const program = Recording.record(() => Op.keep(Op.widen(weight))), expected = new Float32Array(65_536)
  yield* arena.submit(program)
  Dtype.decode(new Uint8Array(bits.buffer), "F16", expected)
  expect(yield* arena.read(program.outputs)).toEqual(expected)
}))))
