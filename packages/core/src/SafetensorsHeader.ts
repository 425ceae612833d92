/**
 * The header of a safetensors file, read as if the file came from an enemy: every length is checked before anything is allocated.
 *
 * Layout: u64 little-endian N, N bytes of JSON, data. Tensors tile the data without hole, overlap or rest. Format: huggingface/safetensors.
 */
import { Schema } from "effect"
import * as Dtype from "./Dtype.ts"
import * as StrictJson from "./StrictJson.ts"

/** A header longer than this is refused, as by the reference implementation. */
export const longestHeader = 100_000_000

const remedies = {
  TooSmall: "the file is empty or was cut off: fetch it again",
  HeaderTooLarge: `headers are at most ${longestHeader} bytes: this is not a safetensors file, or a hostile one`,
  HeaderLength: "the file was cut off while it was written or copied: fetch it again",
  HeaderSyntax: "write the file again with a safetensors library",
  Duplicate: "two tools would read different weights from it: write the file again with unique names",
  UnknownDtype: "convert the tensor to F32, F16 or BF16",
  TensorSize: "dtype × shape and data_offsets must agree: write the file again",
  Overflow: "sizes must stay below 2^53 bytes: the header lies",
  Offsets: "tensors must tile the data without hole, overlap or rest: write the file again",
  Missing: "check the name against the file's list of tensors",
  Rows: "ask for rows inside the tensor's first axis",
  Absent: "fetch the model's safetensors, or save what is there as safetensors with the tool that made it; pickles (.bin, .pt, .pth) are never opened",
  Unreadable: "check that the file exists, is readable and was not changed while it was open",
  Unwritable: "check that the folder exists, is writable and has room",
  Value: "write F32 or BF16, or find out why the value is so large",
  Index: "the index must name plain files of its own folder: write the folder again"
} as const
const reasons = Object.keys(remedies) as ReadonlyArray<keyof typeof remedies>

/** Something is wrong with a safetensors file, its index, or the values to be written. */
export class SafetensorsError extends Schema.TaggedError<SafetensorsError>()("SafetensorsError", {
  file: Schema.String,
  reason: Schema.Literals(reasons),
  problem: Schema.String,
  tensor: Schema.optionalKey(Schema.String)
}) {
  override get message() {
    return `${this.file}${this.tensor === undefined ? "" : `, tensor ${JSON.stringify(this.tensor)}`}: ${this.problem}. Remedy: ${remedies[this.reason]}.`
  }
}

/** Where a tensor lies. Units: begin and end in bytes from the start of the data. */
export interface Entry {
  readonly dtype: Dtype.Dtype
  readonly shape: ReadonlyArray<number>
  readonly begin: number
  readonly end: number
}
export interface Header {
  readonly tensors: ReadonlyMap<string, Entry>
  readonly metadata: ReadonlyMap<string, string>
}

/** Bytes of a tensor, or undefined when the count leaves the safe integers or does not end on a byte. */
export const byteLength = (dtype: Dtype.Dtype, shape: ReadonlyArray<number>): number | undefined => {
  // a zero makes the product zero, but must not hide factors that overflow before it
  let elements = 1
  for (const axis of shape) {
    elements *= axis
    if (!Number.isSafeInteger(elements)) return undefined
  }
  const length = elements * Dtype.bits[dtype] / 8
  return Number.isSafeInteger(elements * Dtype.bits[dtype]) && Number.isInteger(length) ? length : undefined
}

/** Checks the file's first eight bytes and gives the header's length. Fails: throws SafetensorsError. */
export const headerLength = (file: string, first: Uint8Array, fileSize: number): number => {
  if (fileSize < 8 || first.length < 8) throw new SafetensorsError({ file, reason: "TooSmall", problem: `${fileSize} bytes, fewer than the 8 of a header length` })
  const length = new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true)
  if (length > BigInt(longestHeader)) throw new SafetensorsError({ file, reason: "HeaderTooLarge", problem: `header of ${length} bytes announced` })
  if (length > BigInt(fileSize - 8)) throw new SafetensorsError({ file, reason: "HeaderLength", problem: `header of ${length} bytes announced, ${fileSize - 8} bytes follow` })
  return Number(length)
}

const natural = (value: StrictJson.Value | undefined): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 0

