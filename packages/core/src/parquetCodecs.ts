/**
 * The codecs of Parquet's pages, each held to the size that the page's header says: nothing is allocated by what a packed stream says of itself.
 *
 * gzip and brotli are Node's own, which stop at a bound; snappy, LZ4 and zstd are hyparquet-compressors', whose LZ4 for Hadoop's frames can be made to go backwards for ever, and whose zstd
 * allocates what blocks say, so that their frames are read here first.
 */
import type { compressors as Compressors } from "hyparquet-compressors"
import { brotliDecompressSync, unzipSync } from "node:zlib"

let loaded: { readonly compressors: typeof Compressors; readonly zstd: (packed: Uint8Array, into?: Uint8Array) => Uint8Array } | undefined
/** Loads what unpacks; `unpack` works from then on. */
export const load = async (): Promise<void> => {
  if (loaded !== undefined) return
  const { compressors, decompressZstd } = await import("hyparquet-compressors")
  loaded = { compressors, zstd: decompressZstd }
}

const refuse = (problem: string): never => { throw new Error(problem) }

/** One block, or Hadoop's frames: big-endian sizes, unpacked and packed, before each block. They are frames where they add up. */
const lz4 = (raw: (packed: Uint8Array, size: number) => Uint8Array, packed: Uint8Array, size: number): Uint8Array => {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength), frames: Array<readonly [from: number, to: number, size: number]> = []
  let at = 0, sum = 0
  while (at + 8 < packed.length) {
    const long = view.getUint32(at), short = view.getUint32(at + 4)
    if (short === 0 || short > packed.length - at - 8 || long > size - sum) break
    frames.push([at + 8, at + 8 + short, long])
    at += 8 + short
    sum += long
  }
  if (at !== packed.length || sum !== size) return raw(packed, size)
  const whole = new Uint8Array(size)
  let done = 0
  for (const [from, to, long] of frames) { whole.set(raw(packed.subarray(from, to), long), done); done += long }
  return whole
}

/** What a block of zstd unpacks to at most, and the largest window that is kept. Units: bytes. */
const zstdMost = { block: 1 << 17, window: 1 << 26 }
/** The frames of a zstd stream: the size that a single frame tells, and what all blocks may unpack to. [RFC 8878](https://www.rfc-editor.org/rfc/rfc8878) */
const zstdFrames = (packed: Uint8Array): { readonly told: number | undefined; readonly bound: number } => {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength)
  let at = 0, frames = 0, bound = 0, told: number | undefined
  while (at < packed.length) {
    const magic = view.getUint32(at, true)
    frames++
    if (magic >>> 4 === 0x184d2a5) { at += 8 + view.getUint32(at + 4, true); continue } // a frame to be skipped
    if (magic !== 0xfd2fb528) refuse("a page is no zstd stream")
    const flags = view.getUint8(at + 4), single = flags >> 5 & 1, code = flags >> 6, dictionary = [0, 1, 2, 4][flags & 3]!, bytes = code === 0 ? single : 1 << code
    const place = at + 6 - single + dictionary
    const size = bytes === 0 ? undefined : bytes === 1 ? view.getUint8(place) : bytes === 2 ? view.getUint16(place, true) + 256 : bytes === 4 ? view.getUint32(place, true) : Number(view.getBigUint64(place, true))
    const descriptor = view.getUint8(at + 5), base = 2 ** (10 + (descriptor >> 3)), window = single === 1 ? size! : base + base / 8 * (descriptor & 7)
    told = size
    if (single === 0 && window > zstdMost.window) refuse(`a page of zstd wants a window of ${window} bytes`)
    at = place + bytes
    for (let last = 0; last === 0;) {
      const head = view.getUint16(at, true) | view.getUint8(at + 2) << 16, length = head >> 3, type = head >> 1 & 3
      last = head & 1
      bound += type === 2 ? zstdMost.block : length
      at += 3 + (type === 1 ? 1 : length)
    }
    at += 4 * (flags >> 2 & 1)
  }
  return { told: frames === 1 ? told : undefined, bound }
}
const zstd = (unzstd: (packed: Uint8Array, into?: Uint8Array) => Uint8Array, packed: Uint8Array, size: number): Uint8Array => {
  const { bound, told } = zstdFrames(packed)
  if (told !== undefined) return told === size ? unzstd(packed, new Uint8Array(size)) : refuse(`a page of zstd says it has ${told} bytes, and its header ${size}`)
  return bound <= 4 * size + zstdMost.window ? unzstd(packed) : refuse(`a page of zstd may unpack to ${bound} bytes, and its header says ${size}`)
}

/** Unpacks a page. Allocates by the size that its header says, which was checked. Fails: throws what is wrong. */
export const unpack = (codec: string, packed: Uint8Array, size: number): Uint8Array => {
  const { compressors, zstd: unzstd } = loaded ?? refuse("the codecs are not loaded")
  if (codec === "UNCOMPRESSED") return packed
  if (size === 0) return new Uint8Array(0)
  switch (codec) {
    case "SNAPPY": return compressors.SNAPPY!(packed, size)
    case "GZIP": return unzipSync(packed, { maxOutputLength: size })
    case "BROTLI": return brotliDecompressSync(packed, { maxOutputLength: size })
    case "ZSTD": return zstd(unzstd, packed, size)
    case "LZ4": return lz4(compressors.LZ4_RAW!, packed, size)
    case "LZ4_RAW": return compressors.LZ4_RAW!(packed, size)
    default: return refuse(`its pages are packed by ${codec}, which is not read`)
  }
}
