/**
 * One replica of the host device: an arena of one WebAssembly memory, and the kernels that work on it. Runs a program's steps straight
 * through, synchronously; nothing is allocated in a step. Lives in this thread or, one each, in worker threads.
 *
 * Matrix products go to ONNX Runtime where it is installed, what the SIMD module exports runs there, the rest runs in its plain form on
 * views of the same memory. The memory may grow between submissions only: views are made again afterwards.
 */
import { readFileSync } from "node:fs"
import type { Reals } from "../Kernel.ts"
import { kernels } from "../kernels.ts"
import { sumReplicasStep, type Program, type Step } from "../Recording.ts"
import type { Slot } from "../Tensor.ts"
import { makeHeap } from "./Heap.ts"
import { onnxProducts } from "./onnxProducts.ts"
import { prepareProduct } from "./productSteps.ts"
import * as WebAssembly from "./webAssembly.ts"

/** A program as replicas get it: without what its recording returned. */
export type Steps = Omit<Program, "outputs">
/** Milliseconds and calls of one kernel (matrix products by shape). */
export interface KernelTime { readonly milliseconds: number; readonly calls: number }

export interface ReplicaStats {
  readonly liveBytes: number
  readonly peakBytes: number
  readonly flops: number
  readonly submissions: number
  readonly profile: Readonly<Record<string, KernelTime>>
}
export interface Replica {
  readonly upload: (slot: Slot, data: Reals | Uint32Array) => void
  readonly read: (slot: Slot) => Float32Array | Uint32Array
  readonly submit: (program: Steps) => void
  readonly free: (slots: ReadonlyArray<Slot>) => void
  readonly stats: () => ReplicaStats
  readonly close: () => void
}
export interface ReplicaOptions {
  /** False leaves ONNX Runtime out though it is installed. */
  readonly onnxRuntime?: boolean
  readonly profile?: boolean
  /** Sums each of these over all replicas with the given addition; absent when there is one replica. */
  readonly sumReplicas?: (tensors: ReadonlyArray<Float32Array>, add: (out: Float32Array, part: Float32Array) => void) => void
}
/** The arena cannot hold what was asked. */
export class OutOfMemory extends Error {
  readonly bytes: number
  constructor(bytes: number) { super(`the arena cannot grow to ${bytes} bytes`); this.bytes = bytes }
}

interface Compiled { readonly steps: ReadonlyArray<() => void>; readonly labels: ReadonlyArray<string>; readonly flops: number; readonly kept: ReadonlyMap<number, number>; readonly generation: number }
const pageBytes = 65536
const maximumPages = 65536

/** Compiled once in each thread. */
let simdModule: WebAssembly.Module | undefined
const productName = /^(grouped)?[mM]atmul/

