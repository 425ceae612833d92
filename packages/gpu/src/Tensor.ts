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
/**
 * Numbers that lie in one slot; a storage as `dtype` says how weights lie there that are not f32. What is larger than a device's largest buffer lies
 * in `parts`, entries of the first axis one after another; its own slot has a name and a length, but no memory.
 */
export interface Tensor { readonly shape: ReadonlyArray<number>; readonly dtype: DType | Storage; readonly slot: Slot; readonly parts?: ReadonlyArray<Tensor> }

let identifiers = 0

export const size = (shape: ReadonlyArray<number>): number => shape.reduce((product, axis) => product * axis, 1)

/** A tensor in a new slot. Ops call it for scratch; what outlives a submission is made by `kept`. */
export const allocate = (shape: ReadonlyArray<number>, options: { readonly dtype?: DType | Storage; readonly kept?: boolean; readonly sharded?: boolean; readonly label?: string } = {}): Tensor => {
  const { dtype = "f32", kept = false, sharded = false, label = "" } = options
  for (const axis of shape) if (!Number.isInteger(axis) || axis < 1) throw new Error(`tensor ${label}: shape [${shape.join(", ")}] must hold positive integers`)
  const stored = isStorage(dtype), length = stored ? words(dtype, size(shape)) : size(shape)
  return { shape, dtype, slot: { id: ++identifiers, length, dtype: stored ? "u32" : dtype, kept, sharded, label } }
}

/** The parts that a tensor lies in: itself alone unless it was too large for one buffer. */
export const partsOf = (tensor: Tensor): ReadonlyArray<Tensor> => tensor.parts ?? [tensor]

/** The tensor that these make one after another along the first axis, lying where they lie. Ops that can take it by parts do; others refuse it by name. */
export const joined = (parts: ReadonlyArray<Tensor>, label = ""): Tensor => {
  const [first] = parts
  if (first === undefined) throw new Error("joined: parts must not be empty")
  const { dtype, shape, slot } = first, rows = parts.reduce((sum, part) => sum + part.shape[0]!, 0), whole = [rows, ...shape.slice(1)]
  return { shape: whole, dtype, slot: { ...slot, id: ++identifiers, length: size(whole), label }, parts }
}

/**
 * A tensor that lives in the arena until it is freed: weights, optimizer state, inputs, outputs to be read. Zero at first.
 *
 * Options: `dtype` may be a storage, for weights that are not trained; `largest`, in bytes: above it the tensor lies in parts of about equal length.
 */
export const kept = (shape: ReadonlyArray<number>, options: { readonly dtype?: DType | Storage; readonly sharded?: boolean; readonly label?: string; readonly largest?: number | undefined } = {}): Tensor => {
  const { largest = Infinity, ...rest } = options, { dtype = "f32", label = "" } = rest
  const bytesOf = (shape: ReadonlyArray<number>) => 4 * (isStorage(dtype) ? words(dtype, size(shape)) : size(shape)), [rows = 1, ...row] = shape
  let count = 1
  while (count < rows && bytesOf([Math.ceil(rows / count), ...row]) > largest) count++
  if (count === 1 || rest.sharded === true) return allocate(shape, { ...rest, kept: true })
  const each = Math.ceil(rows / count), starts = Array.from({ length: Math.ceil(rows / each) }, (_, at) => at * each)
  return joined(starts.map((from) => allocate([Math.min(each, rows - from), ...row], { ...rest, kept: true, label: `${label}[${from}…]` })), label)
}
/** A kept f32 tensor of the shape of another, in as many parts. */
export const like = (tensor: Tensor, label: string): Tensor =>
  tensor.parts === undefined ? kept(tensor.shape, { label }) : joined(tensor.parts.map((part, at) => like(part, `${label}[${at}]`)), label)

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
