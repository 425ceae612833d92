/**
 * What happens to numbers on their way into an arena and out of it: stored tensors are encoded and decoded. Devices know slots of f32 and u32 only;
 * every device's arena is wrapped in this.
 */
import { Effect } from "effect"
import { type Arena, DeviceError } from "./Device.ts"
import { CannotStore, decode, encode, isStorage, type Storage } from "./Storage.ts"
import { size, type Tensor } from "./Tensor.ts"

/** The words of a stored tensor, as devices see them. */
const wordsOf = ({ slot }: Tensor): Tensor => ({ shape: [slot.length], dtype: "u32", slot })

/** The arena with stored tensors: f32 or f64 numbers are encoded; a Uint32Array is taken for their words, as they are. */
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
  return {
    ...arena,
    upload: (tensor, data) => !isStorage(tensor.dtype) ? arena.upload(tensor, data)
      : data instanceof Uint32Array ? arena.upload(wordsOf(tensor), data)
      : Effect.flatMap(encoded(tensor, tensor.dtype, data), (words) => arena.upload(wordsOf(tensor), words)),
    read: (tensor) => {
      const { dtype, shape } = tensor
      return isStorage(dtype) ? Effect.map(arena.read(wordsOf(tensor)), (words) => decode(dtype, words as Uint32Array, size(shape))) : arena.read(tensor)
    }
  }
}
