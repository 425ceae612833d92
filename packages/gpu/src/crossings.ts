/**
 * What happens to numbers on their way into an arena and out of it: stored tensors are encoded and decoded, those in parts are cut and joined. Devices
 * know slots of f32 and u32 only; every device's arena is wrapped in this.
 */
import { Effect } from "effect"
import { type Arena, DeviceError } from "./Device.ts"
import { CannotStore, decode, encode, isStorage, type Storage } from "./Storage.ts"
import { partsOf, size, type Tensor } from "./Tensor.ts"

/** The words of a stored tensor, as devices see them. */
const wordsOf = ({ slot }: Tensor): Tensor => ({ shape: [slot.length], dtype: "u32", slot })

/** Arrays of a tensor's parts as one: each replica's rows of every part, replica by replica. */
const concatenated = (parts: ReadonlyArray<Tensor>, arrays: ReadonlyArray<Numbers>): Numbers => {
  const total = arrays.reduce((sum, { length }) => sum + length, 0), whole = arrays[0] instanceof Uint32Array ? new Uint32Array(total) : arrays[0] instanceof Float64Array ? new Float64Array(total) : new Float32Array(total)
  const replicas = arrays[0]!.length / size(parts[0]!.shape)
  let at = 0
  for (let replica = 0; replica < replicas; replica++) for (const [index, part] of parts.entries()) {
    const length = size(part.shape)
    whole.set(arrays[index]!.subarray(replica * length, (replica + 1) * length), at)
    at += length
  }
  return whole
}
type Numbers = Float32Array | Float64Array | Uint32Array

/** The arena with stored tensors and those in parts: f32 or f64 numbers are encoded; a Uint32Array is taken for the words of a stored tensor, as they are. */
export const crossing = (device: string, arena: Arena): Arena => {
  const encoded = (tensor: Tensor, storage: Storage, data: Float32Array | Float64Array): Effect.Effect<Uint32Array, DeviceError> => Effect.suspend(() => {
    const count = size(tensor.shape), doing = `upload ${tensor.slot.label || `a tensor [${tensor.shape.join(", ")}]`}`
    if (data.length !== count) return Effect.fail(new DeviceError({ device, doing, problem: `${data.length} numbers for shape [${tensor.shape.join(", ")}]`, remedy: `Give ${count} numbers.` }))
    try {
      return Effect.succeed(encode(storage, data instanceof Float32Array ? data : Float32Array.from(data)))
    } catch (cause) {
      if (!(cause instanceof CannotStore)) throw cause
      return Effect.fail(new DeviceError({ device, doing, problem: cause.message, remedy: "Store it as bf16 or keep it f32." }))
    }
  })
  const upload: Arena["upload"] = (tensor, data) => !isStorage(tensor.dtype) ? arena.upload(tensor, data)
      : data instanceof Uint32Array ? arena.upload(wordsOf(tensor), data)
      : Effect.flatMap(encoded(tensor, tensor.dtype, data), (words) => arena.upload(wordsOf(tensor), words))
  const read: Arena["read"] = (tensor) => {
    const { dtype, shape } = tensor
    return isStorage(dtype) ? Effect.map(arena.read(wordsOf(tensor)), (words) => decode(dtype, words as Uint32Array, size(shape))) : arena.read(tensor)
  }
  return {
    ...arena,
    upload: (tensor, data) => {
      if (tensor.parts === undefined) return upload(tensor, data)
      const count = size(tensor.shape), row = count / tensor.shape[0]!
      if (data.length !== count) return Effect.fail(new DeviceError({ device, doing: `upload ${tensor.slot.label}`, problem: `${data.length} numbers for shape [${tensor.shape.join(", ")}]`, remedy: `Give ${count} numbers.` }))
      let from = 0
      return Effect.forEach(tensor.parts, (part) => upload(part, data.subarray(from, from += part.shape[0]! * row)), { discard: true })
    },
    read: ({ parts, ...tensor }) => parts === undefined ? read(tensor) : Effect.map(Effect.forEach(parts, read), (arrays) => concatenated(parts, arrays)),
    free: (tensors) => arena.free(tensors.flatMap(partsOf))
  }
}
