/**
 * Parquet files that no writer would write, for tests: pages of any bytes under headers and a footer that say anything. Only tests import it.
 */
type Value = { readonly i: number | bigint; readonly is?: 5 | 6 } | { readonly text: string } | { readonly of: 5 | 8 | 12; readonly each: ReadonlyArray<Value> } | { readonly fields: Fields } | { readonly bool: boolean }
type Fields = ReadonlyArray<readonly [id: number, value: Value] | undefined>

/** A number in groups of seven bits. */
export const varint = (value: number | bigint): ReadonlyArray<number> => {
  const bytes: Array<number> = []
  let rest = BigInt(value)
  do { bytes.push(Number(rest & 127n) | (rest > 127n ? 128 : 0)); rest >>= 7n } while (rest > 0n)
  return bytes
}
export const zigzag = (value: number | bigint): ReadonlyArray<number> => varint(BigInt(value) >= 0n ? BigInt(value) * 2n : -BigInt(value) * 2n - 1n)

const kindOf = (value: Value): number => "i" in value ? value.is ?? 5 : "text" in value ? 8 : "of" in value ? 9 : "fields" in value ? 12 : value.bool ? 1 : 2
const write = (value: Value): ReadonlyArray<number> => {
  if ("i" in value) return zigzag(value.i)
  if ("text" in value) return [...varint(value.text.length), ...Buffer.from(value.text)]
  if ("of" in value) return [...value.each.length < 15 ? [value.each.length << 4 | value.of] : [0xf0 | value.of, ...varint(value.each.length)], ...value.each.flatMap(write)]
  return "fields" in value ? struct(value.fields) : []
}
/** A struct's fields, in the order of their numbers. */
export const struct = (fields: Fields): ReadonlyArray<number> => {
  let last = 0
  return [...fields.flatMap((field) => {
    if (field === undefined) return []
    const step = field[0] - last
    last = field[0]
    return [...step > 15 ? [kindOf(field[1]), ...zigzag(last)] : [step << 4 | kindOf(field[1])], ...write(field[1])]
  }), 0]
}
const i = (value: number | bigint): Value => ({ i: value }), l = (value: number | bigint): Value => ({ i: value, is: 6 }), text = (value: string): Value => ({ text: value })

export const types = { BOOLEAN: 0, INT32: 1, INT64: 2, INT96: 3, FLOAT: 4, DOUBLE: 5, BYTE_ARRAY: 6, FIXED: 7 } as const
export const encodings = { PLAIN: 0, PLAIN_DICTIONARY: 2, RLE: 3, DELTA_BINARY_PACKED: 5, DELTA_LENGTH_BYTE_ARRAY: 6, DELTA_BYTE_ARRAY: 7, RLE_DICTIONARY: 8, BYTE_STREAM_SPLIT: 9 } as const
export const codecs = { NONE: 0, SNAPPY: 1, GZIP: 2, BROTLI: 4, LZ4: 5, ZSTD: 6, LZ4_RAW: 7 } as const

/** A page. kind: of the first or second kind, or a dictionary. body: as it lies. size: unpacked, where it says another than the body's. */
export interface Page {
  readonly kind?: "first" | "second" | "dictionary"
  readonly encoding?: keyof typeof encodings
  readonly values: number
  readonly body: ReadonlyArray<number> | Uint8Array
  readonly size?: number
  readonly nulls?: number
  readonly levels?: readonly [repeated: number, defined: number]
  readonly plain?: boolean
  readonly more?: ReadonlyArray<number>
}
const pageBytes = ({ body, encoding = "PLAIN", kind = "first", levels = [0, 0], more = [], nulls = 0, plain = false, size, values }: Page): Buffer => {
  const own: Fields = kind === "first" ? [[5, { fields: [[1, i(values)], [2, i(encodings[encoding])], [3, i(3)], [4, i(3)]] }]] : kind === "dictionary" ? [[7, { fields: [[1, i(values)], [2, i(0)]] }]]
    : [[8, { fields: [[1, i(values)], [2, i(nulls)], [3, i(values)], [4, i(encodings[encoding])], [5, i(levels[1])], [6, i(levels[0])], [7, { bool: !plain }]] }]]
  const header = struct([[1, i({ first: 0, dictionary: 2, second: 3 }[kind])], [2, i(size ?? body.length)], [3, i(body.length)], ...own])
  return Buffer.concat([Buffer.from(more.length === 0 ? header : [...header.slice(0, -1), ...more, 0]), Buffer.from(body)])
}

