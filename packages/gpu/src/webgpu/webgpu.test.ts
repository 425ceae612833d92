/** The WGSL kernels on SwiftShader against their plain forms in f64. Finding no software adapter on Linux x64 fails; elsewhere there is none to find. */
import { Random } from "@switchyard/core"
import { describe, expect, jest, test } from "@jest/globals"
import { Effect } from "effect"
import { disagreements, kernelCases, type KernelCase, runCase } from "../kernels.cases.ts"
import { kernels } from "../kernels.ts"
import { fill } from "../kernels/fill.ts"
import { matmulNT } from "../kernels/matmulNT.ts"
import { softmax } from "../kernels/softmax.ts"
import * as Recording from "../Recording.ts"
import { kept } from "../Tensor.ts"
import type { Options } from "./device.ts"
import { inQuads, usesQuads } from "./forms.ts"
import { openSoftware } from "./software.ts"

jest.setTimeout(60_000) // kernels compile on the processor, and processors are shared

const here = process.platform === "linux" && process.arch === "x64" ? describe : describe.skip

/** Disagreements of many cases on one device, by kernel. */
const wrong = (cases: ReadonlyArray<KernelCase>, options: Options = {}) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* (yield* openSoftware(options)).service.arena
  return (yield* Effect.forEach(cases, (one) => Effect.map(runCase(arena, one), (found) => disagreements(one, found)))).flat()
})))

here("kernels on SwiftShader agree with their plain forms in f64", () => {
  test.each([...kernels.keys()])("%s", async (name) => {
    const cases = kernelCases.filter(({ kernel }) => kernel === name)
    expect(cases.length).toBeGreaterThan(0)
    expect(await wrong(cases)).toEqual([])
  })
  test("the forms for adapters without subgroups", async () => {
    const without = ["subgroups"] as const
    const differing = kernelCases.filter(({ kernel }) => usesQuads(kernel, { products: true, rows: true }))
    expect(new Set(differing.map(({ kernel }) => kernel))).toEqual(inQuads) // all of them have cases
    expect(await wrong(differing, { without })).toEqual([])
  })
})

here("beyond the shared cases", () => {
  const sort = (keys: Uint32Array, bins: number): KernelCase => ({
    kernel: "countingSort", name: `${keys.length} keys, ${bins} bins`, buffers: { keys, order: new Uint32Array(keys.length), offsets: new Uint32Array(bins + 1) },
    params: { rows: 1, count: keys.length, bins }, tolerance: 0, special: false
  })
  const few = ({ buffers, name, params }: KernelCase): KernelCase => ({ kernel: "sortFew", name, buffers, params: { count: params["count"]!, bins: params["bins"]! }, tolerance: 0, special: false })
  const words = (length: number, seed: number) => Random.fillUnsigned(Random.make(seed, "keys"), new Uint32Array(length))
  test("sortFew too, for bins that are few", async () => {
    expect(await wrong([few(sort(words(5000, 1).map((word) => word % 9), 8)), few(sort(new Uint32Array(1025).fill(3), 5)), few(sort(words(3000, 4).map((word) => word % 256), 256)), few(sort(Uint32Array.of(7), 1))])).toEqual([])
  })
  test("countingSort is stable across tiles and bins larger than a workgroup", async () => {
    expect(await wrong([
      sort(words(5000, 1).map((word) => word % 8), 8), sort(words(4097, 2).map((word) => word % 3000), 2500), sort(new Uint32Array(1025).fill(3), 5),
      sort(words(512, 3), 4), sort(Uint32Array.from({ length: 700 }, (_, i) => 699 - i), 700)
    ])).toEqual([])
  })
  test("more elements than workgroups fit along one axis", async () => {
    const count = 65_535 * 64 + 100, out = kept([count]) // 64 elements to a workgroup
    const filled = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const arena = yield* (yield* openSoftware()).service.arena
      yield* arena.submit(Recording.record(() => { Recording.step(fill, { out }, { count, value: 3 }) }))
      return yield* arena.read(out)
    })))
    expect(filled.length).toBe(count)
    expect(filled.findIndex((x) => x !== 3)).toBe(-1)
  })
  test("one device gives the same bits twice", async () => {
    const a = kept([200, 300]), b = kept([100, 300]), out = kept([200, 100]), share = kept([200, 100])
    const program = Recording.record(() => {
      Recording.step(matmulNT, { a, b, out }, { batch: 1, rows: 200, columns: 100, inner: 300, strideA: 0, strideB: 0, alpha: 1, accumulate: 0 })
      Recording.step(softmax, { x: out, out: share }, { rows: 200, columns: 100, scale: 0.1 })
    })
    const run = () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const arena = yield* (yield* openSoftware()).service.arena
      yield* arena.upload(a, Random.fillNormal(Random.make(5, "a"), new Float32Array(60_000)))
      yield* arena.upload(b, Random.fillNormal(Random.make(5, "b"), new Float32Array(30_000)))
      yield* arena.submit(program)
      return yield* arena.read(share)
    })))
    const first = await run()
    expect(Array.from(first).reduce((sum, x) => sum + x, 0)).toBeCloseTo(200, 3)
    expect(await run()).toEqual(first)
  })
})
