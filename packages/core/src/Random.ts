/**
 * Counter-based random numbers: Philox 4×32-10, keyed by (seed, name, index).
 *
 * There is no state to carry, save or lose: the i-th number of a stream is a function of the seed, the stream's name and i. A resumed run
 * draws what the interrupted one would have drawn, threads need no agreement, and a device that implements the same ten rounds makes the
 * same integers. Paper: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 */
import { createHash } from "node:crypto"

/** A stream of random numbers as plain data: the key comes from the seed, half of the counter from the name. */
export interface Source {
  readonly key: readonly [number, number]
  readonly stream: readonly [number, number]
}

/** The stream of this seed and name. Fails: dies when the seed is not an integer in 0 … 2^53 − 1. */
export const make = (seed: number, name: string): Source => {
  if (!Number.isSafeInteger(seed) || seed < 0) throw new Error(`Random.make: seed must be an integer from 0 to 2^53 - 1, got ${seed}`)
  const digest = createHash("sha256").update(name, "utf8").digest()
  return { key: [seed >>> 0, Math.floor(seed / 4294967296)], stream: [digest.readUInt32LE(0), digest.readUInt32LE(4)] }
}

/** Upper half of the 64-bit product of two unsigned 32-bit integers. */
const multiplyHigh = (a: number, b: number): number => {
  const aLow = a & 0xffff, aHigh = a >>> 16, bLow = b & 0xffff, bHigh = b >>> 16
  const first = aHigh * bLow + ((aLow * bLow) >>> 16)
  const second = aLow * bHigh + (first & 0xffff)
  return (aHigh * bHigh + (first >>> 16) + (second >>> 16)) >>> 0
}

/** One block: ten rounds over a 128-bit counter under a 64-bit key give four unsigned 32-bit integers, written to `out` at `at`. */
export const philox = (c0: number, c1: number, c2: number, c3: number, k0: number, k1: number, out: Uint32Array, at = 0): void => {
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0), low0 = Math.imul(0xd2511f53, c0)
    const high1 = multiplyHigh(0xcd9e8d57, c2), low1 = Math.imul(0xcd9e8d57, c2)
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1 >>> 0
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0 >>> 0
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  out[at] = c0
  out[at + 1] = c1
  out[at + 2] = c2
  out[at + 3] = c3
}

const block = (source: Source, index: number, out: Uint32Array): void =>
  philox(index >>> 0, Math.floor(index / 4294967296), source.stream[0], source.stream[1], source.key[0], source.key[1], out)

/** Fills `out` with the unsigned 32-bit integers number `from`, `from + 1`, … of the stream. */
export const fillUnsigned = (source: Source, out: Uint32Array, from = 0): Uint32Array => {
  const four = new Uint32Array(4)
  for (let i = 0; i < out.length; i++) {
    const index = from + i, lane = index % 4
    if (lane === 0 || i === 0) block(source, Math.floor(index / 4), four)
    out[i] = four[lane]!
  }
  return out
}

/** Number `index` of the stream as an unsigned 32-bit integer. */
export const unsigned = (source: Source, index: number): number => fillUnsigned(source, new Uint32Array(1), index)[0]!

/** Number `index` as a multiple of 2^-24 in [0, 1): exact in f32, so equal on every device. */
export const uniform = (source: Source, index: number): number => (unsigned(source, index) >>> 8) * 2 ** -24

/** Fills `out` with the uniform numbers `from`, `from + 1`, … of the stream, each in [0, 1). */
export const fillUniform = (source: Source, out: Float32Array, from = 0): Float32Array => {
  const words = fillUnsigned(source, new Uint32Array(out.length), from)
  for (let i = 0; i < out.length; i++) out[i] = (words[i]! >>> 8) * 2 ** -24
  return out
}

/** Number `index` as a multiple of 2^-53 in [0, 1), made of the stream's words 2·index and 2·index + 1: for choices on the host. */
export const uniform64 = (source: Source, index: number): number => {
  const pair = fillUnsigned(source, new Uint32Array(2), 2 * index)
  return ((pair[0]! >>> 5) * 67108864 + (pair[1]! >>> 6)) * 2 ** -53
}

/** Fills `out` with normal numbers `from`, `from + 1`, …, by Box and Muller over pairs of uniform numbers. Host only. Options: mean 0, deviation 1. */
export const fillNormal = (source: Source, out: Float32Array, options: { readonly mean?: number; readonly deviation?: number; readonly from?: number } = {}): Float32Array => {
  const { mean = 0, deviation = 1, from = 0 } = options
  const first = from - (from % 2)
  const words = fillUnsigned(source, new Uint32Array(out.length + 2), first)
  for (let i = 0; i < out.length; i++) {
    const at = from + i - first, pair = at - (at % 2)
    const radius = Math.sqrt(-2 * Math.log((words[pair]! + 1) * 2 ** -32))
    const angle = 2 * Math.PI * words[pair + 1]! * 2 ** -32
    out[i] = mean + deviation * radius * (at % 2 === 0 ? Math.cos(angle) : Math.sin(angle))
  }
  return out
}

/** Number `index` as an integer in 0 … bound − 1. */
export const below = (source: Source, index: number, bound: number): number => {
  if (!Number.isSafeInteger(bound) || bound < 1) throw new Error(`Random.below: bound must be a positive integer, got ${bound}`)
  return Math.floor(uniform64(source, index) * bound)
}

/** A permutation of 0 … length − 1 (Fisher and Yates): every order is equally likely. */
export const shuffle = (source: Source, length: number): Uint32Array => {
  const order = Uint32Array.from({ length }, (_, i) => i)
  for (let i = length - 1; i > 0; i--) {
    const j = below(source, i, i + 1), kept = order[i]!
    order[i] = order[j]!
    order[j] = kept
  }
  return order
}

/** Draw number `index` of a category with probability proportional to its weight. Fails: dies on a negative or non-finite weight, or when all are zero. */
export const categorical = (source: Source, index: number, weights: ArrayLike<number>): number => {
  let total = 0
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i]!
    if (!(weight >= 0 && weight < Infinity)) throw new Error(`Random.categorical: weight ${i} is ${weight}; weights are finite and not negative`)
    total += weight
  }
  if (!(total > 0)) throw new Error("Random.categorical: every weight is zero")
  let left = uniform64(source, index) * total, last = 0
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i]!
    if (weight === 0) continue
    last = i
    left -= weight
    if (left < 0) return i
  }
  return last // rounding of the sum may leave a hair: it belongs to the last category that can be drawn
}
