import { afterAll, beforeAll, describe, expect, test } from "@jest/globals"
import { execFile } from "node:child_process"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import type { Worker } from "node:worker_threads"
import { Effect, Exit, Fiber, Scope } from "effect"
import type { Service } from "../Device.ts"
import { add } from "../kernels/add.ts"
import { matmulNT } from "../kernels/matmulNT.ts"
import * as Recording from "../Recording.ts"
import { kept, type Tensor } from "../Tensor.ts"
import { hostDevice } from "./host.ts"

const scope = Effect.runSync(Scope.make())
let device: Service
beforeAll(async () => { device = await Effect.runPromise(Scope.provide(hostDevice({ workers: 2 }), scope)) })
afterAll(async () => { await Effect.runPromise(Scope.close(scope, Exit.void)) })

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>): Promise<A> => Effect.runPromise(Effect.scoped(effect))
const sequence = (length: number) => Float32Array.from({ length }, (_, i) => Math.fround(Math.sin(i + 1)))
const bytes = (x: ArrayBufferView) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength)

describe("two worker replicas", () => {
  test("say so", () => {
    expect(device.replicas).toBe(2)
    expect(device.adapter).toMatch(/2 workers, onnxruntime-node \d+\.\d+/)
  })

  test("a sharded upload is split, a sharded read is put together, in f32 and u32", () => run(Effect.gen(function*() {
    const arena = yield* device.arena
    const real = kept([3, 5], { sharded: true }), whole = kept([4], { dtype: "u32", sharded: true }), same = kept([7])
    const numbers = sequence(30), integers = Uint32Array.from([1, 2, 3, 4, 0xffffffff, 6, 7, 8])
    yield* arena.upload(real, numbers)
    yield* arena.upload(whole, integers)
    yield* arena.upload(same, sequence(7))
    expect(yield* arena.read(real)).toEqual(numbers)
    expect(yield* arena.read(whole)).toEqual(integers)
    expect(yield* arena.read(same)).toEqual(sequence(7))
  })))

  test("an upload of the wrong length is a DeviceError that says what was expected", async () => {
    const exit = await Effect.runPromiseExit(Effect.scoped(Effect.flatMap(device.arena, (arena) => arena.upload(kept([3], { sharded: true, label: "ids" }), sequence(3)))))
    expect(String(exit)).toContain("Give 6 numbers")
  })

  test("sumReplicas adds in replica order and leaves the same bits on both", () => run(Effect.gen(function*() {
    const arena = yield* device.arena
    const rows = 50_001 // more than one block of the staging memory
    const input = kept([rows], { sharded: true }), small = kept([3], { sharded: true })
    const sum = kept([rows], { sharded: true }), smallSum = kept([3], { sharded: true })
    const zero = kept([rows]), zeroSmall = kept([3])
    const program = Recording.record(() => {
      const copy = (x: Tensor, nothing: Tensor, out: Tensor) => Recording.step(add, { a: x, b: nothing, out }, { count: x.slot.length, scale: 1 })
      copy(input, zero, sum)
      copy(small, zeroSmall, smallSum)
      Recording.sumReplicas([sum, smallSum])
      Recording.sumReplicas([smallSum])
    }, { replicas: 2 })
    for (let repetition = 0; repetition < 5; repetition++) {
      const numbers = sequence(2 * rows).map((x) => x * (repetition + 1))
      yield* arena.upload(input, numbers)
      yield* arena.upload(small, Float32Array.from([1, 2, 3, 10, 20, 30]))
      yield* arena.submit(program)
      const got = yield* arena.read(sum)
      const expected = Float32Array.from({ length: rows }, (_, i) => Math.fround(numbers[i]! + numbers[rows + i]!))
      expect(Buffer.compare(bytes(got.subarray(0, rows)), bytes(expected))).toBe(0)
      expect(Buffer.compare(bytes(got.subarray(rows)), bytes(expected))).toBe(0)
      expect(yield* arena.read(smallSum)).toEqual(Float32Array.from([22, 44, 66, 22, 44, 66]))
    }
  })))

  test("each replica multiplies its own rows; flops and bytes are added up and given back", () => run(Effect.gen(function*() {
    const arena = yield* device.arena
    const x = kept([64, 48], { sharded: true }), weight = kept([32, 48]), out = kept([64, 32], { sharded: true })
    const program = Recording.record(() => Recording.step(matmulNT, { a: x, b: weight, out }, { batch: 1, rows: 64, columns: 32, inner: 48, strideA: 0, strideB: 0, alpha: 1, accumulate: 0 }), { replicas: 2 })
    const rows = sequence(128 * 48), columns = sequence(32 * 48)
    yield* arena.upload(x, rows)
    yield* arena.upload(weight, columns)
    yield* arena.submit(program)
    const got = yield* arena.read(out)
    for (const [row, column] of [[0, 0], [63, 31], [64, 0], [127, 31], [90, 7]] as const) {
      let sum = 0
      for (let k = 0; k < 48; k++) sum += rows[row * 48 + k]! * columns[column * 48 + k]!
      expect(got[row * 32 + column]).toBeCloseTo(sum, 4)
    }
    const stats = yield* arena.stats
    expect(stats.flops).toBe(2 * 2 * 64 * 32 * 48)
    expect(stats.liveBytes).toBe(2 * 4 * (64 * 48 + 32 * 48 + 64 * 32))
    expect(stats.submissions).toBe(1)
    yield* arena.free([x, weight, out])
    expect((yield* arena.stats).liveBytes).toBe(0)
  })))

  test("a program recorded for another number of replicas is a defect", async () => {
    const x = kept([4]), y = kept([4])
    const program = Recording.record(() => Recording.step(add, { a: x, b: x, out: y }, { count: 4, scale: 1 }))
    const exit = await Effect.runPromiseExit(Effect.scoped(Effect.flatMap(device.arena, (arena) => arena.submit(program))))
    expect(String(exit)).toContain("recorded for 1 replicas, the device has 2")
  })

  test("more than an arena can hold is a DeviceError with a remedy, and the device goes on", () => run(Effect.gen(function*() {
    const arena = yield* device.arena
    const x = kept([2 ** 30 - 1], { label: "everything" }), y = kept([2 ** 29]), out = kept([2 ** 29])
    const program = Recording.record(() => {
      Recording.step(add, { a: x, b: y, out }, { count: 1, scale: 1 })
      Recording.sumReplicas([out])
    }, { replicas: 2 })
    const error = yield* Effect.flip(arena.submit(program))
    expect(error._tag).toBe("DeviceError")
    expect(error.message).toContain("smaller batch")
    const again = kept([3])
    yield* arena.upload(again, sequence(3))
    expect(yield* arena.read(again)).toEqual(sequence(3))
  })))
})

