/**
 * Number formats of stored tensors, and their way to f32 and back: f32, f16, bf16 and the two 8-bit floats, rounded to the nearest, ties to even.
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
export type Float = Wide | Eight
/** Those that a whole model may be stored in. */
export type Wide = "F32" | "F16" | "BF16"
/** 8-bit floats, for single tensors. */
export type Eight = "F8_E4M3" | "F8_E5M2"

/** Whether a name is a dtype of the format. */
export const isDtype = (name: string): name is Dtype => Object.hasOwn(bits, name)

/** Whether tensors of this dtype are read and written as numbers. */
export const isFloat = (dtype: Dtype): dtype is Float => Object.hasOwn(floats, dtype)
const floats: Readonly<Record<Float, true>> = { F32: true, F16: true, BF16: true, F8_E4M3: true, F8_E5M2: true }

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

/**
 * Of the 8-bit floats: bits of the fraction, bits of the f32 that is the least normal number, and what lies beyond the largest. E4M3 (the FN of its full name:
 * finite) has no infinity and gives its largest number, E5M2 gives infinity, as torch's casts do.
 * Paper: Micikevicius et al., "FP8 Formats for Deep Learning", 2022.
 */
const eights = {
  F8_E4M3: { fraction: 3, least: 0x3c800000, bias: 7, beyond: 0x7e, isLost: (magnitude: number) => magnitude > 464 },
  F8_E5M2: { fraction: 2, least: 0x38800000, bias: 15, beyond: 0x7c, isLost: (magnitude: number) => magnitude >= 61440 && magnitude < Infinity }
} as const

/** Whether this is an 8-bit float. */
export const isEight = (dtype: Dtype): dtype is Eight => Object.hasOwn(eights, dtype)

/** The bits of the 8-bit float nearest to an f32 given by its bits. */
const toEight = (word: number, { beyond, fraction, least }: typeof eights[Eight]): number => {
  const sign = (word >>> 24) & 0x80, magnitude = word & 0x7fffffff, dropped = 23 - fraction
  if (magnitude > 0x7f800000) return sign | 0x7f
  if (magnitude >= least) {
    // exponents count from 1 at `least`
    return sign | Math.min((magnitude - least + 0x800000 + (1 << (dropped - 1)) - 1 + ((magnitude >>> dropped) & 1)) >>> dropped, beyond)
  }
  const shift = dropped + (least >>> 23) - (magnitude >>> 23) // below the least normal number steps are equal
  if (shift > 24) return sign
  const significand = (magnitude & 0x7fffff) | 0x800000, quotient = significand >>> shift, rest = significand & ((1 << shift) - 1), middle = 1 << (shift - 1)
  return sign | (quotient + (rest > middle || (rest === middle && quotient & 1) ? 1 : 0))
}

const eightTables: Partial<Record<Eight, Float32Array>> = {}
/** Every value of an 8-bit float, by its bits. */
const eightTable = (dtype: Eight): Float32Array => eightTables[dtype] ??= Float32Array.from({ length: 256 }, (_, bits) => {
  const { bias, fraction } = eights[dtype], ones = 1 << fraction, exponent = (bits & 0x7f) >> fraction, part = bits & (ones - 1)
  const special = dtype === "F8_E4M3" ? (bits & 0x7f) === 0x7f ? NaN : undefined : exponent === 31 ? part === 0 ? Infinity : NaN : undefined
  const magnitude = special ?? (exponent === 0 ? part * 2 ** (1 - bias - fraction) : (ones + part) * 2 ** (exponent - bias - fraction))
  return bits & 0x80 ? -magnitude : magnitude
})

/** Writes the f32 values of little-endian bytes into `out`. Shapes: bytes [out.length · bits / 8]. */
export const decode = (bytes: Uint8Array, dtype: Float, out: Float32Array): void => {
  if (dtype === "F32") {
    new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes)
    return
  }
  if (isEight(dtype)) {
    const table = eightTable(dtype)
    for (let i = 0; i < out.length; i++) out[i] = table[bytes[i]!]!
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
  if (isEight(dtype)) {
    const format = eights[dtype]
    return Uint8Array.from(source, (word) => toEight(word, format))
  }
  const words = new Uint16Array(values.length)
  if (dtype === "F16") for (let i = 0; i < words.length; i++) words[i] = toHalf(source[i]!)
  else for (let i = 0; i < words.length; i++) words[i] = toBrain(source[i]!)
  return new Uint8Array(words.buffer)
}

/** The index of the first value that lies beyond the dtype's largest, or −1: what would be written as infinity, or cut (E4M3 cuts infinity too). */
export const overflow = (values: Float32Array, dtype: Float): number => {
  if (dtype === "F32") return -1
  if (isEight(dtype)) {
    return values.findIndex((value) => eights[dtype].isLost(Math.abs(value)))
  }
  const [round, infinity, least] = dtype === "F16" ? [toHalf, 0x7c00, 65504] as const : [toBrain, 0x7f80, 3.38e38] as const
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i]!)
    if (magnitude < least || !(magnitude < Infinity)) continue
    scratch[0] = magnitude
    if (round(scratchBits[0]!) === infinity) return i
  }
  return -1
}
