/** Memory, limits, loss and errors of the WebGPU arena, on SwiftShader. */
import { afterEach, describe, expect, jest, test } from "@jest/globals"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { Effect } from "effect"
import { globals } from "webgpu"
import { count } from "../count.ts"
import { type Arena, DeviceError, DeviceLost, type Failure } from "../Device.ts"
import { type Any, make, perElement, reads, writes } from "../Kernel.ts"
import { kernels } from "../kernels.ts"
import { affine } from "../kernels/affine.ts"
import { matmulNN } from "../kernels/matmulNN.ts"
import * as Recording from "../Recording.ts"
import { kept } from "../Tensor.ts"
import type { Opened, Options } from "./device.ts"
import { openSoftware } from "./software.ts"

jest.setTimeout(60_000) // kernels compile on the processor, and processors are shared

const here = process.platform === "linux" && process.arch === "x64" ? describe : describe.skip
const onSoftware = <A, E>(body: (arena: Arena, opened: Opened) => Effect.Effect<A, E>, options: Options = {}) =>
  Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const opened = yield* openSoftware(options)
    return yield* body(yield* opened.service.arena, opened)
  })))
const counting = (length: number) => Float32Array.from({ length }, (_, i) => i)
/** out = 2x + 1 by way of scratch. */
const doubled = (length: number) => {
  const x = kept([length], { label: "x" }), out = kept([length], { label: "out" })
  const program = Recording.record(() => {
    const twice = Recording.scratch([length])
    Recording.step(affine, { x, out: twice }, { count: length, scale: 2, shift: 0 })
    Recording.step(affine, { x: twice, out }, { count: length, scale: 1, shift: 1 })
  })
  return { x, out, program }
}

here("memory", () => {
  test("programs share scratch that grows under them, freed tensors start again as zero, and the count comes back to nothing", async () => {
    const small = doubled(100), large = doubled(5000)
    const arena = await onSoftware((arena) => Effect.gen(function*() {
      for (const { out, program, x } of [small, large, small]) {
        yield* arena.upload(x, counting(x.slot.length))
        yield* arena.submit(program)
        expect(yield* arena.read(out)).toEqual(counting(x.slot.length).map((i) => 2 * i + 1))
      }
      const { liveBytes, submissions } = yield* arena.stats
      expect(submissions).toBe(3)
      // two pairs of kept tensors, the larger of the two slabs, two blocks of parameters
      expect(liveBytes - 4 * (200 + 10_000 + 5000)).toBeLessThan(2048)
      yield* arena.free([large.x, large.out])
      expect((yield* arena.stats).liveBytes).toBe(liveBytes - 40_000)
      expect((yield* arena.read(large.out)).every((x) => x === 0)).toBe(true)
      return arena
    }))
    const { liveBytes, peakBytes } = await Effect.runPromise(arena.stats)
    expect(liveBytes).toBe(0)
    expect(peakBytes).toBeGreaterThan(60_000)
    expect(await Effect.runPromise(Effect.flip(arena.read(small.out)))).toMatchObject({ _tag: "DeviceError", problem: "the arena's scope was closed" })
  })
  test("what is held for a program is what was counted", async () => {
    const { program, x } = doubled(50_000)
    const { peakBytes } = await onSoftware((arena) => Effect.gen(function*() {
      yield* arena.upload(x, counting(50_000))
      yield* arena.submit(program)
      return yield* arena.stats
    }))
    expect(Math.abs(peakBytes / count(program).deviceBytes - 1)).toBeLessThan(0.01)
  })
  test("hundreds of programs and submissions that nobody waits for stay within bounds", () => onSoftware((arena) => Effect.gen(function*() {
    const x = kept([64]), out = kept([64])
    yield* arena.upload(x, counting(64))
    for (let shift = 0; shift < 300; shift++) yield* arena.submit(Recording.record(() => { Recording.step(affine, { x, out }, { count: 64, scale: 1, shift }) }))
    expect(yield* arena.read(out)).toEqual(counting(64).map((i) => i + 299))
    expect((yield* arena.stats).liveBytes).toBeLessThan(64 * 1024)
  })))
  test("the wrong number of numbers", async () => {
    expect((await onSoftware((arena) => Effect.flip(arena.upload(kept([3, 4], { label: "weights" }), new Float32Array(13))))).message).toMatch(/upload weights: 13 numbers for shape \[3, 4\]/)
  })
})