test("a worker that dies inside a step is DeviceLost, for what was under way and for what comes after; the next arena has fresh workers", async () => {
  const threads: Array<Worker> = []
  const started = (message: unknown) => { threads.push((message as { worker: Worker }).worker) }
  subscribe("worker_threads", started)
  await run(Effect.gen(function*() {
    const lost = yield* hostDevice({ workers: 2, onnxRuntime: false }) // a thread ended inside that library would take the process with it
    const arena = yield* lost.arena
    const x = kept([512, 512]), y = kept([512, 512])
    const long = Recording.record(() => {
      for (let i = 0; i < 2000; i++) Recording.step(matmulNT, { a: x, b: x, out: y }, { batch: 1, rows: 512, columns: 512, inner: 512, strideA: 0, strideB: 0, alpha: 1, accumulate: 0 })
      Recording.sumReplicas([y])
    }, { replicas: 2 })
    yield* arena.upload(x, sequence(512 * 512))
    const submitted = yield* Effect.forkChild(Effect.flip(arena.submit(long)))
    yield* Effect.sleep("100 millis")
    yield* Effect.promise(() => threads[1]!.terminate())
    expect((yield* Fiber.join(submitted))._tag).toBe("DeviceLost")
    expect((yield* Effect.flip(arena.read(x)))._tag).toBe("DeviceLost")
    expect(threads.length).toBe(2)
    const sum = Recording.record(() => { Recording.sumReplicas([y]) }, { replicas: 2 })
    yield* Effect.all(Array.from({ length: 2 }, () => Effect.scoped(Effect.gen(function*() { // at once: they share them
      const fresh = yield* lost.arena
      yield* fresh.upload(y, sequence(512 * 512))
      yield* fresh.submit(sum)
      expect((yield* fresh.read(y))[3]).toBe(2 * sequence(4)[3]!)
    }))), { concurrency: "unbounded" })
    expect(threads.length).toBe(4)
    unsubscribe("worker_threads", started)
  }))
})

test("a device closed in mid-program ends its threads between two steps, and the process lives", async () => {
  const began = process.cpuUsage()
  const exit = await run(Effect.gen(function*() {
    const opened = yield* Scope.make()
    const device = yield* Scope.provide(hostDevice({ workers: 2 }), opened), arena = yield* device.arena
    const x = kept([512, 512]), y = kept([512, 512])
    const long = Recording.record(() => {
      for (let i = 0; i < 20_000; i++) Recording.step(matmulNT, { a: x, b: x, out: y }, { batch: 1, rows: 512, columns: 512, inner: 512, strideA: 0, strideB: 0, alpha: 1, accumulate: 0 })
      Recording.sumReplicas([y])
    }, { replicas: 2 })
    const submitted = yield* Effect.forkChild(Effect.exit(arena.submit(long)))
    yield* Effect.sleep("100 millis")
    yield* Scope.close(opened, Exit.void)
    return yield* Fiber.join(submitted)
  }))
  expect(exit._tag).toBe("Failure")
  const { system, user } = process.cpuUsage(began) // threads included, whatever else the machine does
  expect((system + user) / 1e6).toBeLessThan(15) // the whole program takes a minute of it
}, 60_000)

test("a process that has closed its device, or merely stopped using it, ends by itself", async () => {
  const script = `
    import { Effect, Scope } from "effect"
    import { hostDevice } from ${JSON.stringify(new URL("./host.ts", import.meta.url).href)}
    import { kept } from ${JSON.stringify(new URL("../Tensor.ts", import.meta.url).href)}
    const device = await Effect.runPromise(Scope.provide(hostDevice({ workers: 2 }), Effect.runSync(Scope.make())))
    const arena = await Effect.runPromise(Scope.provide(device.arena, Effect.runSync(Scope.make())))
    const x = kept([3])
    await Effect.runPromise(arena.upload(x, Float32Array.of(1, 2, 3)))
    console.log((await Effect.runPromise(arena.read(x))).join(" "))`
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", "--conditions=@switchyard/source", "--input-type=module", "-e", script], { cwd: fileURLToPath(new URL(".", import.meta.url)), timeout: 20_000 })
  expect(stdout.trim()).toBe("1 2 3")
})
