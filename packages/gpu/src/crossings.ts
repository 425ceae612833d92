/**
 * What happens to numbers on their way into an arena and out of it: stored tensors are encoded and decoded, those in parts are cut and joined. Devices
 * know slots of f32 and u32 only; every device's arena is wrapped in this.
 */
import { Effect } from "effect"
import { type Arena, DeviceError } from "./Device.ts"
import { CannotStore, decode, encode, isStorage, type Storage } from "./Storage.ts"
import { partsOf, size, type Tensor } from "./Tensor.ts"

/** The words of a stored tensor, as devices see them: of a sharded one those of a replica. */
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

/** What `of` gives for each of so many equal shares, as one array. */
const inShares = <A extends Float32Array | Uint32Array>(count: number, length: number, of: (from: number, to: number) => A): A => {
  const shares = Array.from({ length: count }, (_, share) => of(share * length, (share + 1) * length)), [first] = shares
  if (count === 1) return first!
  const whole = new (first!.constructor as new (length: number) => A)(shares.reduce((sum, share) => sum + share.length, 0))
  let at = 0
  for (const share of shares) { whole.set(share, at); at += share.length }
  return whole
}

/**
 * The arena with stored tensors and those in parts: f32 or f64 numbers are encoded, each replica's share of a sharded tensor by itself; a Uint32Array is taken for the words of a stored
 * tensor, as they are.
 */
export const crossing = (device: string, arena: Arena): Arena => {
  const encoded = (tensor: Tensor, storage: Storage, data: Float32Array | Float64Array): Effect.Effect<Uint32Array, DeviceError> => Effect.suspend(() => {
    const count = size(tensor.shape), replicas = tensor.slot.sharded ? Math.max(1, Math.floor(data.length / count)) : 1, doing = `upload ${tensor.slot.label || `a tensor [${tensor.shape.join(", ")}]`}`
    if (data.length !== replicas * count) return Effect.fail(new DeviceError({ device, doing, problem: `${data.length} numbers for shape [${tensor.shape.join(", ")}]`, remedy: `Give ${count} numbers${tensor.slot.sharded ? " for each replica" : ""}.` }))
    try {
      const numbers = data instanceof Float32Array ? data : Float32Array.from(data)
      return Effect.succeed(inShares(replicas, count, (from, to) => encode(storage, numbers.subarray(from, to), from)))
    } catch (cause) {
      if (!(cause instanceof CannotStore)) throw cause
      return Effect.fail(new DeviceError({ device, doing, problem: cause.message, remedy: "Store it as bf16 or keep it f32." }))
    }
  })
  const upload: Arena["upload"] = (tensor, data) => !isStorage(tensor.dtype) ? arena.upload(tensor, data)
      : data instanceof Uint32Array ? arena.upload(wordsOf(tensor), data)
      : Effect.flatMap(encoded(tensor, tensor.dtype, data), (words) => arena.upload(wordsOf(tensor), words))
  const read: Arena["read"] = (tensor) => {
    const { dtype, shape, slot } = tensor
    return isStorage(dtype) ? Effect.map(arena.read(wordsOf(tensor)), (words) => inShares(words.length / slot.length, slot.length, (from, to) => decode(dtype, (words as Uint32Array).subarray(from, to), size(shape)))) : arena.read(tensor)
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