here("limits", () => {
  const options = { largestBuffer: 40_000 }
  test("a tensor above the limit is refused by name, bytes and limit", () => onSoftware((arena, { service }) => Effect.gen(function*() {
    expect(service.largestBuffer).toBe(40_000)
    const error = yield* Effect.flip(arena.upload(kept([101, 100], { label: "layers.0.attention.query" }), new Float32Array(10_100)))
    expect(error).toBeInstanceOf(DeviceError)
    expect(error.message).toMatch(/layers\.0\.attention\.query: 40400 bytes, and one buffer holds at most 40000\. Split it by rows/)
    expect((yield* arena.stats).liveBytes).toBe(0)
  }), options))
  test("scratch above the limit names the kernel that wants it, and nothing stays behind", () => onSoftware((arena) => Effect.gen(function*() {
    expect((yield* Effect.flip(arena.submit(doubled(10_001).program))).message).toMatch(/scratch of kernel affine: 40004 bytes/)
    expect((yield* arena.stats).liveBytes).toBe(0)
    const { out, program, x } = doubled(10_000)
    yield* arena.upload(x, counting(10_000))
    yield* arena.submit(program)
    expect((yield* arena.read(out))[9999]).toBe(19_999)
  }), options))
  test("more workgroups than an axis has names the kernel", () => onSoftware((arena) => Effect.gen(function*() {
    const [a, b, out] = [kept([70_000]), kept([70_000]), kept([70_000])]
    const program = Recording.record(() => { Recording.step(matmulNN, { a, b, out }, { batch: 70_000, rows: 1, columns: 1, inner: 1, strideA: 1, strideB: 1, alpha: 1, accumulate: 0 }) })
    expect((yield* Effect.flip(arena.submit(program))).message).toMatch(/dispatch kernel matmulNN: \[1, 1, 70000\] workgroups, at most 65535/)
    expect((yield* arena.stats).liveBytes).toBe(0)
  })))
  test("a program for two replicas is a mistake that says so", () => onSoftware((arena) => Effect.gen(function*() {
    const exit = yield* Effect.exit(arena.submit(Recording.record(() => {}, { replicas: 2 })))
    expect(String(exit)).toMatch(/recorded for 2 replicas, the device is one/)
  })))
})