/** Parses and validates a header. Units: dataLength is what follows the header in the file, in bytes. Fails: throws SafetensorsError. */
export const parse = (file: string, bytes: Uint8Array, dataLength: number): Header => {
  const fail = (reason: typeof reasons[number], problem: string, tensor?: string): never => {
    throw new SafetensorsError({ file, reason, problem, ...(tensor === undefined ? {} : { tensor }) })
  }
  let text = ""
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    fail("HeaderSyntax", "the header is not UTF-8")
  }
  let json: StrictJson.Value = null
  try {
    json = StrictJson.parse(text, { depth: 4, integers: true })
  } catch (error) {
    if (!(error instanceof StrictJson.StrictJsonError)) throw error
    const reason = error.kind === "duplicate" ? "Duplicate" : error.kind === "range" ? "Overflow" : "HeaderSyntax"
    fail(reason, `${error.message}${error.path === "" ? "" : ` in ${error.path.slice(0, 200)}`}`)
  }
  if (!(json instanceof Map)) return fail("HeaderSyntax", "the header is not a JSON object")

  const tensors = new Map<string, Entry>(), metadata = new Map<string, string>()
  for (const [name, value] of json as ReadonlyMap<string, StrictJson.Value>) {
    if (!(value instanceof Map)) return fail("HeaderSyntax", "its description is not an object", name)
    if (name === "__metadata__") {
      for (const [key, word] of value as ReadonlyMap<string, StrictJson.Value>) {
        if (typeof word !== "string") return fail("HeaderSyntax", `metadata ${JSON.stringify(key)} is not a string`)
        metadata.set(key, word)
      }
      continue
    }
    if (name.includes("\0")) fail("HeaderSyntax", "its name contains a NUL", name)
    const { dtype, shape, data_offsets: offsets, ...rest } = Object.fromEntries(value as ReadonlyMap<string, StrictJson.Value>)
    if (Object.keys(rest).length > 0) fail("HeaderSyntax", `unknown key ${JSON.stringify(Object.keys(rest)[0])}`, name)
    if (typeof dtype !== "string" || !Dtype.isDtype(dtype)) return fail("UnknownDtype", `unknown dtype ${JSON.stringify(dtype)?.slice(0, 60)}`, name)
    if (!Array.isArray(shape) || !shape.every(natural)) return fail("HeaderSyntax", "shape is not a list of natural numbers", name)
    if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(natural)) return fail("HeaderSyntax", "data_offsets is not a pair of natural numbers", name)
    const [begin, end] = offsets as [number, number], length = byteLength(dtype, shape as ReadonlyArray<number>)
    if (length === undefined) return fail("Overflow", `${dtype} of shape [${shape}] has no whole number of bytes below 2^53`, name)
    if (begin > end) fail("Offsets", `it ends at ${end}, before its begin at ${begin}`, name)
    if (end - begin !== length) fail("TensorSize", `${dtype} of shape [${shape}] has ${length} bytes, data_offsets give ${end - begin}`, name)
    if (end > dataLength) fail("Offsets", `it ends at byte ${end} of ${dataLength} bytes of data`, name)
    tensors.set(name, { dtype, shape: shape as ReadonlyArray<number>, begin, end })
  }

  let reached = 0
  for (const [name, { begin, end }] of [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== reached) fail("Offsets", `it begins at byte ${begin}, ${begin > reached ? "after a hole" : "inside another tensor"}: expected ${reached}`, name)
    reached = end
  }
  if (reached !== dataLength) fail("Offsets", `the tensors end at byte ${reached} of ${dataLength} bytes of data`)
  return { tensors, metadata }
}

/** Header bytes for tensors in this order, behind each other, padded with spaces to a multiple of eight; the eight bytes of its length included. */
export const format = (entries: Iterable<readonly [string, Entry]>, metadata: ReadonlyMap<string, string>): Uint8Array => {
  const members = metadata.size === 0 ? [] : [`"__metadata__":${JSON.stringify(Object.fromEntries(metadata))}`]
  for (const [name, { dtype, shape, begin, end }] of entries) members.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`)
  const json = new TextEncoder().encode(`{${members.join(",")}}`)
  const bytes = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(bytes.length - 8), true)
  bytes.set(json, 8)
  return bytes
}
