/**
 * Number formats of stored tensors, and their way to f32 and back: f32, f16 and bf16, rounded to the nearest, ties to even.
 *
 * All other formats of safetensors are known by name and width, so that a file can be checked whole, but are carried as raw bytes only.
 */

/** Bits of one element, for every dtype of the safetensors format. */
export const bits = {
  BOOL: 8, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8, F8_E4M3FNUZ: 8, F8_E5M2FNUZ: 8, I16: 16, U16: 16, F16: 16, BF16: 16,
  I32: 32, U32: 32, F32: 32, C64: 64, I64: 64, U64: 64, F64: 64, F4: 4, F6_E2M3: 6, F6_E3M2: 6
} as const
export type Dtype = keyof typeof bits

/** The dtypes that are read as numbers. */
export type Float = "F32" | "F16" | "BF16"

/** Whether a name is a dtype of the format. */
export const isDtype = (name: string): name is Dtype => Object.hasOwn(bits, name)

/** Whether tensors of this dtype are read and written as numbers. */
export const isFloat = (dtype: Dtype): dtype is Float => dtype === "F32" || dtype === "F16" || dtype === "BF16"

const scratch = new Float32Array(1)
const scratchBits = new Uint32Array(scratch.buffer)

let halves: Float32Array | undefined
/** Every f16 as f32, by its bits: 65,536 entries, made when first needed. */
const halfTable = (): Float32Array => {
  if (halves !== undefined) return halves
  halves = new Float32Array(65536)
  for (let half = 0; half < 65536; half++) {
    const exponent = (half >>> 10) & 31, fraction = half & 1023
    const magnitude = exponent === 31 ? (fraction === 0 ? Infinity : NaN) : exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25)
    halves[half] = half & 0x8000 ? -magnitude : magnitude
  }
  return halves
}

/** The bits of the bf16 nearest to an f32 given by its bits. */
const toBrain = (word: number): number =>
  (word & 0x7fffffff) > 0x7f800000 ? (word >>> 16) | 0x40 : (word + 0x7fff + ((word >>> 16) & 1)) >>> 16

/** The bits of the f16 nearest to an f32 given by its bits. */
const toHalf = (word: number): number => {
  const sign = (word >>> 16) & 0x8000, magnitude = word & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x477ff000) return sign | 0x7c00 // from 65520 on the nearest is infinity
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
  if (magnitude < 0x33000000) return sign // below 2^-25 the nearest is zero
  const shift = 126 - (magnitude >>> 23), significand = (magnitude & 0x7fffff) | 0x800000
  const quotient = significand >>> shift, rest = significand & ((1 << shift) - 1), middle = 1 << (shift - 1)
  return sign | (quotient + (rest > middle || (rest === middle && quotient & 1) ? 1 : 0))
}

/** Writes the f32 values of little-endian bytes into `out`. Shapes: bytes [out.length · bits / 8]. */
export const decode = (bytes: Uint8Array, dtype: Float, out: Float32Array): void => {
  if (dtype === "F32") {
    new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes)
    return
  }
  const words = new Uint16Array(bytes.byteOffset % 2 === 0 ? bytes.buffer : bytes.slice().buffer, bytes.byteOffset % 2 === 0 ? bytes.byteOffset : 0, out.length)
  if (dtype === "F16") {
    const table = halfTable()
    for (let i = 0; i < out.length; i++) out[i] = table[words[i]!]!
    return
  }
  const target = new Uint32Array(out.buffer, out.byteOffset, out.length)
  for (let i = 0; i < out.length; i++) target[i] = words[i]! << 16
}

/** The little-endian bytes of f32 values, rounded to the nearest of the dtype, ties to even. F32 shares the values' memory. */
export const encode = (values: Float32Array, dtype: Float): Uint8Array => {
  const source = new Uint32Array(values.buffer, values.byteOffset, values.length)
  if (dtype === "F32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  const words = new Uint16Array(values.length)
  if (dtype === "F16") for (let i = 0; i < words.length; i++) words[i] = toHalf(source[i]!)
  else for (let i = 0; i < words.length; i++) words[i] = toBrain(source[i]!)
  return new Uint8Array(words.buffer)
}

/** The index of the first finite value that the dtype can only write as infinity, or −1. */
export const overflow = (values: Float32Array, dtype: Float): number => {
  if (dtype === "F32") return -1
  const [round, infinity, least] = dtype === "F16" ? [toHalf, 0x7c00, 65504] as const : [toBrain, 0x7f80, 3.38e38] as const
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i]!)
    if (magnitude < least || !(magnitude < Infinity)) continue
    scratch[0] = magnitude
    if (round(scratchBits[0]!) === infinity) return i
  }
  return -1
}
