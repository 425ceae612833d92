import { describe, expect, test } from "@jest/globals"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect } from "effect"
import type { Failure } from "../Device.ts"
import { disagreements, kernelCases, runCase } from "../kernels.cases.ts"
import { kernels } from "../kernels.ts"
import { affine } from "../kernels/affine.ts"
import { topK } from "../kernels/topK.ts"
import * as Recording from "../Recording.ts"
import { kept } from "../Tensor.ts"
import { hostDevice } from "./host.ts"
import { plainDevice } from "./plain.ts"

describe.each([["with onnxruntime-node", true], ["without", false]])("the host device in this thread, %s", (_, onnxRuntime) => {
  test.each([...kernels.keys()])("%s agrees with its plain form in f64", async (kernel) => {
    const found = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const arena = yield* (yield* hostDevice({ workers: 0, onnxRuntime })).arena
      return (yield* Effect.forEach(kernelCases.filter((one) => one.kernel === kernel), (one) => Effect.map(runCase(arena, one), (result) => disagreements(one, result)))).flat()
    })))
    expect(found).toEqual([])
  })
})

test("the adapter names the library that is used", async () => {
  const adapterOf = (onnxRuntime: boolean) => Effect.runPromise(Effect.scoped(Effect.map(hostDevice({ workers: 0, onnxRuntime }), ({ adapter }) => adapter)))
  expect(await adapterOf(true)).toMatch(/this thread, onnxruntime-node \d+\.\d+/)
  expect(await adapterOf(false)).toMatch(/this thread, plain$/)
})

test("memory grows between submissions, programs go on, and what is freed is used again", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* (yield* hostDevice({ workers: 0 })).arena
  const a = kept([1000]), b = kept([1000])
  const program = Recording.record(() => {
    const twice = Recording.scratch([1000])
    Recording.step(affine, { x: a, out: twice }, { count: 1000, scale: 2, shift: 0 })
    Recording.step(affine, { x: twice, out: b }, { count: 1000, scale: 1, shift: 1 })
  })
  const check = Effect.gen(function*() {
    yield* arena.upload(a, Float32Array.from({ length: 1000 }, (_, i) => i))
    yield* arena.submit(program)
    expect(yield* arena.read(b)).toEqual(Float32Array.from({ length: 1000 }, (_, i) => 2 * i + 1))
  })
  yield* check
  const large = kept([40_000_000]), small = kept([9])
  yield* arena.upload(large, new Float32Array(40_000_000).fill(3)) // 160 MB: the views of the program above are gone
  yield* check
  yield* arena.free([a, b, large])
  yield* arena.upload(small, new Float32Array(9).fill(5)) // takes the place of a
  yield* check
  expect(yield* arena.read(small)).toEqual(new Float32Array(9).fill(5))
  const stats = yield* arena.stats
  expect(stats.liveBytes).toBe(4 * 2009)
  expect(stats.peakBytes).toBe(4 * (2000 + 40_000_000 + 1000))
  expect(yield* arena.read(kept([5000]))).toEqual(new Float32Array(5000)) // new tensors hold zeros wherever they lie
}))))

test("more than an arena can hold is a DeviceError with a remedy, and programs go on as before", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* (yield* hostDevice({ workers: 0 })).arena
  const x = kept([1, 4]), ids = kept([1, 2], { dtype: "u32" })
  const program = Recording.record(() => Recording.step(topK, { x, ids }, { rows: 1, columns: 4, active: 2 })) // runs on views of the memory
  const check = Effect.fn(function*(given: ReadonlyArray<number>, expected: ReadonlyArray<number>) {
    yield* arena.upload(x, Float32Array.from(given))
    yield* arena.submit(program)
    expect(Array.from(yield* arena.read(ids))).toEqual(expected)
  })
  yield* check([1, 2, 3, 4], [3, 2])
  const error = yield* Effect.flip(arena.read(kept([2 ** 30], { label: "everything" })))
  expect(error._tag).toBe("DeviceError")
  expect(error.message).toContain("read everything")
  yield* check([9, 8, 7, 6], [0, 1])
}))))

test("a program that does not fit leaves nothing behind", () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* (yield* hostDevice({ workers: 0 })).arena
  const x = kept([1000]), out = kept([1000])
  const program = Recording.record(() => {
    const large = Recording.scratch([2 ** 30])
    Recording.step(affine, { x, out: large }, { count: 1000, scale: 2, shift: 0 })
    Recording.step(affine, { x: large, out }, { count: 1000, scale: 1, shift: 1 })
  })
  yield* arena.upload(x, new Float32Array(1000))
  expect((yield* Effect.flip(arena.submit(program)))._tag).toBe("DeviceError")
  expect((yield* arena.stats).liveBytes).toBe(4000) // x, which was there before
}))))

test.each([0, 1])("an arena whose scope is closed says so, with %i workers", (workers) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const device = yield* hostDevice({ workers }), x = kept([3], { label: "x" }), y = kept([3])
  const program = Recording.record(() => { Recording.step(affine, { x, out: y }, { count: 3, scale: 2, shift: 0 }) })
  const arena = yield* Effect.scoped(Effect.tap(device.arena, (arena) => arena.upload(x, Float32Array.of(1, 2, 3))))
  for (const call of [arena.read(x), arena.upload(x, new Float32Array(3)), arena.submit(program), arena.free([x])] as ReadonlyArray<Effect.Effect<unknown, Failure>>) {
    expect(yield* Effect.flip(call)).toMatchObject({ _tag: "DeviceError", problem: "the arena's scope was closed" })
  }
}))))

test("the plain device refuses a program recorded for several replicas", async () => {
  const x = kept([4])
  const program = Recording.record(() => { Recording.sumReplicas([x]) }, { replicas: 2 })
  const exit = await Effect.runPromiseExit(Effect.scoped(Effect.flatMap(plainDevice().arena, (arena) => arena.submit(program))))
  expect(String(exit)).toContain("recorded for 2 replicas, the plain device is one")
})

test("the committed SIMD module is what its sources compile to", async () => {
  const folder = mkdtempSync(join(tmpdir(), "switchyard-"))
  try {
    const { compileAssembly } = await import("../../compile-assembly.mjs" as string) as { compileAssembly: (file: string) => Promise<void> }
    await compileAssembly(join(folder, "kernels.wasm"))
    expect(readFileSync(join(folder, "kernels.wasm")).equals(readFileSync(new URL("./kernels.wasm", import.meta.url)))).toBe(true)
  } finally {
    rmSync(folder, { recursive: true })
  }
}, 60_000)
