import { describe, expect, test } from "@jest/globals"
import { Effect } from "effect"
import * as fc from "fast-check"
import type { Service } from "./Device.ts"
import { hostDevice } from "./host/host.ts"
import { plainDevice } from "./host/plain.ts"
import { CannotStore, decode, encode, type Storage, storages, words } from "./Storage.ts"
import { kept } from "./Tensor.ts"

const real = fc.float({ noNaN: true, noDefaultInfinity: true, min: -1000, max: 1000 })
const numbers = fc.array(real, { minLength: 1, maxLength: 150 }).map((list) => Float32Array.from(list))
const round = (storage: Storage, data: Float32Array) => decode(storage, encode(storage, data), data.length)

describe("laws", () => {
  test.each(["bf16", "f16"] as const)("%s: what was decoded is stored as it is", (storage) => {
    fc.assert(fc.property(numbers, (data) => { expect(round(storage, round(storage, data))).toEqual(round(storage, data)) }), { numRuns: 60 })
  })
  test.each(storages)("%s: a range is a part of the whole", (storage) => {
    fc.assert(fc.property(numbers, fc.nat(), (data, where) => {
      const from = where % data.length
      expect(decode(storage, encode(storage, data), data.length, from, data.length - from)).toEqual(round(storage, data).subarray(from))
    }), { numRuns: 60 })
  })
  test.each([["bf16", 2 ** -8, 2 ** -134], ["f16", 2 ** -11, 2 ** -25]] as const)("%s: within half a step of its digits", (storage, relative, least) => {
    fc.assert(fc.property(numbers, (data) => round(storage, data).every((x, i) => Math.abs(x - data[i]!) <= relative * Math.abs(data[i]!) + least)))
  })
  test.each([["q8", 127], ["q4", 8]] as const)("%s: within half a step of the block's largest, and the scale's rounding", (storage, steps) => {
    fc.assert(fc.property(numbers, (data) => round(storage, data).every((x, i) => {
      const block = data.subarray(Math.floor(i / 32) * 32, Math.floor(i / 32) * 32 + 32), most = Math.max(...block.map(Math.abs)), step = most / steps
      // q4 has −8 … 7: the far end of the other sign lies a whole step off
      return Math.abs(x - data[i]!) <= (storage === "q4" ? 1.01 : 0.51) * step + most * 2 ** -10 + steps * 2 ** -25
    })))
  })
  test("bytes: two, two, one and a half of numbers, and two for each block", () => {
    expect(storages.map((storage) => 4 * words(storage, 4096))).toEqual([8192, 8192, 4096 + 256, 2048 + 256])
  })
})

test("numbers by hand", () => {
  expect([...encode("bf16", Float32Array.of(1, -2, 0.5))]).toEqual([0xc0003f80, 0x00003f00])
  expect([...encode("f16", Float32Array.of(1, -2))]).toEqual([0xc0003c00])
  expect([...encode("q8", Float32Array.of(127, -1, 64, 0))]).toEqual([0x0040ff7f, 0x00003c00])     // scale 1
  expect([...encode("q4", Float32Array.of(-8, 7, 0, 1))]).toEqual([0x000098f0, 0x00003c00])
  expect([...decode("q4", encode("q4", Float32Array.of(16, -14, 4, 2)), 4)]).toEqual([16, -14, 4, 2]) // the largest becomes −8 of a negative scale
})

describe("arenas", () => {
  const devices: ReadonlyArray<readonly [string, () => ReturnType<typeof hostDevice> | Effect.Effect<Service>]> = [["plain", () => Effect.succeed(plainDevice())], ["host", () => hostDevice({ workers: 0 })], ["host, two workers", () => hostDevice({ workers: 2 })]]
  test.each(devices)("%s: encoded in, decoded out, as many bytes as it takes", async (_name, open) => {
    const data = Float32Array.from({ length: 200 }, (_, i) => Math.sin(i))
    await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const device = yield* open(), arena = yield* device.arena
      for (const dtype of storages) {
        const tensor = kept([4, 50], { dtype, label: "weight" })
        yield* arena.upload(tensor, data)
        expect(yield* arena.read(tensor)).toEqual(round(dtype, data))
        expect((yield* arena.stats).liveBytes).toBe(4 * words(dtype, 200) * device.replicas)
        yield* arena.upload(tensor, encode(dtype, data.map((x) => -x))) // its words as they are
        expect(yield* arena.read(tensor)).toEqual(round(dtype, data.map((x) => -x)))
        yield* arena.free([tensor])
      }
      const error = yield* Effect.flip(arena.upload(kept([2], { dtype: "f16", label: "layers.0.norm" }), Float32Array.of(1, 70_000)))
      expect(error.message).toMatch(/upload layers\.0\.norm: number 1 is 70000, more than f16 can hold/)
    })))
  })
  test.each(storages)("%s, of which each worker has a share: each share encoded by itself, and all of them read again", (dtype) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const arena = yield* (yield* hostDevice({ workers: 2 })).arena, shares = kept([3, 13], { dtype, sharded: true, label: "weight" }), data = Float32Array.from({ length: 78 }, (_, i) => Math.sin(i))
    yield* arena.upload(shares, data)
    expect(yield* arena.read(shares)).toEqual(Float32Array.of(...round(dtype, data.slice(0, 39)), ...round(dtype, data.slice(39))))
    expect((yield* arena.stats).liveBytes).toBe(2 * 4 * words(dtype, 39))
    expect((yield* Effect.flip(arena.upload(shares, new Float32Array(50)))).message).toMatch(/upload weight: 50 numbers for shape \[3, 13\].*Give 39 numbers for each replica/)
    if (dtype !== "bf16") expect((yield* Effect.flip(arena.upload(shares, data.with(50, 1e30)))).message).toMatch(dtype === "f16" ? /number 50 is/ : /numbers from 39 on need a scale/)
  }))))
  test("what a format cannot hold is told", () => {
    expect(() => encode("q8", Float32Array.of(1, NaN))).toThrow(CannotStore)
    expect(() => encode("q4", Float32Array.of(Infinity))).toThrow("number 0 is Infinity, which q4 cannot hold")
    expect(() => encode("q8", new Float32Array(40).fill(1e9))).toThrow("numbers from 0 on need a scale of 7874015")
  })
})
