/** Quads are used where they are four neighbours of a workgroup, and not where they are other lanes. */
import { describe, expect, jest, test } from "@jest/globals"
import { Effect } from "effect"
import { globals } from "webgpu"
import { disagreements, kernelCases, runCase } from "../kernels.cases.ts"
import { areNeighbours } from "./quads.ts"
import { openSoftware } from "./software.ts"

jest.setTimeout(60_000) // kernels compile on the processor, and processors are shared

/** What lanes read when lane 4n + i of this order is number i of quad n. */
const read = (order: ReadonlyArray<number>): Uint32Array => Uint32Array.from({ length: 256 }, (_, at) => {
  const place = order.indexOf(Math.floor(at / 4))
  return order[place - place % 4 + at % 4]!
})
const inOrder = Array.from({ length: 64 }, (_, lane) => lane)

test("neighbours in order, and nothing else", () => {
  expect(areNeighbours(read(inOrder))).toBe(true)
  const squares = inOrder.map((place) => 16 * (place >> 4) + 2 * ((place >> 2) & 3) + 8 * ((place >> 1) & 1) + (place & 1)) // 2 × 2 of 8 × 8
  for (const order of [squares, inOrder.toReversed(), inOrder.map((place) => 16 * (place % 4) + (place >> 2)), inOrder.map((place) => place ^ 1)]) expect(areNeighbours(read(order))).toBe(false)
  expect(areNeighbours(new Uint32Array(256))).toBe(false)
})

const here = process.platform === "linux" && process.arch === "x64" ? describe : describe.skip
here("on SwiftShader", () => {
  type Prototypes = { readonly GPUDevice: { readonly prototype: GPUDevice }; readonly GPUBuffer: { readonly prototype: GPUBuffer } }
  const { GPUBuffer, GPUDevice } = globals as unknown as Prototypes
  /** The shaders that sums of rows were compiled from, and whether their numbers were right. */
  const sums = Effect.scoped(Effect.gen(function*() {
    const opened = yield* openSoftware(), arena = yield* opened.service.arena, one = kernelCases.findLast(({ kernel }) => kernel === "sumColumns")!
    const codes: Array<string> = [], real = GPUDevice.prototype.createShaderModule
    GPUDevice.prototype.createShaderModule = function(this: GPUDevice, given) { codes.push(given.code); return real.call(this, given) }
    const found = yield* runCase(arena, one).pipe(Effect.ensuring(Effect.sync(() => { GPUDevice.prototype.createShaderModule = real })))
    return { codes, wrong: disagreements(one, found) }
  }))
  test("quads are neighbours, and kernels use them", async () => {
    const { codes, wrong } = await Effect.runPromise(sums)
    expect(codes.join()).toContain("quadSwap")
    expect(wrong).toEqual([])
  })
  test("where they were not, kernels would do without", async () => {
    const { prototype } = GPUBuffer, real = prototype.getMappedRange
    prototype.getMappedRange = function(this: GPUBuffer, ...given) { return this.label === "quads" ? read(inOrder.toReversed()).buffer as ArrayBuffer : real.apply(this, given) }
    const { codes, wrong } = await Effect.runPromise(sums.pipe(Effect.ensuring(Effect.sync(() => { prototype.getMappedRange = real }))))
    expect(codes.length).toBeGreaterThan(0)
    expect(codes.join()).not.toContain("quadSwap")
    expect(wrong).toEqual([])
  })
})
