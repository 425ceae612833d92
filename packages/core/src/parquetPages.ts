/**
 * The pages of a column of a Parquet file, held against each other, against the footer and against their own bytes before hyparquet decodes them.
 *
 * What a page says of itself decides what a reader allocates: how many values, how long a run of one value is, how long a text is. hyparquet believes it. Here every page's header is
 * read first, by hyparquet's own reader, and every page is walked when it is unpacked, by the rules of the [format](https://parquet.apache.org/docs/file-format/data-pages/encodings/), without an
 * array for its values. What passes cannot make hyparquet allocate more than the bytes and values that the footer says, and these are bounded where the footer is read.
 */
import type { ColumnMetaData, DataReader, PageHeader, SchemaTree } from "hyparquet"
import { unpack } from "./parquetCodecs.ts"
import { walk } from "./parquetThrift.ts"

/** What of hyparquet is asked, loaded with the first file. */
export const load = async () => {
  const [{ parquetHeader }, { deltaBinaryUnpack }, { readVarInt }, schema] = await Promise.all([import("hyparquet/src/column.js"), import("hyparquet/src/delta.js"), import("hyparquet/src/thrift.js"), import("hyparquet/src/schema.js")])
  return { parquetHeader, deltaBinaryUnpack, readVarInt, ...schema }
}
export type Library = Awaited<ReturnType<typeof load>>

/**
 * A column of a row group with its bytes. path: its schema from the root. entries: the most that its dictionary may have. spend: takes bytes of texts that are longer than they lie in the
 * file from what may be made, or throws.
 */
export interface Chunk { readonly bytes: ArrayBuffer; readonly column: ColumnMetaData; readonly path: ReadonlyArray<SchemaTree>; readonly rows: number; readonly entries: number; readonly spend: (bytes: number) => void }

const refuse = (problem: string): never => { throw new Error(problem) }

/** Values of some bits each in runs and packed groups of eight. Moves the reader past them. How many are `wanted`, where one is. */
const runs = ({ readVarInt }: Library, reader: DataReader, width: number, count: number, wanted = -1): number => {
  if (width > 32) refuse(`a page's values have ${width} bits`)
  let seen = 0, found = 0
  while (seen < count) {
    const header = readVarInt(reader), length = header >>> 1, left = reader.view.byteLength - reader.offset
    if ((header & 1) === 0) {
      if (length > count - seen) refuse(`a run of ${length} values goes past the page's ${count}`)
      let value = 0
      for (let byte = 0; byte < width + 7 >> 3; byte++) value |= reader.view.getUint8(reader.offset++) << 8 * byte
      if (value === wanted) found += length
      seen += length
      continue
    }
    if (header < 0 || (width === 0 ? length * 8 > count - seen + 504 : length * width > left)) refuse(`${length} packed groups of ${width} bits go past the page's ${left} bytes`)
    if (wanted >= 0) {
      for (let each = 0; each < Math.min(length * 8, count - seen); each++) {
        let value = 0
        for (let bit = 0, at = each * width; bit < width; bit++, at++) value |= (reader.view.getUint8(reader.offset + (at >> 3)) >> (at & 7) & 1) << bit
        if (value === wanted) found++
      }
    }
    reader.offset += Math.max(length * width, Math.min(1, left)) // hyparquet takes a byte of an empty group too
    seen += length * 8
  }
  return found
}

/** Blocks of differences: their shape, which decides what is allocated and how far is read. The reader stays where it is. */
const differences = ({ readVarInt }: Library, { offset, view }: DataReader, count: number): void => {
  const reader = { view, offset }
  const skip = (): void => { for (let length = 0; view.getUint8(reader.offset++) >= 0x80;) if (++length === 10) refuse("a number has more than ten bytes") }
  const block = readVarInt(reader), parts = readVarInt(reader), each = block / parts
  skip()
  skip()
  if (!(block > 0 && parts > 0 && parts <= view.byteLength - reader.offset && each % 8 === 0) && count > 1) refuse(`blocks of ${block} differences in ${parts} parts`)
  for (let seen = 1; seen < count;) {
    skip()
    let at = reader.offset + parts
    for (let part = 0; part < parts && seen < count; part++, seen += each) {
      const width = view.getUint8(reader.offset + part)
      if (width > 64) refuse(`differences of ${width} bits`)
      at += each * width / 8
    }
    if (at > view.byteLength && seen < count) refuse("differences go past the page")
    reader.offset = at
  }
}

/** Texts by what they share with the one before: all of their lengths, which one page can make as long as it likes. */
const shared = (library: Library, reader: DataReader, count: number, spend: (bytes: number) => void): void => {
  const [shares, rests] = [0, 1].map(() => {
    const lengths = new Int32Array(count)
    differences(library, reader, count)
    library.deltaBinaryUnpack(reader, count, lengths)
    return lengths
  }) as [Int32Array, Int32Array]
  let before = 0, sum = 0
  for (const [at, share] of shares.entries()) {
    const rest = rests[at]!
    if (share < 0 || rest < 0 || share > before) refuse(`a text shares ${share} bytes with one of ${before}`)
    before = share + rest
    sum += before
  }
  spend(sum)
}

/** Bits that a value of a type takes at least, lying plain. */
const bitsOf = (type: string, length: number | undefined): number => ({ BOOLEAN: 1, INT32: 32, FLOAT: 32, INT64: 64, DOUBLE: 64, INT96: 96, BYTE_ARRAY: 32 } as Readonly<Record<string, number>>)[type] ?? 8 * Math.max(1, length ?? 1)
const bitWidth = (value: number): number => 32 - Math.clz32(value)

