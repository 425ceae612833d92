/// <reference types="@webgpu/types" preserve="true" />
/**
 * Memory and submissions on a WebGPU device: a buffer for each kept slot, a pool of slabs for scratch that all programs of the arena share,
 * and for each program, once, its uniform block and bind groups. A submission is one command buffer.
 */
import { Effect, type Scope, Semaphore } from "effect"
import { crossing } from "../crossings.ts"
import { type Arena, DeviceError, DeviceLost, type Failure } from "../Device.ts"
import type { Program } from "../Recording.ts"
import type { Slot, Tensor } from "../Tensor.ts"
import { failureOf, type Live } from "./device.ts"
import { prepare, type Prepared } from "./prepare.ts"

// GPUBufferUsage, as the specification numbers it
const mapRead = 0x1, copySource = 0x4, copyTarget = 0x8, storage = 0x80
const submissionsInFlight = 2
const programsKept = 64

export const makeArena = (live: Live): Effect.Effect<Arena, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { device } = live
    const kept = new Map<number, GPUBuffer>(), programs = new Map<number, Prepared>()
    /** Scratch slabs, the largest first. */
    let pool: ReadonlyArray<GPUBuffer> = []
    /** Every buffer that is not destroyed, and those that the call in progress made: they go again when it fails. */
    const held = new Set<GPUBuffer>(), fresh = new Set<GPUBuffer>(), inFlight = new Set<Promise<unknown>>()
    // prepared programs of an older generation bind buffers that are gone
    let generation = 0, open = true, liveBytes = 0, peakBytes = 0, flops = 0, submissions = 0

    const create = (size: number, usage: number, label: string): GPUBuffer => {
      const buffer = device.createBuffer({ size, usage, label })
      held.add(buffer)
      fresh.add(buffer)
      liveBytes += size
      peakBytes = Math.max(peakBytes, liveBytes)
      return buffer
    }
    const destroy = (buffer: GPUBuffer): void => {
      if (!held.delete(buffer)) return
      liveBytes -= buffer.size
      buffer.destroy()
    }
    const undo = (): void => {
      for (const buffer of fresh) destroy(buffer)
      for (const [id, buffer] of kept) if (fresh.has(buffer)) kept.delete(id)
      pool = pool.filter((buffer) => !fresh.has(buffer))
      generation++
    }
    const tooLarge = (doing: string, bytes: number) => new DeviceError({
      device: live.name, doing, problem: `${bytes} bytes, and one buffer holds at most ${live.largestBuffer}`,
      remedy: "Split it by rows, make the batch smaller, or use --device host."
    })
    const keptBuffer = (slot: Slot): GPUBuffer => {
      let buffer = kept.get(slot.id)
      if (buffer === undefined) {
        const bytes = 4 * slot.length
        if (bytes > live.largestBuffer) throw tooLarge(`make room for tensor ${slot.label || `of ${slot.length} numbers`}`, bytes)
        kept.set(slot.id, buffer = create(bytes, storage | copySource | copyTarget, slot.label))
      }
      return buffer
    }
    /** The program's slabs in the pool, by rank of size; a slab of the pool that is too small is replaced. */
    const slabsOf = ({ placement, slots, steps }: Program): ReadonlyArray<GPUBuffer> => {
      const order = placement.slabs.map((_, at) => at).sort((a, b) => placement.slabs[b]! - placement.slabs[a]!)
      const slabs: Array<GPUBuffer> = [], next = [...pool]
      order.forEach((slab, rank) => {
        const bytes = 4 * placement.slabs[slab]!, before = next[rank]
        if (bytes > live.largestBuffer) {
          const id = [...placement.slabOf].find(([slot, at]) => at === slab && slots.get(slot)!.length === placement.slabs[slab])![0]
          throw tooLarge(`make room for scratch of kernel ${steps.find((step) => step.slots.includes(id))!.kernel}`, bytes)
        }
        if (before === undefined || before.size < bytes) {
          if (before !== undefined) { destroy(before); generation++ }
          next[rank] = create(bytes, storage, `scratch ${rank}`)
        }
        slabs[slab] = next[rank]!
      })
      pool = next
      return slabs
    }
    const forget = (id: number): void => {
      const before = programs.get(id)
      if (before !== undefined) { destroy(before.uniforms); programs.delete(id) }
    }
    const prepared = async (program: Program): Promise<Prepared> => {
      const slabs = slabsOf(program)
      const before = programs.get(program.id)
      if (before?.generation === generation) return before
      forget(program.id)
      for (const oldest of programs.keys()) { if (programs.size < programsKept) break; forget(oldest) }
      const buffer = (slot: Slot) => slot.kept ? keptBuffer(slot) : slabs[program.placement.slabOf.get(slot.id)!]!
      const made = await prepare(live, program, { generation, buffer, create })
      programs.set(program.id, made)
      return made
    }

    /** One call at a time, inside error scopes; thrown errors, WebGPU's errors and loss come out typed. */
    const call = <A>(doing: string, run: () => Promise<A>): Effect.Effect<A, Failure> =>
      Semaphore.withPermit(live.turn)(Effect.suspend(() => {
        if (!open) return Effect.fail<Failure>(new DeviceError({ device: live.name, doing, problem: "the arena's scope was closed", remedy: "Use an arena inside its scope only." }))
        if (live.lost !== undefined) return Effect.fail<Failure>(new DeviceLost({ device: live.name, problem: live.lost }))
        const scoped = async (): Promise<A> => {
          fresh.clear()
          device.pushErrorScope("out-of-memory")
          device.pushErrorScope("validation")
          const outcome = await run().then((value) => ({ value }), (cause: unknown) => ({ cause }))
          const [invalid, exhausted] = await Promise.all([device.popErrorScope(), device.popErrorScope()])
          if ("cause" in outcome) throw outcome.cause
          const problem = exhausted === null ? invalid?.message ?? live.problem ?? live.lost : `out of memory: ${exhausted.message}`
          live.problem = undefined
          if (problem !== undefined) throw new Error(problem)
          return outcome.value
        }
        // uninterruptible: what has been begun on the device ends before the next call's error scopes open
        return Effect.tryPromise({ try: scoped, catch: (cause) => cause }).pipe(
          Effect.catch((cause) => Effect.flatMap(Effect.promise(() => { undo(); return failureOf(live, doing, cause) }), Effect.fail)), Effect.uninterruptible)
      }))

    yield* Effect.addFinalizer(() => Effect.promise(async () => {
      open = false
      if (live.lost === undefined) await Promise.allSettled(inFlight)
      for (const buffer of held) destroy(buffer)
    }))

    const upload: Arena["upload"] = (tensor, data) => call(`upload ${named(tensor)}`, async () => {
      const { dtype, length } = tensor.slot
      if (data.length !== length) {
        throw new DeviceError({ device: live.name, doing: `upload ${named(tensor)}`, problem: `${data.length} numbers for shape [${tensor.shape.join(", ")}]`, remedy: "Give as many numbers as the shape holds." })
      }
      const numbers = dtype === "u32" ? data instanceof Uint32Array ? data : Uint32Array.from(data) : data instanceof Float32Array ? data : Float32Array.from(data)
      device.queue.writeBuffer(keptBuffer(tensor.slot), 0, numbers as Float32Array<ArrayBuffer>)
    })
    const submit: Arena["submit"] = (program) => program.replicas !== 1 ? Effect.die(new Error(`program ${program.id} was recorded for ${program.replicas} replicas, the device is one: record with { replicas: device.replicas }`)) : call("submit a program", async () => {
      const { groups, pipelines, workgroups } = await prepared(program)
      const encoder = device.createCommandEncoder()
      const pass = encoder.beginComputePass()
      let bound: GPUComputePipeline | undefined
      for (let at = 0; at < groups.length; at++) {
        const pipeline = pipelines[at]!
        if (pipeline !== bound) pass.setPipeline(bound = pipeline)
        pass.setBindGroup(0, groups[at]!)
        const [x, y, z] = workgroups[at]!
        pass.dispatchWorkgroups(x, y, z)
      }
      pass.end()
      device.queue.submit([encoder.finish()])
      flops += program.flops
      submissions++
      // a host far ahead of the device would pile up command buffers
      const done: Promise<unknown> = device.queue.onSubmittedWorkDone().then(() => undefined, () => undefined).finally(() => { inFlight.delete(done) })
      inFlight.add(done)
      if (inFlight.size > submissionsInFlight) await Promise.race(inFlight)
    })
    const read: Arena["read"] = (tensor) => call(`read ${named(tensor)}`, async () => {
      const source = keptBuffer(tensor.slot)
      const staging = create(source.size, mapRead | copyTarget, `read ${tensor.slot.label}`)
      try {
        const encoder = device.createCommandEncoder()
        encoder.copyBufferToBuffer(source, 0, staging, 0, source.size)
        device.queue.submit([encoder.finish()])
        await staging.mapAsync(mapRead)
        const bytes = staging.getMappedRange().slice(0)
        return tensor.dtype === "u32" ? new Uint32Array(bytes) : new Float32Array(bytes)
      } finally { destroy(staging) }
    })
    const free: Arena["free"] = (tensors) => call("free tensors", async () => {
      for (const { slot } of tensors) {
        const buffer = kept.get(slot.id)
        if (buffer !== undefined) { destroy(buffer); kept.delete(slot.id); generation++ }
      }
    })
    return crossing(live.name, { upload, submit, read, free, stats: Effect.sync(() => ({ liveBytes, peakBytes, flops, submissions })) })
  })

const named = ({ shape, slot }: Tensor): string => slot.label || `a tensor [${shape.join(", ")}]`
