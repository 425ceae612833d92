/**
 * The header of a GGUF file, read as if the file came from an enemy: every count and length is held against the bytes that are left before
 * anything is allocated for it.
 *
 * Layout, little-endian: "GGUF", u32 version (2 or 3), u64 tensors, u64 keys; keys with typed values; names, axes, types and offsets of the
 * tensors; padding to the alignment; data. Format: ggml's docs/gguf.md.
 */
import { Schema } from "effect"
import { type BlockType, blockTypes, otherTypes } from "./ggufBlocks.ts"

/** A GGUF file that is damaged, hostile, or asks for what is not read. `key`: the key or tensor at fault. */
export class GgufError extends Schema.TaggedError<GgufError>()("GgufError", { file: Schema.String, key: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `${this.file}: ${this.key}: ${this.problem}. Remedy: ${this.remedy}.` }
}

/** Numbers are kept in an array of their own width, so that it takes no more memory than the file. */
export type Numbers = Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | BigUint64Array | BigInt64Array | Float64Array
export type Value = number | bigint | boolean | string | Numbers | ReadonlyArray<string>

/** Where a tensor lies. `shape`: outermost axis first, the reverse of the file's. Units: `begin` and `length` in bytes, `begin` from the file's start. */
export interface Entry {
  readonly type: BlockType
  readonly shape: ReadonlyArray<number>
  readonly begin: number
  readonly length: number
}

export interface Header {
  readonly metadata: ReadonlyMap<string, Value>
  readonly tensors: ReadonlyMap<string, Entry>
}

/** A header longer than this is refused: the largest vocabularies need 20 MB. */
export const longestHeader = 1 << 28
const longestKey = 65_535, mostAxes = 4, stringType = 8, arrayType = 9
const damaged = "the file was cut off or damaged: fetch it again"

/** Scalars by their number in the format: bytes, reader, and the array that holds many; a boolean's array holds bytes. */
type Scalar = readonly [bytes: number, read: (view: DataView, at: number) => number | bigint | boolean, many: (buffer: ArrayBuffer) => Numbers]
const scalars: Readonly<Record<number, Scalar>> = {
  0: [1, (view, at) => view.getUint8(at), (buffer) => new Uint8Array(buffer)],
  1: [1, (view, at) => view.getInt8(at), (buffer) => new Int8Array(buffer)],
  2: [2, (view, at) => view.getUint16(at, true), (buffer) => new Uint16Array(buffer)],
  3: [2, (view, at) => view.getInt16(at, true), (buffer) => new Int16Array(buffer)],
  4: [4, (view, at) => view.getUint32(at, true), (buffer) => new Uint32Array(buffer)],
  5: [4, (view, at) => view.getInt32(at, true), (buffer) => new Int32Array(buffer)],
  6: [4, (view, at) => view.getFloat32(at, true), (buffer) => new Float32Array(buffer)],
  7: [1, (view, at) => view.getUint8(at) !== 0, (buffer) => new Uint8Array(buffer)],
  10: [8, (view, at) => view.getBigUint64(at, true), (buffer) => new BigUint64Array(buffer)],
  11: [8, (view, at) => view.getBigInt64(at, true), (buffer) => new BigInt64Array(buffer)],
  12: [8, (view, at) => view.getFloat64(at, true), (buffer) => new Float64Array(buffer)]
}

/** The first bytes of the file do not hold its whole header: pass more of them. */
export const more = Symbol("more")

/** Parses a header from the first bytes of a file of this size; `more` when they end before it does. Fails: throws GgufError. */
export const parse = (file: string, bytes: Uint8Array, fileSize: number): Header | typeof more => {
  try {
    return parseWhole(file, bytes, fileSize)
  } catch (error) {
    if (error === more) return more
    throw error
  }
}