/** Holds the values of a page to its bytes. */
const values = (library: Library, { column, path, spend }: Chunk, reader: DataReader, encoding: string, count: number, isSecond: boolean): void => {
  const left = reader.view.byteLength - reader.offset, { type_length } = path.at(-1)!.element
  const plain = () => { if (count * bitsOf(column.type, type_length) > 8 * left) refuse(`a page says it has ${count} values of type ${column.type} in ${left} bytes`) }
  if (count === 0) return
  const isBoolean = encoding === "RLE" && isSecond || column.type === "BOOLEAN" && !isSecond
  switch (encoding) {
    case "PLAIN": case "BYTE_STREAM_SPLIT": return plain()
    case "RLE": case "PLAIN_DICTIONARY": case "RLE_DICTIONARY": {
      if (isBoolean) reader.offset += 4 // the length of what follows
      const width = isBoolean ? 1 : reader.view.getUint8(reader.offset++)
      if (width > 0 || isSecond) runs(library, reader, width, count)
      return
    }
    case "DELTA_BINARY_PACKED": case "DELTA_LENGTH_BYTE_ARRAY": return differences(library, reader, count)
    case "DELTA_BYTE_ARRAY": return shared(library, reader, count, spend)
  }
}

/** The levels of a page, before its values in the second kind of page and with their length before them in the first; how many values there are. */
const levels = (library: Library, { path }: Chunk, reader: DataReader, count: number): number => {
  let there = count
  for (const [most, isDefined] of [[library.getMaxRepetitionLevel([...path]), false], [library.getMaxDefinitionLevel([...path]), true]] as const) {
    if (most === 0) continue
    const end = reader.offset + 4 + reader.view.getUint32(reader.offset, true)
    reader.offset += 4
    const found = runs(library, reader, bitWidth(most), count, isDefined ? most : -1)
    if (isDefined) there = found
    reader.offset = end
  }
  return there
}

/**
 * The pages of a column: their headers are read and held against each other and the footer at once. Gives what unpacks them one after the other, as hyparquet asks for them, each walked
 * before it is handed on. Fails: throws what is wrong.
 */
export const guard = (library: Library, chunk: Chunk): (packed: Uint8Array, size: number) => Uint8Array => {
  const { bytes, column, entries, path, rows } = chunk, reader = { view: new DataView(bytes), offset: 0 }, pages: Array<PageHeader> = [], isFlat = library.isFlatColumn([...path]), most = Number(column.num_values)
  let count = 0, size = 0
  const within = (value: number, bound: number, what: string) => { if (!(Number.isInteger(value) && value >= 0 && value <= bound)) refuse(`a page says it has ${value} ${what}, and at most ${bound} can be`) }
  while ((isFlat ? count < rows : true) && reader.offset < bytes.byteLength - 1) {
    walk(reader.view, reader.offset, 4096)
    const header = library.parquetHeader(reader), { compressed_page_size: packed, data_page_header: first, data_page_header_v2: second, dictionary_page_header: dictionary, uncompressed_page_size: unpacked } = header
    const from = reader.offset
    within(packed, bytes.byteLength - from, "packed bytes")
    within(unpacked, Number(column.total_uncompressed_size) - size, "bytes")
    size += unpacked
    const own = header.type === "DATA_PAGE" ? first : header.type === "DATA_PAGE_V2" ? second : header.type === "DICTIONARY_PAGE" ? dictionary : undefined
    if (own === undefined) return refuse(`a page is of type ${header.type}, or has no header of it`)
    if (own === dictionary) within(own.num_values, Math.min(8 * unpacked, entries), "values in its dictionary")
    else {
      within(own.num_values, most - count, "values")
      count += own.num_values
    }
    if (header.type === "DATA_PAGE_V2" && second !== undefined) {
      const { definition_levels_byte_length: defined, num_nulls, num_rows, num_values, repetition_levels_byte_length: repeated } = second, before = new DataView(bytes, from, packed)
      within(num_nulls, num_values, "nulls")
      within(num_rows, num_values, "rows")
      within(repeated, Math.min(packed, unpacked), "bytes of levels")
      within(defined, Math.min(packed, unpacked) - repeated, "bytes of levels")
      for (const [level, offset] of [[library.getMaxRepetitionLevel([...path]), 0], [library.getMaxDefinitionLevel([...path]), repeated]] as const) if (level > 0) runs(library, { view: before, offset }, bitWidth(level), num_values)
      // hyparquet takes an unpacked page of this kind as it lies
      if (second.is_compressed === false) values(library, chunk, { view: new DataView(bytes, from + repeated + defined, packed - repeated - defined), offset: 0 }, second.encoding, num_values - num_nulls, true)
    }
    if (header.type !== "DATA_PAGE_V2" || second?.is_compressed !== false) pages.push(header)
    reader.offset = from + packed
  }
  if (count !== most || (isFlat && count !== rows)) refuse(`its pages have ${count} values, where the footer says ${most} in ${rows} rows`)
  let next = 0
  return (packed, size) => {
    const header = pages[next++] ?? refuse("it has more pages than its headers say"), page = unpack(column.codec, packed, size), reader = { view: new DataView(page.buffer, page.byteOffset, page.byteLength), offset: 0 }
    const { data_page_header: first, data_page_header_v2: second, dictionary_page_header: dictionary } = header
    if (page.byteLength !== size) refuse(`a page has ${page.byteLength} bytes where its header says ${size}`)
    if (header.type === "DICTIONARY_PAGE") values(library, chunk, reader, "PLAIN", dictionary!.num_values, false)
    else if (header.type === "DATA_PAGE") { const there = levels(library, chunk, reader, first!.num_values); values(library, chunk, reader, first!.encoding, there, false) }
    else values(library, chunk, reader, second!.encoding, second!.num_values - second!.num_nulls, true)
    return page
  }
}