/** A column. optional: its values may be missing. says: what the footer says of it, where that is not so. */
export interface Column {
  readonly name?: string
  readonly type?: keyof typeof types
  readonly length?: number
  readonly optional?: boolean
  readonly codec?: keyof typeof codecs
  readonly converted?: number
  readonly logical?: ReadonlyArray<readonly [number, Value]>
  readonly pages: ReadonlyArray<Page>
  readonly says?: { readonly values?: number; readonly unpacked?: number; readonly packed?: number; readonly at?: number }
}

/** A file of one row group. rows: what it says it has. before: groups that stand around the columns, one in the other. extra: further bytes of data, fields of the footer. */
export const file = (columns: ReadonlyArray<Column>, rows: number, { depth = 0, extra = 0, footer = [] as ReadonlyArray<number> } = {}): Buffer => {
  const around = Array.from({ length: depth }, (_, at) => `g${at}`)
  let at = 4
  const chunks = columns.map(({ codec = "NONE", name = "x", pages, says = {}, type = "BYTE_ARRAY" }) => {
    const bytes = Buffer.concat(pages.map(pageBytes)), start = says.at ?? at
    const meta: Fields = [[1, i(types[type])], [2, { of: 5, each: [i(0)] }], [3, { of: 8, each: [...around, name].map(text) }], [4, i(codecs[codec])], [5, l(says.values ?? rows)], [6, l(says.unpacked ?? pages.reduce((sum, { body, size }) => sum + (size ?? body.length), 100))], [7, l(says.packed ?? bytes.length)],
      [9, l(start)], pages[0]?.kind === "dictionary" ? [11, l(start)] : undefined]
    at += bytes.length
    return { bytes, meta: { fields: [[2, l(start)], [3, { fields: meta }]] } satisfies Value }
  })
  const schema: ReadonlyArray<Value> = [
    { fields: [[4, text("root")], [5, i(depth > 0 ? 1 : columns.length)]] },
    ...around.map((name, place): Value => ({ fields: [[3, i(1)], [4, text(name)], [5, i(place < depth - 1 ? 1 : columns.length)]] })),
    ...columns.map(({ converted, length, logical, name = "x", optional = false, type = "BYTE_ARRAY" }): Value => ({ fields: [[1, i(types[type])], length === undefined ? undefined : [2, i(length)], [3, i(optional ? 1 : 0)], [4, text(name)], converted === undefined ? undefined : [6, i(converted)], logical === undefined ? undefined : [10, { fields: logical }]] }))
  ]
  const plain = struct([[1, i(1)], [2, { of: 12, each: schema }], [3, l(rows)], [4, { of: 12, each: [{ fields: [[1, { of: 12, each: chunks.map(({ meta }) => meta) }], [2, l(1)], [3, l(rows)]] }] }]])
  const end = Buffer.from([...plain.slice(0, -1), ...footer, 0]), size = Buffer.alloc(4)
  size.writeUInt32LE(end.length)
  return Buffer.concat([Buffer.from("PAR1"), ...chunks.map(({ bytes }) => bytes), Buffer.alloc(extra), end, size, Buffer.from("PAR1")])
}

/** A number of four bytes, the least first. */
export const u32 = (value: number): ReadonlyArray<number> => [value & 255, value >>> 8 & 255, value >>> 16 & 255, value >>> 24]
