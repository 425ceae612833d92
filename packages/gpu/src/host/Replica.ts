/**
 * One replica of the host device: an arena of one WebAssembly memory, and the kernels that work on it. Runs a program's steps straight
 * through, synchronously; nothing is allocated in a step. Lives in this thread or, one each, in worker threads.
 *
 * Matrix products go to ONNX Runtime where it is installed, what the SIMD module exports runs there, the rest runs in its plain form on
 * views of the same memory. The memory may grow between submissions only: views are made again afterwards.
 */
import { readFileSync } from "node:fs"
import type * as Kernel from "../Kernel.ts"
import { kernels } from "../kernels.ts"
import { joinReplicasStep, sumReplicasStep, type Program } from "../Recording.ts"
import type { Slot } from "../Tensor.ts"
import type { CausalForm } from "./causal.ts"
import type { Joined } from "./exchange.ts"
import { makeHeap } from "./Heap.ts"
import { kernelOf, layoutOf } from "./layout.ts"
import { onnxProducts } from "./onnxProducts.ts"
import { prepareProduct } from "./productSteps.ts"
import { paramsOf as storedParams, prepareStored } from "./storedProducts.ts"
import { sliced } from "./tiles.ts"
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
  readonly upload: (slot: Slot, data: Kernel.Reals | Uint32Array) => void
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
  /** Asked between steps: true leaves the program where it is, by an error. A thread must not be ended inside a native call. */
  readonly stopped?: () => boolean
  /** Sums each of these over all replicas with the given addition; absent when there is one replica. */
  readonly sumReplicas?: (tensors: ReadonlyArray<Float32Array>, add: (out: Float32Array, part: Float32Array) => void) => void
  /** Puts the columns of all replicas side by side; absent when there is one replica. */
  readonly joinReplicas?: (joined: ReadonlyArray<Joined>) => void
}
/** The replica was told to stop. */
export class Stopped extends Error {
  constructor() { super("the device is being closed") }
}
/** The arena cannot hold what was asked. */
export class OutOfMemory extends Error {
  readonly bytes: number
  constructor(bytes: number) { super(`the arena cannot grow to ${bytes} bytes`); this.bytes = bytes }
}

interface Compiled { readonly steps: ReadonlyArray<() => void>; readonly labels: ReadonlyArray<string>; readonly flops: number; readonly scratchBytes: number; readonly kept: ReadonlyMap<number, number>; readonly generation: number }
const pageBytes = 65536
const maximumPages = 65536