here("faults", () => {
  test("a device without memory for it says so, and what was begun is undone", () => onSoftware((arena) => Effect.gen(function*() {
    const { out, program, x } = doubled(1000)
    yield* arena.upload(x, counting(1000))
    const before = (yield* arena.stats).liveBytes
    // the driver's answer to the outer scope of one call, which is the one for memory
    const { prototype } = (globals as unknown as { GPUDevice: { prototype: GPUDevice } }).GPUDevice, real = prototype.popErrorScope
    let pops = 0
    prototype.popErrorScope = async function(this: GPUDevice) {
      const found = await real.call(this)
      return ++pops === 3 ? { message: "vkAllocateMemory: VK_ERROR_OUT_OF_DEVICE_MEMORY" } as GPUError : found // the first is the compilation of affine, the second looks for invalid use
    }
    const error = yield* Effect.flip(arena.submit(program)).pipe(Effect.ensuring(Effect.sync(() => { prototype.popErrorScope = real })))
    expect(error).toBeInstanceOf(DeviceError)
    expect(error.message).toMatch(/submit a program: out of memory: .*OUT_OF_DEVICE_MEMORY\. Make the batch smaller/)
    expect((yield* arena.stats).liveBytes).toBe(before)
    yield* arena.submit(program)
    expect((yield* arena.read(out))[999]).toBe(1999)
  })))
  const folder = mkdtempSync(join(tmpdir(), "switchyard-wgsl-"))
  const register = (name: string, wgsl: string): Any => {
    writeFileSync(join(folder, `${name}.wgsl`), wgsl)
    const kernel = make(name, { bindings: { x: reads, out: writes }, params: { count: "u32" }, flops: () => 0, run: () => {}, dispatch: ({ count }) => perElement(count), source: pathToFileURL(join(folder, `${name}.wgsl`)) })
    ;(kernels as Map<string, Any>).set(name, kernel)
    return kernel
  }
  afterEach(() => { for (const name of ["broken", "missing"]) (kernels as Map<string, Any>).delete(name) })
  const submit = (kernel: Any) => onSoftware((arena) => {
    const x = kept([8]), out = kept([8])
    return Effect.map(Effect.result(arena.submit(Recording.record(() => { Recording.step(kernel, { x, out }, { count: 8 }) }))), (result) => result._tag === "Failure" ? result.failure.message : "")
  })
  test("WGSL that does not compile: the kernel and the compiler's words", async () => {
    expect(await submit(register("broken", "@compute @workgroup_size(64) fn main() { out[0] = nonsense; }"))).toMatch(/compile kernel broken[^]*nonsense/)
  })
  test("a kernel without its file", async () => {
    const kernel = register("missing", "")
    rmSync(join(folder, "missing.wgsl"))
    expect(await submit(kernel)).toMatch(/compile kernel missing: ENOENT/)
  })
})

here("a lost device", () => {
  test("every later call fails with DeviceLost; the next arena has a fresh device", () => onSoftware((arena, { destroyDevice, service }) => Effect.gen(function*() {
    const { out, program, x } = doubled(1000)
    yield* arena.upload(x, counting(1000))
    yield* arena.submit(program)
    destroyDevice()
    for (const call of [arena.read(out), arena.upload(x, counting(1000)), arena.submit(program), arena.free([x])] as ReadonlyArray<Effect.Effect<unknown, Failure>>) {
      expect(yield* Effect.flip(call)).toBeInstanceOf(DeviceLost)
    }
    yield* Effect.scoped(Effect.gen(function*() {
      const fresh = yield* service.arena
      yield* fresh.upload(x, counting(1000))
      yield* fresh.submit(program)
      expect((yield* fresh.read(out))[999]).toBe(1999)
    }))
  })))
  test("arenas that are opened at once after it share one fresh device", () => onSoftware((_, { destroyDevice, service }) => Effect.gen(function*() {
    const { prototype } = (globals as unknown as { GPUAdapter: { prototype: GPUAdapter } }).GPUAdapter, real = prototype.requestDevice
    let asked = 0
    prototype.requestDevice = function(this: GPUAdapter, ...given) { asked++; return real.apply(this, given) }
    destroyDevice()
    yield* Effect.scoped(Effect.all([service.arena, service.arena, service.arena], { concurrency: "unbounded" })).pipe(Effect.ensuring(Effect.sync(() => { prototype.requestDevice = real })))
    expect(asked).toBe(1)
  })))
  test("lost in the middle of a read", () => onSoftware((arena, { destroyDevice }) => Effect.gen(function*() {
    const x = kept([1_000_000])
    yield* arena.upload(x, counting(1_000_000))
    yield* Effect.sync(() => { setImmediate(destroyDevice) })
    const outcome = yield* Effect.result(arena.read(x))
    if (outcome._tag === "Failure") expect(outcome.failure).toBeInstanceOf(DeviceLost)
    yield* Effect.sleep("20 millis")
    expect(yield* Effect.flip(arena.read(x))).toBeInstanceOf(DeviceLost)
  })))
})
