/**
 * The block types of GGUF tensors, and their way to f32: a block is a fixed number of values in a fixed number of bytes, with scales of its own.
 *
 * Layouts as in ggml's ggml-quants.c. A scale is an f16 of 11 bits and a quant has at most 8, so every value below is exact in f64 and rounded
 * once when it is stored: bit for bit what PyPI's `gguf` gives.
 */
import * as Dtype from "./Dtype.ts"
import { half } from "./ggufHalf.ts"
import * as latticeBlocks from "./ggufLatticeBlocks.ts"

/** Writes one block's values, `out[to …]`, from its bytes, `bytes[at …]`. */
type Decode = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void

/** A tensor type. `dtype`: the format of safetensors that holds every value. Units: `values` and `bytes` of one block. */
export interface BlockType {
  readonly id: number
  readonly name: string
  readonly values: number
  readonly bytes: number
  readonly dtype: Dtype.Float
  readonly decode?: Decode
}

/** 32 values: low nibbles first, then high ones; a fifth bit from `high` when it is given. */
const nibbles = (bytes: Uint8Array, low: number, high: number | undefined, scale: number, offset: number, minimum: number | undefined, out: Float32Array, to: number): void => {
  for (let i = 0; i < 32; i++) {
    const four = i < 16 ? bytes[low + i]! & 15 : bytes[low + i - 16]! >> 4
    const quant = high === undefined ? four : four | (bytes[high + (i >> 3)]! >> (i & 7) & 1) << 4
    out[to + i] = minimum === undefined ? scale * (quant - offset) : scale * quant + minimum
  }
}

/** The six bits of the scale and of the minimum of the j-th of eight groups, from twelve bytes. */
const scaleOf = (bytes: Uint8Array, at: number, j: number): number => j < 4 ? bytes[at + j]! & 63 : bytes[at + j + 4]! & 15 | bytes[at + j - 4]! >> 6 << 4
const minimumOf = (bytes: Uint8Array, at: number, j: number): number => j < 4 ? bytes[at + j + 4]! & 63 : bytes[at + j + 4]! >> 4 | bytes[at + j]! >> 6 << 4

/** 256 values in eight groups of 32, each with scale and minimum; `high`, where the fifth bits stand. */
const groups = (bytes: Uint8Array, at: number, high: number | undefined, low: number, out: Float32Array, to: number): void => {
  const d = half(bytes, at), m = half(bytes, at + 2)
  for (let j = 0; j < 8; j++) {
    const scale = d * scaleOf(bytes, at + 4, j), minimum = m * minimumOf(bytes, at + 4, j), from = low + (j >> 1) * 32
    for (let i = 0; i < 32; i++) {
      const four = bytes[from + i]! >> (j & 1) * 4 & 15
      out[to + j * 32 + i] = scale * (high === undefined ? four : four | (bytes[high + i]! >> j & 1) << 4) - minimum
    }
  }
}

const sixBits: Decode = (bytes, at, out, to) => {
  const d = half(bytes, at + 208)
  for (let i = 0; i < 256; i++) {
    const part = i >> 7, within = i & 127 // two halves of 128 values, each with 64 bytes of nibbles and 32 of pairs of bits
    const four = bytes[at + part * 64 + (within & 63)]! >> (within >> 6) * 4 & 15
    const two = bytes[at + 128 + part * 32 + (within & 31)]! >> (within >> 5) * 2 & 3
    out[to + i] = d * (bytes[at + 192 + (i >> 4)]! << 24 >> 24) * ((four | two << 4) - 32)
  }
}

/** 256 values of two bits in sixteen groups, with four bits each of scale and minimum. */
const twoBits: Decode = (bytes, at, out, to) => {
  const d = half(bytes, at + 80), m = half(bytes, at + 82)
  for (let i = 0; i < 256; i++) {
    const group = bytes[at + (i >> 4)]!, quant = bytes[at + 16 + (i >> 7) * 32 + (i & 31)]! >> (i >> 5 & 3) * 2 & 3
    out[to + i] = d * (group & 15) * quant - m * (group >> 4)
  }
}

