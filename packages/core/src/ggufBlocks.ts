/**
 * The block types of GGUF tensors, and their way to f32: a block is a fixed number of values in a fixed number of bytes, with scales of its own.
 *
 * Layouts as in ggml's ggml-quants.c. A scale is an f16 of 11 bits and a quant has at most 8, so every value below is exact in f64 and rounded
 * once when it is stored: bit for bit what PyPI's `gguf` gives.
 */
import * as Dtype from "./Dtype.ts"

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

let halves: Float32Array | undefined
/** The f16 at a byte. */
const half = (bytes: Uint8Array, at: number): number => {
  if (halves === undefined) Dtype.decode(new Uint8Array(Uint16Array.from({ length: 65536 }, (_, bits) => bits).buffer), "F16", halves = new Float32Array(65536))
  return halves[bytes[at]! | bytes[at + 1]! << 8]!
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
  { id: 12, name: "Q4_K", values: 256, bytes: 144, dtype: "F32", decode: (bytes, at, out, to) => groups(bytes, at, undefined, at + 16, out, to) },
  { id: 13, name: "Q5_K", values: 256, bytes: 176, dtype: "F32", decode: (bytes, at, out, to) => groups(bytes, at, at + 16, at + 48, out, to) },
  { id: 14, name: "Q6_K", values: 256, bytes: 210, dtype: "F32", decode: sixBits }
]

/** Types of the format that are not read, for messages. */
export const otherTypes: Readonly<Record<number, string>> = {
  9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
  24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4"
}

/** Writes the f32 values of whole blocks into `out`. Shapes: bytes [blocks · type.bytes], out [blocks · type.values]. Fails: dies when they disagree. */
export const decodeBlocks = (type: BlockType, bytes: Uint8Array, out: Float32Array): void => {
  const blocks = out.length / type.values
  if (blocks * type.bytes !== bytes.length) throw new Error(`decodeBlocks: axis blocks: ${out.length} values of ${type.name} do not lie in ${bytes.length} bytes`)
  if (type.decode === undefined) return Dtype.decode(bytes, type.dtype, out)
  for (let block = 0; block < blocks; block++) type.decode(bytes, block * type.bytes, out, block * type.values)
}