const parseWhole = (file: string, bytes: Uint8Array, fileSize: number): Header => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
  let at = 0, key = "(header)"
  const fail = (problem: string, remedy = damaged): never => { throw new GgufError({ file, key, problem, remedy }) }
  /** Goes over `length` bytes, which begin at the position that it gives. */
  const take = (length: number): number => {
    if (length > fileSize - at) fail(`it ends at byte ${fileSize}, ${length} bytes are announced at ${at}`)
    if (at + length > longestHeader) fail(`the header passes ${longestHeader} bytes`, "no such header exists: fetch the file again")
    if (at + length > bytes.length) throw more
    at += length
    return at - length
  }
  /** A count of things of at least this many bytes each. */
  const count = (what: string, least: number): number => {
    const given = view.getBigUint64(take(8), true)
    if (given > BigInt(Math.floor((fileSize - at) / least))) fail(`${given} ${what} are announced, ${fileSize - at} bytes follow`)
    return Number(given)
  }
  const text = (what: string): string => {
    const length = count(`bytes of ${what}`, 1), from = take(length)
    try {
      return decoder.decode(bytes.subarray(from, from + length))
    } catch {
      return fail(`${what} is not UTF-8`)
    }
  }
  const value = (): Value => {
    const type = view.getUint32(take(4), true)
    if (type === stringType) return text("a string")
    if (type !== arrayType) {
      const scalar = scalars[type] ?? fail(`its type ${type} does not exist`)
      return scalar[1](view, take(scalar[0]))
    }
    const element = view.getUint32(take(4), true)
    if (element === stringType) {
      const length = count("strings", 8), out: Array<string> = []
      for (let i = 0; i < length; i++) out.push(text("a string"))
      return out
    }
    const scalar = scalars[element] ?? fail(element === arrayType ? "it is an array of arrays" : `its elements' type ${element} does not exist`, element === arrayType ? "no known key needs one: convert the model again" : damaged)
    const length = count("elements", scalar[0]) * scalar[0], from = take(length)
    return scalar[2](new Uint8Array(bytes.subarray(from, from + length)).buffer) // a copy of its own, also of a Buffer
  }

  const magic = take(4)
  if (bytes[magic] !== 0x47 || bytes[magic + 1] !== 0x47 || bytes[magic + 2] !== 0x55 || bytes[magic + 3] !== 0x46) fail("it does not begin with GGUF", "this is not a GGUF file")
  const version = view.getUint32(take(4), true)
  if (version !== 2 && version !== 3) fail(version > 0xffff ? "it is big-endian" : `version ${version}`, "versions 2 and 3, little-endian, are read: convert the model again with llama.cpp's convert_hf_to_gguf.py")
  const tensorCount = count("tensors", 24), keyCount = count("keys", 13)

  const metadata = new Map<string, Value>()
  for (let i = 0; i < keyCount; i++) {
    key = `key ${i}`
    const name = text("a key")
    key = JSON.stringify(name.slice(0, 100))
    if (name.length === 0 || name.length > longestKey) fail(`a key of ${name.length} characters`)
    if (metadata.has(name)) fail("it stands twice", "two tools would read different models from it: convert the model again")
    metadata.set(name, value())
  }
  key = "general.alignment"
  const alignment = metadata.get("general.alignment") ?? 32
  if (typeof alignment !== "number" || alignment < 8 || alignment > 1 << 20 || !Number.isInteger(Math.log2(alignment))) return fail(`${String(alignment).slice(0, 60)} is not a power of two from 8 on`)
  const aligned = (position: number) => Math.ceil(position / alignment) * alignment

  const found: Array<readonly [string, Omit<Entry, "begin">, number]> = [], names = new Set<string>()
  for (let i = 0; i < tensorCount; i++) {
    key = `tensor ${i}`
    const name = text("a name")
    key = `tensor ${JSON.stringify(name.slice(0, 100))}`
    if (name === "" || name.includes("\0")) fail("its name is empty or contains a NUL")
    if (names.has(name)) fail("it stands twice", "two tools would read different weights from it: convert the model again")
    const axes = view.getUint32(take(4), true)
    if (axes < 1 || axes > mostAxes) fail(`${axes} axes`)
    const shape: Array<number> = []
    let elements = 1
    for (let axis = 0; axis < axes; axis++) {
      const size = Number(view.getBigUint64(take(8), true))
      shape.unshift(size)
      elements *= size
      if (size < 1 || !Number.isSafeInteger(elements * 32)) fail(`an axis of ${size}, ${elements} values so far`)
    }
    const id = view.getUint32(take(4), true), type = blockTypes.find((one) => one.id === id)
    if (type === undefined) return fail(`type ${otherTypes[id] ?? id} is not read`, `quantise it to one of ${blockTypes.map((one) => one.name).join(", ")}`)
    if (shape.at(-1)! % type.values !== 0) fail(`rows of ${shape.at(-1)} values are not whole ${type.name} blocks of ${type.values}`)
    const offset = view.getBigUint64(take(8), true)
    if (offset > BigInt(fileSize) || Number(offset) % alignment !== 0) fail(`its data begins at ${offset}, ${offset > BigInt(fileSize) ? `behind the file's ${fileSize} bytes` : `not on a multiple of ${alignment}`}`)
    names.add(name)
    found.push([name, { type, shape, length: elements / type.values * type.bytes }, Number(offset)])
  }

  const start = aligned(at), tensors = new Map(found.map(([name, entry, offset]) => [name, { ...entry, begin: start + offset }]))
  let reached = start
  for (const [name, { begin, length }] of [...tensors].sort(([, a], [, b]) => a.begin - b.begin)) {
    key = `tensor ${JSON.stringify(name.slice(0, 100))}`
    if (begin !== reached) fail(`its data begins at byte ${begin}, ${begin > reached ? "after a hole" : "inside another tensor"}: expected ${reached}`)
    if (begin + length > fileSize) fail(`its data ends at byte ${begin + length}, the file at ${fileSize}`)
    reached = aligned(begin + length)
  }
  return { metadata, tensors }
}