/** 256 values of three bits, the highest of which stands apart and counts −4 where it is not set, in sixteen groups with six bits of scale. */
const threeBits: Decode = (bytes, at, out, to) => {
  const d = half(bytes, at + 108), scales = at + 96
  for (let i = 0; i < 256; i++) {
    const j = i >> 4, scale = (bytes[scales + (j & 7)]! >> (j >> 3) * 4 & 15 | (bytes[scales + 8 + (j & 3)]! >> (j >> 2) * 2 & 3) << 4) - 32
    const low = bytes[at + 32 + (i >> 7) * 32 + (i & 31)]! >> (i >> 5 & 3) * 2 & 3, high = bytes[at + (i & 31)]! >> (i >> 5) & 1
    out[to + i] = d * scale * (low - (high === 1 ? 0 : 4))
  }
}

/** The sixteen values of a non-linear nibble, and those of a float of four bits (E2M1), doubled; there is no −0, as in gguf. */
const nonLinear = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], fourBitFloats = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]
/** 32 values by their nibbles: low ones first, then high ones. */
const looked = (bytes: Uint8Array, at: number, values: ReadonlyArray<number>, scale: number, out: Float32Array, to: number): void => {
  for (let i = 0; i < 32; i++) out[to + i] = scale * values[i < 16 ? bytes[at + i]! & 15 : bytes[at + i - 16]! >> 4]!
}

/** An f8 (E4M3) without a sign, halved because the table of four-bit floats is doubled; 127 is 0, as in gguf. */
const unsignedEight = (byte: number): number => {
  const exponent = byte >> 3 & 15, fraction = byte & 7
  return byte === 127 ? 0 : exponent === 0 ? fraction * 2 ** -10 : (8 + fraction) * 2 ** (exponent - 11)
}
/** 64 values by four-bit floats, in four groups of 16 with a scale each. */
const fourBitGroups: Decode = (bytes, at, out, to) => {
  for (let j = 0; j < 4; j++) {
    const scale = unsignedEight(bytes[at + j]!)
    for (let i = 0; i < 16; i++) out[to + 16 * j + i] = scale * fourBitFloats[i < 8 ? bytes[at + 4 + 8 * j + i]! & 15 : bytes[at + 4 + 8 * j + i - 8]! >> 4]!
  }
}

/** 256 values by non-linear nibbles, in eight groups with six bits of scale. */
const nonLinearGroups: Decode = (bytes, at, out, to) => {
  const d = half(bytes, at), high = bytes[at + 2]! | bytes[at + 3]! << 8
  for (let j = 0; j < 8; j++) looked(bytes, at + 8 + 16 * j, nonLinear, d * ((bytes[at + 4 + (j >> 1)]! >> (j & 1) * 4 & 15 | (high >> 2 * j & 3) << 4) - 32), out, to + 32 * j)
}

/** 256 values of −1, 0 and 1, as digits to base three: five to a byte, the last sixteen four to a byte. */
const threes: Decode = (bytes, at, out, to) => {
  const d = half(bytes, at + 52)
  for (let i = 0; i < 256; i++) {
    const [from, digit] = i < 160 ? [i & 31, i >> 5] : i < 240 ? [32 + (i & 15), (i - 160) >> 4] : [48 + (i & 3), (i - 240) >> 2]
    out[to + i] = d * (((bytes[at + from]! * 3 ** digit & 255) * 3 >> 8) - 1)
  }
}

/** The same in two bits each. */
const pairs: Decode = (bytes, at, out, to) => {
  const d = half(bytes, at + 64)
  for (let i = 0; i < 256; i++) out[to + i] = d * ((bytes[at + (i >> 7) * 32 + (i & 31)]! >> (i >> 5 & 3) * 2 & 3) - 1)
}

