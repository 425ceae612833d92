/**
 * The kinds of column a table may have: one row here says how a kind is checked, kept in Arrow, and read back as plain arrays.
 *
 * Reading never boxes numbers: a numeric column comes back as one typed array (a view of the file's bytes when the file has one
 * record batch), a dictionary column as names plus indices, a vector column as one flat array and its width.
 */
import { Schema } from "effect"
import * as arrow from "apache-arrow"

/** A dictionary column: row i has the name `names[indices[i]]`. */
export interface Labels {
  readonly names: ReadonlyArray<string>
  readonly indices: Int32Array
}
/** A column of equally long vectors: row i is `values.subarray(i * size, (i + 1) * size)`. */
export interface Vectors {
  readonly size: number
  readonly values: Float32Array
}

interface Kinds {
  u8: { row: number; read: Uint8Array; give: ArrayLike<number> }
  u16: { row: number; read: Uint16Array; give: ArrayLike<number> }
  u32: { row: number; read: Uint32Array; give: ArrayLike<number> }
  f32: { row: number; read: Float32Array; give: ArrayLike<number> }
  f64: { row: number; read: Float64Array; give: ArrayLike<number> }
  optional: { row: number | null; read: Float64Array; give: ArrayLike<number | null> }
  bool: { row: boolean; read: Uint8Array; give: ArrayLike<boolean | number> }
  text: { row: string; read: ReadonlyArray<string>; give: ReadonlyArray<string> }
  label: { row: string; read: Labels; give: Labels | ReadonlyArray<string> }
  vector: { row: ReadonlyArray<number>; read: Vectors; give: Vectors }
}
/** What a column may be: `optional` is an f64 that may be missing (null in the file, NaN in the array). */
export type Kind = keyof Kinds
/** One value of a row. */
export type Row<K extends Kind> = Kinds[K]["row"]
/** What reading a column gives. */
export type Read<K extends Kind> = Kinds[K]["read"]
/** What making a column takes. */
export type Give<K extends Kind> = Kinds[K]["give"]

const unsigned = (bits: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** bits - 1 }))

/** The Schema of one value, by kind: what `Table.fromRows` checks. */
export const schemas = {
  u8: unsigned(8), u16: unsigned(16), u32: unsigned(32),
  f32: Schema.Number, f64: Schema.Number, optional: Schema.NullOr(Schema.Number),
  bool: Schema.Boolean, text: Schema.String, label: Schema.String, vector: Schema.Array(Schema.Number)
} satisfies Record<Kind, Schema.Codec<any, any>>

const numeric = {
  u8: { array: Uint8Array, type: () => new arrow.Uint8() },
  u16: { array: Uint16Array, type: () => new arrow.Uint16() },
  u32: { array: Uint32Array, type: () => new arrow.Uint32() },
  f32: { array: Float32Array, type: () => new arrow.Float32() },
  f64: { array: Float64Array, type: () => new arrow.Float64() }
} as const
const isNumeric = (kind: Kind): kind is keyof typeof numeric => kind in numeric

/** Rows in what was given for a column. */
export const length = (kind: Kind, given: unknown): number =>
  kind === "vector" ? (given as Vectors).values.length / (given as Vectors).size
    : kind === "label" && !Array.isArray(given) ? (given as Labels).indices.length
    : (given as ArrayLike<unknown>).length

/** Names and indices of a list of strings, names in order of first appearance. */
export const labels = (values: ReadonlyArray<string>): Labels => {
  const numbers = new Map<string, number>()
  const indices = new Int32Array(values.length)
  values.forEach((value, row) => {
    const known = numbers.get(value) ?? numbers.size
    numbers.set(value, known)
    indices[row] = known
  })
  return { names: [...numbers.keys()], indices }
}

const bits = (rows: number, isSet: (row: number) => boolean): { bytes: Uint8Array; clear: number } => {
  const bytes = new Uint8Array(Math.ceil(rows / 64) * 8)
  let clear = 0
  for (let row = 0; row < rows; row++) {
    if (isSet(row)) bytes[row >> 3]! |= 1 << (row & 7)
    else clear++
  }
  return { bytes, clear }
}

/**
 * An Arrow column of what was given; dies with the column's name when a value does not fit its kind.
 * `at` is the column's place: a dictionary's number in the file, so that equal tables are equal bytes (Arrow would count all that the process ever made).
 */
