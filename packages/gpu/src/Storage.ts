/**
 * How weights lie on a device when they need not be f32: as bf16 or f16, or in blocks of 32 numbers that share a scale, eight or four bits each.
 * Products and gathers widen them where they use them; arithmetic is f32 throughout. What is stored is read, not trained.
 *
 * A stored tensor is one run of 32-bit words, numbers in their order, lowest bits first. bf16 and f16: two to a word, as a file's bytes stand. q8: four
 * integers from −127 to 127 to a word, then each block's scale as f16, two to a word; q4: eight integers from 0 to 15 (less 8) to a word, then the scales.
 * A number is its integer times its block's scale, as in GGML's Q8_0 and Q4_0; blocks follow the numbers, not the rows.
 */
import { Dtype } from "@switchyard/core"
import { Schema } from "effect"

export const storages = ["bf16", "f16", "q8", "q4"] as const
export const Storage = Schema.Literals(storages)
export type Storage = typeof Storage.Type

/** Numbers that share a scale. */
export const blockLength = 32
const largest = { q8: 127, q4: 7 } as const

export const isStorage = (dtype: string): dtype is Storage => (storages as ReadonlyArray<string>).includes(dtype)

/** What kernels call a storage: their parameter `format`. */
export const formatOf = (storage: Storage): number => storages.indexOf(storage)

/** Words of integers or short floats, before the scales. */
const wordsOfNumbers = (storage: Storage, length: number): number => Math.ceil(length / (storage === "q4" ? 8 : storage === "q8" ? 4 : 2))
/** Words that a tensor of `length` numbers takes. */
export const words = (storage: Storage, length: number): number =>
  wordsOfNumbers(storage, length) + (storage === "q8" || storage === "q4" ? Math.ceil(Math.ceil(length / blockLength) / 2) : 0)

/** Numbers that the storage cannot hold. */
export class CannotStore extends Error {}

/** The words of these numbers, each rounded to the nearest that the storage has. Throws: `CannotStore` names the first number that it cannot hold, counted from `first` on. */
export const encode = (storage: Storage, data: Float32Array, first = 0): Uint32Array => {
  const out = new Uint32Array(words(storage, data.length))
  if (storage === "bf16" || storage === "f16") {
    const dtype = storage === "bf16" ? "BF16" : "F16", over = Dtype.overflow(data, dtype)
    if (over >= 0) throw new CannotStore(`number ${first + over} is ${data[over]}, more than ${storage} can hold`)
    new Uint8Array(out.buffer).set(Dtype.encode(data, dtype))
    return out
  }
  const scales = Float32Array.from({ length: Math.ceil(data.length / blockLength) }, (_, block) => {
    let most = 0
    for (let i = block * blockLength; i < Math.min((block + 1) * blockLength, data.length); i++) {
      if (!Number.isFinite(data[i]!)) throw new CannotStore(`number ${first + i} is ${data[i]}, which ${storage} cannot hold`)
      if (Math.abs(data[i]!) > Math.abs(most)) most = data[i]!
    }
    return storage === "q8" ? Math.abs(most) / largest.q8 : most / -8 // q4: the largest becomes −8 exactly
  })
  const over = Dtype.overflow(scales, "F16")
  if (over >= 0) throw new CannotStore(`numbers from ${first + over * blockLength} on need a scale of ${scales[over]}, more than f16 can hold`)
  const halves = Dtype.encode(scales, "F16"), rounded = new Float32Array(scales.length)
  Dtype.decode(halves, "F16", rounded)
  new Uint8Array(out.buffer, wordsOfNumbers(storage, data.length) * 4).set(halves)
  for (let i = 0; i < data.length; i++) {
    const scale = rounded[Math.floor(i / blockLength)]!, ratio = scale === 0 ? 0 : data[i]! / scale
    if (storage === "q8") out[i >> 2]! |= (Math.max(-127, Math.min(127, Math.round(ratio))) & 0xff) << 8 * (i & 3)
    else out[i >> 3]! |= Math.max(0, Math.min(15, Math.round(ratio) + 8)) << 4 * (i & 7)
  }
  return out
}

/** The numbers of words: `total` of them, or `count` from number `from` on. */
export const decode = (storage: Storage, data: Uint32Array, total: number, from = 0, count = total): Float32Array => {
  const out = new Float32Array(count), bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  if (storage === "bf16" || storage === "f16") {
    Dtype.decode(bytes.subarray(2 * from, 2 * (from + count)), storage === "bf16" ? "BF16" : "F16", out)
    return out
  }
  const at = wordsOfNumbers(storage, total) * 4, scales = new Float32Array(Math.ceil(total / blockLength))
  Dtype.decode(bytes.subarray(at, at + 2 * scales.length), "F16", scales)
  for (let k = 0; k < count; k++) {
    const i = from + k, scale = scales[Math.floor(i / blockLength)]!
    out[k] = scale * (storage === "q8" ? data[i >> 2]! << (24 - 8 * (i & 3)) >> 24 : (data[i >> 3]! >>> 4 * (i & 7) & 15) - 8)
  }
  return out
}
/** As `decode`, by a kernel's parameters. */
export const widened = (format: number, data: Uint32Array, total: number, from: number, count: number): Float32Array => decode(storages[format]!, data, total, from, count)
