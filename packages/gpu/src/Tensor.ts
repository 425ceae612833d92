/**
 * A tensor is a description: shape, type and the slot of the arena it will live in. It holds no numbers; `Arena.upload` and
 * `Arena.read` are the only crossings between numbers and tensors.
 */
import type { DType } from "./Kernel.ts"
import { isStorage, type Storage, words } from "./Storage.ts"

/** A place in the arena. Kept slots live from one submission to the next, scratch slots inside one. */
export interface Slot {
  readonly id: number
  /** Elements of four bytes: numbers, or words of a stored tensor. */
  readonly length: number
  readonly dtype: DType
  readonly kept: boolean
  /** Each replica has rows of its own (upload splits along axis 0, read concatenates); otherwise all replicas hold the same. */
  readonly sharded: boolean
  readonly label: string
}
/** Numbers that lie in one slot; a storage as `dtype` says how weights lie there that are not f32. */
export interface Tensor { readonly shape: ReadonlyArray<number>; readonly dtype: DType | Storage; readonly slot: Slot }

let identifiers = 0

export const size = (shape: ReadonlyArray<number>): number => shape.reduce((product, axis) => product * axis, 1)

/** A tensor in a new slot. Ops call it for scratch; what outlives a submission is made by `kept`. */
export const allocate = (shape: ReadonlyArray<number>, options: { readonly dtype?: DType | Storage; readonly kept?: boolean; readonly sharded?: boolean; readonly label?: string } = {}): Tensor => {
  const { dtype = "f32", kept = false, sharded = false, label = "" } = options
  for (const axis of shape) if (!Number.isInteger(axis) || axis < 1) throw new Error(`tensor ${label}: shape [${shape.join(", ")}] must hold positive integers`)
  const stored = isStorage(dtype), length = stored ? words(dtype, size(shape)) : size(shape)
  if (stored && sharded) throw new Error(`tensor ${label}: what is stored as ${dtype} is the same on all replicas, not sharded`)
  return { shape, dtype, slot: { id: ++identifiers, length, dtype: stored ? "u32" : dtype, kept, sharded, label } }
}

/** A tensor that lives in the arena until it is freed: weights, optimizer state, inputs, outputs to be read. Zero at first. Options: `dtype` may be a storage, for weights that are not trained. */
export const kept = (shape: ReadonlyArray<number>, options: { readonly dtype?: DType | Storage; readonly sharded?: boolean; readonly label?: string } = {}): Tensor => allocate(shape, { ...options, kept: true })

/** Fails, naming the op and the axis, when a shape is not the one expected (`undefined` accepts any length). Options: `dtype`; "weight" is f32 or any storage. */
export const expectShape = (op: string, name: string, tensor: Tensor, expected: ReadonlyArray<number | undefined>, dtype: DType | "weight" = "f32"): void => {
  if (dtype === "weight" ? tensor.dtype !== "f32" && !isStorage(tensor.dtype) : tensor.dtype !== dtype) {
    throw new Error(`${op}: ${name} must be ${dtype === "weight" ? "f32 or stored" : dtype}, got ${tensor.dtype}${isStorage(tensor.dtype) ? ` (${tensor.slot.label}: this op does not widen what it reads)` : ""}`)
  }
  if (tensor.shape.length !== expected.length) throw new Error(`${op}: ${name} must have ${expected.length} axes, got [${tensor.shape.join(", ")}]`)
  expected.forEach((axis, at) => {
    if (axis !== undefined && axis !== tensor.shape[at]) throw new Error(`${op}: ${name} axis ${at} expected ${axis}, got ${tensor.shape[at]}`)
  })
}
