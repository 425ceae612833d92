/**
 * The block types of GGUF that store points of a lattice (`ggufLattices.ts`): IQ1, IQ2 and IQ3, all of 256 values in a block. Two- and three-bit ones have
 * magnitudes in the lattice and signs beside it; one-bit ones have −1, 0 and 1 there, moved by an eighth up or down.
 *
 * Layouts as in ggml's ggml-quants.c. Every value is exact in f64 and in f32: bit for bit what PyPI's `gguf` gives.
 */
import { half, halfOf } from "./ggufHalf.ts"
import { lattice } from "./ggufLattices.ts"

/** Writes one block's values, `out[to …]`, from its bytes, `bytes[at …]`. */
type Decode = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void

const word = (bytes: Uint8Array, at: number): number => bytes[at]! | bytes[at + 1]! << 8
const long = (bytes: Uint8Array, at: number): number => (word(bytes, at) | word(bytes, at + 2) << 16) >>> 0
const nibble = (bytes: Uint8Array, at: number, i: number): number => bytes[at + (i >> 1)]! >> (i & 1) * 4 & 15

/** The signs of eight values from seven bits: an even number of them is negative. */
const evenSigns = (seven: number): number => {
  let parity = seven ^ seven >> 4
  parity ^= parity >> 2
  return seven | ((parity ^ parity >> 1) & 1) << 7
}

/** The `width` values of a point with these signs, lowest bit first. */
const signed = (points: Int8Array, point: number, width: number, signs: number, scale: number, out: Float32Array, to: number): void => {
  for (let i = 0; i < width; i++) out[to + i] = scale * points[point * width + i]! * (signs >> i & 1 ? -1 : 1)
}
/** The eight values of a point, moved. */
const moved = (points: Int8Array, point: number, by: number, scale: number, out: Float32Array, to: number): void => {
  for (let i = 0; i < 8; i++) out[to + i] = scale * (points[point * 8 + i]! + by)
}

/** Eight groups of 32 values: four bytes of points, then four times seven bits of signs and four of scale. */
export const twoBitsXxs: Decode = (bytes, at, out, to) => {
  const d = half(bytes, at), points = lattice("IQ2_XXS")
  for (let j = 0; j < 8; j++) {
    const from = at + 2 + 8 * j, rest = long(bytes, from + 4), scale = d * (0.5 + (rest >>> 28)) * 0.25
    for (let i = 0; i < 4; i++) signed(points, bytes[from + i]!, 8, evenSigns(rest >>> 7 * i & 127), scale, out, to + 32 * j + 8 * i)
  }
}

/** 32 points of nine bits with seven bits of signs, and four bits of scale for every two. */
export const twoBitsXs: Decode = (bytes, at, out, to) => {
  const d = half(bytes, at), points = lattice("IQ2_XS")
  for (let i = 0; i < 32; i++) {
    const both = word(bytes, at + 2 + 2 * i)
    signed(points, both & 511, 8, evenSigns(both >> 9), d * (0.5 + nibble(bytes, at + 66, i >> 1)) * 0.25, out, to + 8 * i)
  }
}

/** 32 points of ten bits, of which two stand apart, with eight signs each, and four bits of scale for every two. */
export const twoBitsS: Decode = (bytes, at, out, to) => {
  const d = half(bytes, at), points = lattice("IQ2_S")
  for (let i = 0; i < 32; i++) {
    const point = bytes[at + 2 + i]! | (bytes[at + 66 + (i >> 2)]! >> 2 * (i & 3) & 3) << 8
    signed(points, point, 8, bytes[at + 34 + i]!, d * (0.5 + nibble(bytes, at + 74, i >> 1)) * 0.25, out, to + 8 * i)
  }
}

/** Eight groups of eight points of four values; behind all of them, for each group, four times seven bits of signs and four of scale. */
export const threeBitsXxs: Decode = (bytes, at, out, to) => {
  const d = half(bytes, at), points = lattice("IQ3_XXS")
  for (let i = 0; i < 64; i++) {
    const rest = long(bytes, at + 66 + 4 * (i >> 3)), signs = evenSigns(rest >>> 7 * (i >> 1 & 3) & 127) >> 4 * (i & 1)
    signed(points, bytes[at + 2 + i]!, 4, signs, d * (0.5 + (rest >>> 28)) * 0.5, out, to + 4 * i)
  }
}

/** 64 points of four values and nine bits, of which one stands apart, with a sign for every value, and four bits of scale for every eight. */
export const threeBitsS: Decode = (bytes, at, out, to) => {
  const d = half(bytes, at), points = lattice("IQ3_S")
  for (let i = 0; i < 64; i++) {
    const point = bytes[at + 2 + i]! | (bytes[at + 66 + (i >> 3)]! >> (i & 7) & 1) << 8
    signed(points, point, 4, bytes[at + 74 + (i >> 1)]! >> 4 * (i & 1), d * (1 + 2 * nibble(bytes, at + 106, i >> 3)), out, to + 4 * i)
  }
}

/** 32 points of eleven bits; for every four, in two bytes, their highest bits, three bits of scale and the direction in which they are moved. */
export const oneBitS: Decode = (bytes, at, out, to) => {
  const d = half(bytes, at), points = lattice("IQ1_S")
  for (let i = 0; i < 32; i++) {
    const high = word(bytes, at + 34 + 2 * (i >> 2)), point = bytes[at + 2 + i]! | (high >> 3 * (i & 3) & 7) << 8
    moved(points, point, high & 0x8000 ? -0.125 : 0.125, d * (2 * (high >> 12 & 7) + 1), out, to + 8 * i)
  }
}

/** The same with highest bits and direction for each point and three bits of scale for every two; the f16 stands in the four highest bits of the four words of scales. */
export const oneBitM: Decode = (bytes, at, out, to) => {
  const points = lattice("IQ1_S"), scales = [0, 1, 2, 3].map((i) => word(bytes, at + 48 + 2 * i)), d = halfOf(scales.reduce((bits, one, i) => bits | one >> 12 << 4 * i, 0))
  for (let i = 0; i < 32; i++) {
    const high = nibble(bytes, at + 32, i), group = i >> 1
    moved(points, bytes[at + i]! | (high & 7) << 8, high & 8 ? -0.125 : 0.125, d * (2 * (scales[group >> 2]! >> 3 * (group & 3) & 7) + 1), out, to + 8 * i)
  }
}
