/**
 * Ops do not compute, they record. A recording is the list of steps in progress and the tape of gradients beside it; what comes out
 * is a program: pure data that any device walks, as often as wanted, and that can be sent to a worker.
 */
import type * as Kernel from "./Kernel.ts"
import { mergeJoins } from "./mergeJoins.ts"
import { place, type Placement } from "./place.ts"
import { isStorage } from "./Storage.ts"
import * as Tensor from "./Tensor.ts"

/** One kernel call: which kernel, on which slots (in binding order), with which parameters (in layout order). */
export interface Step { readonly kernel: string; readonly slots: ReadonlyArray<number>; readonly params: ReadonlyArray<number> }

/** What a device runs. Structured-cloneable. */
export interface Program<out O = unknown> {
  readonly id: number
  readonly steps: ReadonlyArray<Step>
  readonly slots: ReadonlyMap<number, Tensor.Slot>
  /** Where scratch slots lie: slabs shared by slots whose lives do not overlap. */
  readonly placement: Placement
  /** Each replica runs the program on its own share of the batch. */
  readonly replicas: number
  /** Floating-point operations of one submission on one replica. */
  readonly flops: number
  /** Bytes that the kernels of one submission read and write on one replica. */
  readonly bytes: number
  readonly outputs: O
}

export interface Derivation {
  readonly output: Tensor.Tensor
  readonly inputs: ReadonlyArray<Tensor.Tensor>
  readonly backward: (gradient: Tensor.Tensor, needs: ReadonlyArray<boolean>) => ReadonlyArray<Tensor.Tensor | undefined>
}
interface Recording { readonly steps: Array<Step>; readonly slots: Map<number, Tensor.Slot>; readonly tape: Array<Derivation>; readonly replicas: number; flops: number; bytes: number }

let current: Recording | undefined
let programs = 0

const inProgress = (): Recording => {
  if (current === undefined) throw new Error("no recording in progress: call ops inside Recording.record(() => …)")
  return current
}

/** Runs `build` once and returns what it recorded. Synchronous: a recording cannot be left open. */
export const record = <O>(build: () => O, options: { readonly replicas?: number } = {}): Program<O> => {
  if (current !== undefined) throw new Error("a recording is already in progress")
  const recording: Recording = { steps: [], slots: new Map(), tape: [], replicas: options.replicas ?? 1, flops: 0, bytes: 0 }
  current = recording
  try {
    const outputs = build()
    const { flops, bytes, replicas, slots } = recording, steps = mergeJoins(recording.steps, joinReplicasStep)
    return { id: ++programs, steps, slots, placement: place(steps, slots), replicas, flops, bytes, outputs }
  } finally {
    current = undefined
  }
}

/** How many replicas the recording in progress is for: a mean over the batch divides by rows × replicas. */
export const replicas = (): number => inProgress().replicas
/** The tape of the recording in progress, oldest first. */
export const tape = (): Array<Derivation> => inProgress().tape

/** A fresh scratch tensor. */
export const scratch = (shape: ReadonlyArray<number>, dtype: Kernel.DType = "f32"): Tensor.Tensor => Tensor.allocate(shape, { dtype })

/** What an op says of a tensor that lies in parts where it takes whole ones only. */
export const inParts = (op: string, tensor: Tensor.Tensor): Error =>
  new Error(`${op}: ${tensor.slot.label || "a tensor"} [${tensor.shape.join(", ")}] lies in ${tensor.parts?.length} parts, since it is larger than the device's largest buffer, and ${op} takes whole tensors: make the batch smaller, store weights in fewer bytes, or use --device host`)

/**
 * Appends one kernel call. Tensors by binding name, parameters by name: a missing or misspelled one is a compile error. `share`: the part of the kernel's
 * operations that this step does.
 */
export const step = <B extends Readonly<Record<string, Kernel.Binding>>, P extends Kernel.Parameters>(
  kernel: Kernel.Kernel<B, P>, tensors: { readonly [K in keyof B]: Tensor.Tensor }, params: Kernel.Values<P>, share = 1
): void => {
  const recording = inProgress()
  const slots = Object.keys(kernel.bindings).map((name) => {
    const tensor = tensors[name]!
    if (tensor.parts !== undefined) throw inParts(kernel.name, tensor)
    const { dtype, stored = false } = kernel.bindings[name]!
    if (tensor.dtype !== dtype && !(stored && isStorage(tensor.dtype))) throw new Error(`${kernel.name}: ${name} must be ${dtype}, got ${tensor.dtype}${tensor.slot.label === "" ? "" : ` (${tensor.slot.label})`}`)
    if (!recording.slots.has(tensor.slot.id)) recording.slots.set(tensor.slot.id, tensor.slot) // `retain` may have been there before
    recording.bytes += 4 * tensor.slot.length
    return tensor.slot.id
  })
  const written = Object.keys(kernel.bindings).map((name, at) => kernel.bindings[name]!.access === "read" ? -1 : slots[at]!).filter((id) => id >= 0)
  for (const id of written) if (slots.filter((other) => other === id).length > 1) throw new Error(`${kernel.name}: a tensor it writes is bound twice`)
  recording.steps.push({ kernel: kernel.name, slots, params: Object.keys(kernel.params).map((name) => params[name]!) })
  recording.flops += share * kernel.flops(params)
}

/** Makes a scratch slot outlive the submission: it gets memory of its own in the arena, and nothing is copied. Gives the slot to read by. */
export const retain = (slot: Tensor.Slot, options: { readonly label: string; readonly sharded: boolean }): Tensor.Slot => {
  const { slots } = inProgress(), present = slots.get(slot.id)
  if (present === undefined) throw new Error(`retain: no step of this recording made ${options.label || "the tensor"}`)
  if (present.kept) return present
  const retained: Tensor.Slot = { ...slot, ...options, kept: true }
  slots.set(slot.id, retained)
  return retained
}

/** The step that crosses replicas; devices know it by this name. */
export const sumReplicasStep = "sumReplicas"

/** Sums each tensor over all replicas in place, in replica order, so that every replica holds the same bits. Nothing to do when there is one. */
export const sumReplicas = (tensors: ReadonlyArray<Tensor.Tensor>): void => {
  const recording = inProgress()
  if (recording.replicas === 1 || tensors.length === 0) return
  const parts = tensors.flatMap(Tensor.partsOf)
  for (const { slot } of parts) if (!recording.slots.has(slot.id)) recording.slots.set(slot.id, slot)
  recording.steps.push({ kernel: sumReplicasStep, slots: parts.map(({ slot }) => slot.id), params: [] })
}

/** The other step that crosses replicas: each has computed some columns of the same rows. */
export const joinReplicasStep = "joinReplicas"

/** The columns of all replicas side by side, in replica order: [rows, columns] → [rows, columns · replicas], the same everywhere. The tensor itself when there is one replica. */
export const joinReplicas = (part: Tensor.Tensor): Tensor.Tensor => {
  const recording = inProgress(), [rows, columns] = part.shape as readonly [number, number]
  Tensor.expectShape("joinReplicas", "part", part, [undefined, undefined])
  if (recording.replicas === 1) return part
  const out = scratch([rows, columns * recording.replicas])
  for (const { slot } of [part, out]) if (!recording.slots.has(slot.id)) recording.slots.set(slot.id, slot)
  recording.steps.push({ kernel: joinReplicasStep, slots: [part.slot.id, out.slot.id], params: [rows, columns] })
  return out
}