export const makeReplica = (options: ReplicaOptions = {}): Replica => {
  simdModule ??= new WebAssembly.Module(readFileSync(new URL("./kernels.wasm", import.meta.url)))
  const memory = new WebAssembly.Memory({ initial: 16, maximum: maximumPages })
  const simd = new WebAssembly.Instance(simdModule, { env: { memory } }).exports as WebAssembly.Exports
  const library = options.onnxRuntime === false ? undefined : onnxProducts()
  const heap = makeHeap(simd["heapBase"]!())
  const kept = new Map<number, { readonly at: number; readonly slot: Slot }>()
  const scratch = { at: 0, bytes: 0 }
  let programs = new WeakMap<Steps, Compiled>()
  const times = new Map<string, { milliseconds: number; calls: number }>()
  let generation = 0, keptBytes = 0, peak = 0, flops = 0, submissions = 0

  /** Makes the memory as large as the heap, with a vector's length to spare. */
  const fit = (): void => {
    const missing = Math.ceil((heap.top() + 64 - memory.buffer.byteLength) / pageBytes)
    if (missing <= 0) return
    try { memory.grow(Math.min(Math.max(missing, 256), maximumPages - memory.buffer.byteLength / pageBytes)) } catch { /* refused: said below */ }
    if (memory.buffer.byteLength < heap.top() + 64) throw new OutOfMemory(heap.top())
    generation++
  }
  const allocate = (bytes: number): number => {
    const at = heap.allocate(bytes)
    try { fit() } catch (error) { heap.free(at); throw error }
    return at
  }
  const placeKept = (slot: Slot): number => {
    const found = kept.get(slot.id)
    if (found !== undefined) return found.at
    const at = allocate(slot.length * 4)
    new Uint8Array(memory.buffer, at, slot.length * 4).fill(0)
    kept.set(slot.id, { at, slot })
    keptBytes += slot.length * 4
    peak = Math.max(peak, keptBytes)
    return at
  }
  const view = (slot: Slot, at: number) => slot.dtype === "u32" ? new Uint32Array(memory.buffer, at, slot.length) : new Float32Array(memory.buffer, at, slot.length)

  const staging = { at: 0, length: 16384 }
  /** out += part, where part lies in other memory: through a block that stays in cache. */
  const addShared = (out: Float32Array, part: Float32Array): void => {
    const block = new Float32Array(memory.buffer, staging.at, staging.length)
    for (let from = 0; from < part.length; from += staging.length) {
      const count = Math.min(staging.length, part.length - from), at = out.byteOffset + from * 4
      block.set(part.subarray(from, from + count))
      simd["add"]!(at, staging.at, at, count, 1)
    }
  }

  const compile = (program: Steps): Compiled => {
    const aligned = program.placement.slabs.map((length) => Math.ceil(length * 4 / 128) * 128)
    const total = aligned.reduce((sum, bytes) => sum + bytes, 0)
    for (const slot of program.slots.values()) if (slot.kept) placeKept(slot)
    if (options.sumReplicas !== undefined && staging.at === 0) staging.at = allocate(staging.length * 4)
    if (total > scratch.bytes) {
      if (scratch.bytes > 0) heap.free(scratch.at)
      scratch.bytes = 0
      generation++ // other programs' scratch has moved
      scratch.at = allocate(total)
      scratch.bytes = total
    }
    const starts = aligned.map((_, slab) => aligned.slice(0, slab).reduce((sum, bytes) => sum + bytes, scratch.at))
    const addressOf = (slot: Slot): number => slot.kept ? kept.get(slot.id)!.at : starts[program.placement.slabOf.get(slot.id)!]!
    let fixed = 0
    const labels: Array<string> = []
    const compileStep = (step: Step): (() => void) => {
      const slots = step.slots.map((id) => program.slots.get(id)!)
      if (step.kernel === sumReplicasStep) {
        labels.push(sumReplicasStep)
        const tensors = slots.map((slot) => view(slot, addressOf(slot)) as Float32Array)
        return () => options.sumReplicas?.(tensors, addShared)
      }
      const kernel = kernels.get(step.kernel)
      if (kernel === undefined) throw new Error(`unknown kernel ${step.kernel}`)
      const bindings = Object.keys(kernel.bindings)
      const params = Object.fromEntries(Object.keys(kernel.params).map((name, at) => [name, step.params[at]!]))
      const addresses = slots.map(addressOf)
      if (!step.kernel.startsWith("grouped")) fixed += kernel.flops(params)
      const product = productName.test(step.kernel)
      labels.push(product ? `${step.kernel} ${Object.entries(params).map(([name, value]) => `${name} ${value}`).join(" ")}` : step.kernel)
      if (product && library !== undefined) {
        const at = (binding: string) => bindings.indexOf(binding)
        const prepared = prepareProduct(library, {
          kernel: step.kernel, params,
          view: (binding, from, length) => new Float32Array(memory.buffer, addresses[at(binding)]! + from * 4, length),
          index: (() => { const indices = new Map(slots.flatMap((slot, i) => slot.dtype === "u32" ? [[bindings[i]!, view(slot, addresses[i]!)] as const] : [])); return (binding, element) => indices.get(binding)![element]! })()
        })
        if (prepared !== undefined) return prepared
      }
      const compiled = simd[step.kernel]
      if (compiled !== undefined) return compiled.bind(undefined, ...addresses, ...step.params) as () => void
      const buffers = Object.fromEntries(bindings.map((name, i) => [name, view(slots[i]!, addresses[i]!)]))
      return () => kernel.run(buffers, params)
    }
    const steps = program.steps.map((step) => {
      const run = compileStep(step)
      if (!step.kernel.startsWith("grouped")) return run
      // grouped products count the rows they really have, before a later step takes the offsets' place
      const kernel = kernels.get(step.kernel)!, params = Object.fromEntries(Object.keys(kernel.params).map((name, at) => [name, step.params[at]!]))
      const slot = program.slots.get(step.slots[2]!)!, offsets = view(slot, addressOf(slot)), work = kernel.flops(params) / (params["total"] ?? params["rows"]!)
      return () => { flops += work * offsets[params["groups"]!]!; run() }
    })
    return { steps, labels, kept: new Map([...program.slots.values()].filter((slot) => slot.kept).map(({ id }) => [id, kept.get(id)!.at])), generation, flops: fixed }
  }
  /** Compiling may itself move what other programs use, never what this one does: kept slots stay, its scratch is placed before its views are made. */
  const compiledOf = (program: Steps): Compiled => {
    let compiled = programs.get(program)
    if (compiled === undefined || compiled.generation !== generation || [...compiled.kept].some(([id, at]) => kept.get(id)?.at !== at)) programs.set(program, compiled = compile(program))
    return compiled
  }

  return {
    upload: (slot, data) => {
      const at = placeKept(slot)
      view(slot, at).set(data)
    },
    read: (slot) => view(slot, placeKept(slot)).slice(),
    submit: (program) => {
      const { flops: fixed, labels, steps } = compiledOf(program)
      if (options.profile) steps.forEach((step, i) => {
        const begin = performance.now()
        step()
        const time = times.get(labels[i]!) ?? { milliseconds: 0, calls: 0 }
        times.set(labels[i]!, { milliseconds: time.milliseconds + performance.now() - begin, calls: time.calls + 1 })
      })
      else for (const step of steps) step()
      flops += fixed
      submissions++
      peak = Math.max(peak, keptBytes + program.placement.slabs.reduce((sum, length) => sum + length * 4, 0))
    },
    free: (slots) => {
      for (const { id } of slots) {
        const found = kept.get(id)
        if (found === undefined) continue
        heap.free(found.at)
        kept.delete(id)
        keptBytes -= found.slot.length * 4
      }
    },
    stats: () => ({ liveBytes: keptBytes, peakBytes: peak, flops, submissions, profile: Object.fromEntries(times) }),
    close: () => { programs = new WeakMap(); kept.clear(); keptBytes = 0; }
  }
}