export const write = (name: string, kind: Kind, given: unknown, at: number): arrow.Data => {
  const rows = length(kind, given)
  if (isNumeric(kind)) {
    const { array, type } = numeric[kind]
    const source = given as ArrayLike<number>
    const data = source instanceof array ? source : array.from(source)
    if (data !== source && kind.startsWith("u")) {
      for (let row = 0; row < rows; row++) {
        if (data[row] !== source[row]) throw new Error(`column ${name}, row ${row}: ${String(source[row])} is no ${kind}`)
      }
    }
    return arrow.makeData({ type: type() as arrow.Float64, length: rows, nullCount: 0, data: data as Float64Array })
  }
  switch (kind) {
    case "optional": {
      const source = given as ArrayLike<number | null>
      const present = bits(rows, (row) => source[row] !== null && !Number.isNaN(source[row]))
      const data = Float64Array.from({ length: rows }, (_, row) => source[row] ?? 0)
      return arrow.makeData({ type: new arrow.Float64(), length: rows, nullCount: present.clear, nullBitmap: present.bytes, data })
    }
    case "bool": {
      const source = given as ArrayLike<boolean | number>
      return arrow.makeData({ type: new arrow.Bool(), length: rows, nullCount: 0, data: bits(rows, (row) => Boolean(source[row])).bytes })
    }
    case "text": return utf8(given as ReadonlyArray<string>)
    case "label": {
      const { names, indices } = Array.isArray(given) ? labels(given as ReadonlyArray<string>) : given as Labels
      const wrong = indices.findIndex((index) => index < 0 || index >= names.length)
      if (wrong >= 0) throw new Error(`column ${name}, row ${wrong}: index ${indices[wrong]} names none of ${names.length} labels`)
      const type = new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32(), at)
      return arrow.makeData({ type, length: rows, nullCount: 0, data: indices, dictionary: new arrow.Vector([utf8(names)]) })
    }
    case "vector": {
      const { size, values } = given as Vectors
      if (!Number.isInteger(rows)) throw new Error(`column ${name}: ${values.length} numbers are no whole number of vectors of ${size}`)
      const type = new arrow.FixedSizeList(size, new arrow.Field("item", new arrow.Float32(), false))
      const child = arrow.makeData({ type: new arrow.Float32(), length: values.length, nullCount: 0, data: values })
      return arrow.makeData({ type, length: rows, nullCount: 0, child })
    }
  }
}

const utf8 = (values: ReadonlyArray<string>): arrow.Data<arrow.Utf8> => {
  const encoded = values.map((value) => Buffer.from(value, "utf8"))
  const valueOffsets = new Int32Array(values.length + 1)
  encoded.forEach((bytes, row) => { valueOffsets[row + 1] = valueOffsets[row]! + bytes.length })
  return arrow.makeData({ type: new arrow.Utf8(), length: values.length, nullCount: 0, valueOffsets, data: new Uint8Array(Buffer.concat(encoded)) })
}

const expected: Record<Kind, string> = {
  u8: "Uint8", u16: "Uint16", u32: "Uint32", f32: "Float32", f64: "Float64", optional: "Float64", bool: "Bool", text: "Utf8",
  label: "Dictionary of Utf8", vector: "FixedSizeList of Float32"
}
/** What is wrong with an Arrow column that should be of this kind, or undefined. */
export const problem = (kind: Kind, vector: arrow.Vector): string | undefined => {
  const type = vector.type as arrow.DataType
  const fits = kind === "label" ? arrow.DataType.isUtf8(type) || (arrow.DataType.isDictionary(type) && arrow.DataType.isUtf8(type.dictionary))
    : kind === "vector" ? arrow.DataType.isFixedSizeList(type) && String(type.children[0]?.type) === "Float32"
    : String(type) === expected[kind]
  if (!fits) return `is ${String(type)}, expected ${expected[kind]}`
  return kind !== "optional" && vector.nullCount > 0 ? `has ${vector.nullCount} missing values` : undefined
}

/** The column's values as plain arrays; a view of the file's bytes where Arrow allows one. */
export const read = <K extends Kind>(kind: K, vector: arrow.Vector): Read<K> => plain(kind, vector) as Read<K>

const plain = (kind: Kind, vector: arrow.Vector): unknown => {
  if (isNumeric(kind)) return vector.length === 0 ? new numeric[kind].array(0) : vector.toArray()
  switch (kind) {
    case "optional": return Float64Array.from({ length: vector.length }, (_, row) => (vector.get(row) as number | null) ?? NaN)
    case "bool": return Uint8Array.from({ length: vector.length }, (_, row) => vector.get(row) === true ? 1 : 0)
    case "text": return Array.from({ length: vector.length }, (_, row) => vector.get(row) as string)
    case "label": return readLabels(vector)
    case "vector": {
      const size = (vector.type as arrow.FixedSizeList).listSize
      const parts = vector.data.map((data) => {
        const child = data.children[0]!
        const start = child.length === data.length * size ? 0 : data.offset * size
        return child.values.subarray(start, start + data.length * size) as Float32Array
      })
      if (parts.length === 1) return { size, values: parts[0]! }
      const values = new Float32Array(vector.length * size)
      let at = 0
      for (const part of parts) { values.set(part, at); at += part.length }
      return { size, values }
    }
  }
}

/** Record batches of other writers may each bring a dictionary of their own: they are put on one. */
const readLabels = (vector: arrow.Vector): Labels => {
  if (!arrow.DataType.isDictionary(vector.type)) return labels(Array.from(vector as Iterable<string>))
  const numbers = new Map<string, number>()
  const indices = new Int32Array(vector.length)
  let row = 0
  for (const data of vector.data) {
    const own = Array.from((data.dictionary ?? []) as Iterable<string>, (name) => {
      const number = numbers.get(name) ?? numbers.size
      numbers.set(name, number)
      return number
    })
    for (let index = 0; index < data.length; index++) indices[row++] = own[Number(data.values[index])]!
  }
  return { names: [...numbers.keys()], indices }
}