/** Every type that is read. */
export const blockTypes: ReadonlyArray<BlockType> = [
  { id: 0, name: "F32", values: 1, bytes: 4, dtype: "F32" },
  { id: 1, name: "F16", values: 1, bytes: 2, dtype: "F16" },
  { id: 30, name: "BF16", values: 1, bytes: 2, dtype: "BF16" },
  { id: 2, name: "Q4_0", values: 32, bytes: 18, dtype: "F32", decode: (bytes, at, out, to) => nibbles(bytes, at + 2, undefined, half(bytes, at), 8, undefined, out, to) },
  { id: 3, name: "Q4_1", values: 32, bytes: 20, dtype: "F32", decode: (bytes, at, out, to) => nibbles(bytes, at + 4, undefined, half(bytes, at), 0, half(bytes, at + 2), out, to) },
  { id: 6, name: "Q5_0", values: 32, bytes: 22, dtype: "F32", decode: (bytes, at, out, to) => nibbles(bytes, at + 6, at + 2, half(bytes, at), 16, undefined, out, to) },
  { id: 7, name: "Q5_1", values: 32, bytes: 24, dtype: "F32", decode: (bytes, at, out, to) => nibbles(bytes, at + 8, at + 4, half(bytes, at), 0, half(bytes, at + 2), out, to) },
  {
    id: 8, name: "Q8_0", values: 32, bytes: 34, dtype: "F32", decode: (bytes, at, out, to) => {
      const d = half(bytes, at)
      for (let i = 0; i < 32; i++) out[to + i] = d * (bytes[at + 2 + i]! << 24 >> 24)
    }
  },
  { id: 10, name: "Q2_K", values: 256, bytes: 84, dtype: "F32", decode: twoBits },
  { id: 11, name: "Q3_K", values: 256, bytes: 110, dtype: "F32", decode: threeBits },
  { id: 12, name: "Q4_K", values: 256, bytes: 144, dtype: "F32", decode: (bytes, at, out, to) => groups(bytes, at, undefined, at + 16, out, to) },
  { id: 13, name: "Q5_K", values: 256, bytes: 176, dtype: "F32", decode: (bytes, at, out, to) => groups(bytes, at, at + 16, at + 48, out, to) },
  { id: 14, name: "Q6_K", values: 256, bytes: 210, dtype: "F32", decode: sixBits },
  { id: 20, name: "IQ4_NL", values: 32, bytes: 18, dtype: "F32", decode: (bytes, at, out, to) => looked(bytes, at + 2, nonLinear, half(bytes, at), out, to) },
  { id: 23, name: "IQ4_XS", values: 256, bytes: 136, dtype: "F32", decode: nonLinearGroups },
  { id: 34, name: "TQ1_0", values: 256, bytes: 54, dtype: "F32", decode: threes },
  { id: 35, name: "TQ2_0", values: 256, bytes: 66, dtype: "F32", decode: pairs },
  // the scale is a power of two alone; the table is doubled, so half of it is taken
  { id: 39, name: "MXFP4", values: 32, bytes: 17, dtype: "F32", decode: (bytes, at, out, to) => looked(bytes, at + 1, fourBitFloats, 2 ** (bytes[at]! - 128), out, to) },
  { id: 40, name: "NVFP4", values: 64, bytes: 36, dtype: "F32", decode: fourBitGroups },
  { id: 19, name: "IQ1_S", values: 256, bytes: 50, dtype: "F32", decode: latticeBlocks.oneBitS },
  { id: 29, name: "IQ1_M", values: 256, bytes: 56, dtype: "F32", decode: latticeBlocks.oneBitM },
  { id: 16, name: "IQ2_XXS", values: 256, bytes: 66, dtype: "F32", decode: latticeBlocks.twoBitsXxs },
  { id: 17, name: "IQ2_XS", values: 256, bytes: 74, dtype: "F32", decode: latticeBlocks.twoBitsXs },
  { id: 22, name: "IQ2_S", values: 256, bytes: 82, dtype: "F32", decode: latticeBlocks.twoBitsS },
  { id: 18, name: "IQ3_XXS", values: 256, bytes: 98, dtype: "F32", decode: latticeBlocks.threeBitsXxs },
  { id: 21, name: "IQ3_S", values: 256, bytes: 110, dtype: "F32", decode: latticeBlocks.threeBitsS }
]

/** Types of the format that are not read, for messages. */
export const otherTypes: Readonly<Record<number, string>> = { 9: "Q8_1", 15: "Q8_K", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 41: "Q1_0" }

/** Writes the f32 values of whole blocks into `out`. Shapes: bytes [blocks · type.bytes], out [blocks · type.values]. Fails: dies when they disagree. */
export const decodeBlocks = (type: BlockType, bytes: Uint8Array, out: Float32Array): void => {
  const blocks = out.length / type.values
  if (blocks * type.bytes !== bytes.length) throw new Error(`decodeBlocks: axis blocks: ${out.length} values of ${type.name} do not lie in ${bytes.length} bytes`)
  if (type.decode === undefined) return Dtype.decode(bytes, type.dtype, out)
  for (let block = 0; block < blocks; block++) type.decode(bytes, block * type.bytes, out, block * type.values)
}