/** Compiled once in each thread. */
let simdModule: WebAssembly.Module | undefined
const productName = /^(grouped)?[mM]atmul|^stored.*Matmul/
const paramsOf = (kernel: Kernel.Any, values: ReadonlyArray<number>): Record<string, number> => Object.fromEntries(Object.keys(kernel.params).map((name, at) => [name, values[at]!]))
/** What the profile calls a step: matrix products by shape. */
const labelOf = (kernel: Kernel.Any, values: ReadonlyArray<number>): string => productName.test(kernel.name) ? `${kernel.name} ${Object.entries(paramsOf(kernel, values)).map(([name, value]) => `${name} ${value}`).join(" ")}` : kernel.name

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

  /** Makes the memory as large as the heap, with a vector's length to spare; it stays as it is where that cannot be. */
  const fit = (): void => {
    const missing = Math.ceil((heap.top() + 64 - memory.buffer.byteLength) / pageBytes), room = maximumPages - memory.buffer.byteLength / pageBytes
    if (missing <= 0) return
    if (missing > room) throw new OutOfMemory(heap.top())
    try { memory.grow(Math.min(Math.max(missing, 256), room)) } catch { throw new OutOfMemory(heap.top()) }
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
  const release = (slots: ReadonlyArray<Slot>): void => {
    for (const { id } of slots) {
      const found = kept.get(id)
      if (found === undefined) continue
      heap.free(found.at)
      kept.delete(id)
      keptBytes -= found.slot.length * 4
    }
  }
  const view = (dtype: Kernel.DType, at: number, length: number) => dtype === "u32" ? new Uint32Array(memory.buffer, at, length) : new Float32Array(memory.buffer, at, length)

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

  /** One kernel call on these addresses, by whatever does it best. */
  const compileStep = (kernel: Kernel.Any, addresses: ReadonlyArray<number>, lengths: ReadonlyArray<number>, values: ReadonlyArray<number>, causal?: CausalForm): (() => void) => {
    if (causal !== undefined) return simd[causal.name]!.bind(undefined, ...addresses, ...values, causal.queries, scratch.at) as () => void
    const bindings = Object.keys(kernel.bindings)
    const params = paramsOf(kernel, values)
    const whole = (binding: number) => view(kernel.bindings[bindings[binding]!].dtype, addresses[binding]!, lengths[binding]!)
    if (library !== undefined && productName.test(kernel.name)) {
      const offsets = bindings.indexOf("offsets"), indices = offsets < 0 ? undefined : whole(offsets)
      const prepared = prepareProduct(library, {
        kernel: kernel.name, params,
        view: (binding, from, length) => new Float32Array(memory.buffer, addresses[bindings.indexOf(binding)]! + from * 4, length),
        offset: (group) => indices![group]!
      })
      if (prepared !== undefined) return prepared
    }
    const compiled = simd[kernel.name]
    if (compiled !== undefined) return compiled.bind(undefined, ...addresses, ...values) as () => void
    const buffers = Object.fromEntries(bindings.map((name, binding) => [name, whole(binding)]))
    return () => kernel.run(buffers, params)
  }
  const compile = (program: Steps): Compiled => {
    const { bytes, formBytes, forms, runs, sideAt, slabBytes, slabOf, stageAt, tileBytes, total } = layoutOf(program, library !== undefined), tiles = new Map(runs.map((tile) => [tile.from, tile]))
    const fresh = [...program.slots.values()].filter((slot) => slot.kept && !kept.has(slot.id))
    try {
      for (const slot of fresh) placeKept(slot)
      if (options.sumReplicas !== undefined && staging.at === 0) staging.at = allocate(staging.length * 4)
      if (total > scratch.bytes) {
        if (scratch.bytes > 0) heap.free(scratch.at)
        scratch.bytes = 0
        generation++ // other programs' scratch has moved
        scratch.at = allocate(total)
        scratch.bytes = total
      }
    } catch (error) {
      release(fresh) // what does not fit leaves nothing behind
      throw error
    }
    const starts: Array<number> = []
    let next = scratch.at + tileBytes
    for (const bytes of slabBytes) { starts.push(next); next += bytes }
    const addressOf = (id: number): number => program.slots.get(id)!.kept ? kept.get(id)!.at : starts[slabOf.get(id)!]!
    const lengthOf = (id: number): number => program.slots.get(id)!.length
    let fixed = 0
    const steps: Array<() => void> = [], labels: Array<string> = []
    const storedStep = (kernel: Kernel.Any, addresses: ReadonlyArray<number>, values: ReadonlyArray<number>): (() => void) | undefined => prepareStored({
      kernel: kernel.name, params: storedParams({ kernel: kernel.name, params: values }), x: addresses[0]!, weight: addresses[1]!, out: addresses.at(-1)!, stage: scratch.at + stageAt, side: scratch.at + sideAt,
      offset: (group) => new Uint32Array(memory.buffer, addresses[2]!, group + 1)[group]!,
      call: (name, at, params) => compileStep(kernels.get(name)!, at, [], params), dots: simd["storedDots"]!
    })
    const append = (kernel: Kernel.Any, addresses: ReadonlyArray<number>, lengths: ReadonlyArray<number>, values: ReadonlyArray<number>, index: number): void => {
      const causal = forms.get(index), label = labelOf(kernel, values)
      steps.push(storedStep(kernel, addresses, values) ?? compileStep(kernel, addresses, lengths, values, causal))
      labels.push(causal === undefined ? label : `${label}, below the diagonal`)
    }
    for (let at = 0; at < program.steps.length; at++) {
      const tile = tiles.get(at)
      if (tile !== undefined) {
        const { each, entries, from, local, to } = tile
        for (const step of program.steps.slice(from, to)) fixed += kernelOf(step).flops(paramsOf(kernelOf(step), step.params))
        for (let first = 0; first < entries; first += each) for (const [place, step] of program.steps.slice(from, to).entries()) {
          const kernel = kernelOf(step), count = Math.min(each, entries - first), cut = sliced(step, entries)!
          append(kernel, step.slots.map((id, binding) => local.has(id) ? scratch.at + formBytes + local.get(id)! * 4 : addressOf(id) + first * cut.strides[binding]! * 4), cut.strides.map((stride) => stride * count), cut.params(count), from + place)
        }
        at = to - 1
        continue
      }
      const step = program.steps[at]!
      if (step.kernel === sumReplicasStep) {
        const tensors = step.slots.map((id) => new Float32Array(memory.buffer, addressOf(id), lengthOf(id)))
        steps.push(() => options.sumReplicas?.(tensors, addShared))
        labels.push(sumReplicasStep)
        continue
      }
      if (step.kernel === joinReplicasStep) {
        const views = step.slots.map((id) => new Float32Array(memory.buffer, addressOf(id), lengthOf(id)))
        const joined = views.flatMap((part, at): ReadonlyArray<Joined> => at % 2 === 1 ? [] : [{ part, out: views[at + 1]!, rows: step.params[at]! }])
        steps.push(() => options.joinReplicas?.(joined))
        labels.push(joinReplicasStep)
        continue
      }
      const kernel = kernelOf(step), params = paramsOf(kernel, step.params), work = kernel.flops(params)
      if (/^grouped|^storedGrouped/.test(step.kernel)) {
        const rows = params["total"] ?? params["rows"]!, groups = params["groups"]!, offsets = new Uint32Array(memory.buffer, addressOf(step.slots[2]!), groups + 1)
        // counted where they run: a later step may take the offsets' place
        steps.push(() => { flops += work / rows * (offsets[groups]! - offsets[0]!) })
        labels.push("count rows")
      } else fixed += work
      append(kernel, step.slots.map(addressOf), step.slots.map(lengthOf), step.params, at)
    }
    return { steps, labels, kept: new Map([...program.slots.values()].filter((slot) => slot.kept).map(({ id }) => [id, kept.get(id)!.at])), generation, flops: fixed, scratchBytes: bytes }
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
      view(slot.dtype, at, slot.length).set(data)
    },
    read: (slot) => {
      const at = placeKept(slot) // may grow the memory: before the view
      return view(slot.dtype, at, slot.length).slice()
    },
    submit: (program) => {
      const { flops: fixed, labels, scratchBytes, steps } = compiledOf(program)
      const run = (step: () => void): void => {
        if (options.stopped?.() === true) throw new Stopped()
        step()
      }
      if (options.profile) steps.forEach((step, i) => {
        const begin = performance.now()
        run(step)
        const time = times.get(labels[i]!) ?? { milliseconds: 0, calls: 0 }
        times.set(labels[i]!, { milliseconds: time.milliseconds + performance.now() - begin, calls: time.calls + 1 })
      })
      else for (const step of steps) run(step)
      flops += fixed
      submissions++
      peak = Math.max(peak, keptBytes + scratchBytes)
    },
    free: release,
    stats: () => ({ liveBytes: keptBytes, peakBytes: peak, flops, submissions, profile: Object.fromEntries(times) }),
    close: () => { programs = new WeakMap(); kept.clear(); keptBytes = 0; }
  }
}
