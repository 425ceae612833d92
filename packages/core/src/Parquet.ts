/**
 * Rows of Parquet files, the form in which most data sets of the Hub lie: read a row group at a time, the columns that are asked for and no others.
 *
 * The format is [Apache Parquet](https://parquet.apache.org/docs/file-format/), read by hyparquet, which is loaded with the first file. Values come as JSON
 * lines would have them: whole numbers as numbers where they are exact, times as ISO 8601, what is missing as null.
 */
import { Effect, Schema } from "effect"
import type { AsyncBuffer, ColumnMetaData, CompressionCodec, Compressors, FileMetaData, RowGroup } from "hyparquet"
import { FileError } from "./File.ts"
import * as Codecs from "./parquetCodecs.ts"
import * as Pages from "./parquetPages.ts"
import { walk } from "./parquetThrift.ts"

/** A Parquet file that cannot be read. */
export class ParquetError extends Schema.TaggedError<ParquetError>()("ParquetError", { path: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message(): string { return `${this.path}: ${this.problem}. Remedy: ${this.remedy}.` }
}

/** Column → value: text, number, boolean, null, a list or a record of them; bytes where the column's are no text; a bigint where a number is not exact. */
export type Row = Readonly<Record<string, unknown>>

/** An open file: what its footer says, and its rows on demand. Units: `groups` rows of each row group. */
export interface Parquet {
  readonly path: string
  readonly rows: number
  readonly columns: ReadonlyArray<string>
  readonly groups: ReadonlyArray<number>
  /** Bytes of the file that reading these columns takes; of all columns unless named. */
  readonly bytesRead: (columns?: ReadonlyArray<string>) => number
  /** Bytes of a text column's values, where the footer tells a bound of them. */
  readonly textBytes: (column: string) => number | undefined
  /** The rows of one group, of these columns. Fails: ParquetError, also for a column that is not there; FileError. */
  readonly read: (group: number, columns?: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Row>, ParquetError | FileError>
}

/** More in a row group's columns that are read, or in a footer, is no table of texts; nothing is allocated for it. Units: bytes when unpacked; values, each as often as its column is deep; parts of a schema. */
const limits = { bytes: 2 ** 30, values: 2 ** 25, footer: 2 ** 26, facts: 2 ** 22, schema: 2 ** 14, depth: 32 }
/** What columns may hold that take so many bytes of the file: a small file has no reason to hold much. */
const allowed = (packed: number) => ({ bytes: Math.min(limits.bytes, 2 ** 26 + 1024 * packed), values: Math.min(limits.values, 2 ** 21 + 32 * packed) })
const remedy = "fetch or write the file again; any writer of Parquet will do (pyarrow, datasets' to_parquet), without encryption"

const decoder = new TextDecoder("utf-8", { fatal: true })
/** A value as JSON lines would have it. `isPlain`: what is so already, and may stand in many rows. */
const plainly = (isPlain: (value: object) => boolean) => {
  const plain = (value: unknown): unknown => {
    switch (typeof value) {
      case "bigint": return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
      case "undefined": return null
      case "object": {
        if (value === null || value instanceof Uint8Array || isPlain(value)) return value
        if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
        if (Array.isArray(value)) return value.map(plain)
        if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, plain)
        return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]))
      }
      default: return value
    }
  }
  return plain
}

/** Runs the library; what it throws is about the file, but what the system says is not. */
const attempt = <A>(path: string, run: () => Promise<A>): Effect.Effect<A, ParquetError | FileError> => Effect.tryPromise({
  try: run,
  catch: (error) => {
    if (error instanceof ParquetError) return error
    const { code, message, syscall } = error as NodeJS.ErrnoException
    return syscall === undefined ? new ParquetError({ path, problem: `it is no Parquet file that can be read (${message})`, remedy }) : new FileError({ path, doing: "read", code: code ?? "unknown", problem: message })
  }
})

type Refuse = (problem: string) => never

/** A file's footer, walked before it is parsed. */
const footerOf = async (file: AsyncBuffer, refuse: Refuse): Promise<ArrayBuffer> => {
  const end = new DataView(await file.slice(file.byteLength - 8, file.byteLength)), size = end.getUint32(0, true)
  if (end.getUint32(4, true) !== 0x31524150) refuse("it does not end as a Parquet file does (PAR1)")
  if (size > file.byteLength - 12) refuse(`its footer says it has ${size} bytes, and the file has ${file.byteLength}`)
  if (size > limits.footer) refuse(`its footer has ${size} bytes; at most ${limits.footer} are read`)
  const footer = await file.slice(file.byteLength - size - 8, file.byteLength)
  walk(new DataView(footer, 0, size), 0, limits.facts)
  return footer
}

/** Holds a footer against the file's length and against itself, before anything is allocated by it. Throws ParquetError. */
const check = ({ metadata_length, num_rows, row_groups, schema }: FileMetaData, length: number, refuse: Refuse): void => {
  const end = length - metadata_length - 8, open: Array<number> = []
  if (schema.length > limits.schema) refuse(`its schema has ${schema.length} parts; at most ${limits.schema} are read`)
  for (const { num_children: children = 0 } of schema) {
    while (open.at(-1) === 0) open.pop()
    if (open.length > 0) open[open.length - 1]!--
    if (open.length > limits.depth || children < 0 || children > schema.length) refuse(`its schema is nested deeper than ${limits.depth}, or contradicts itself`)
    open.push(children)
  }
  let rows = 0n, bytes = 0
  for (const [at, group] of row_groups.entries()) {
    rows += group.num_rows
    for (const { crypto_metadata, file_path, meta_data: column } of group.columns) {
      if (column === undefined || crypto_metadata !== undefined) return refuse(`a column of row group ${at} is encrypted`)
      if (file_path !== undefined) return refuse(`a column of row group ${at} is in another file, ${file_path}`)
      const { start, size } = chunkOf(column), name = column.path_in_schema.join(".")
      if (!(start >= 4 && size >= 0 && start + size <= end)) return refuse(`column ${name} of row group ${at} lies outside the file's ${end} bytes of data`)
      if (column.num_values < 0n || column.num_values > limits.values || column.total_uncompressed_size < 0n) return refuse(`column ${name} of row group ${at} says it has ${column.num_values} values; at most ${limits.values} are read at once`)
      bytes += size
    }
    if (group.num_rows < 0n || group.num_rows > limits.values) return refuse(`row group ${at} says it has ${group.num_rows} rows; at most ${limits.values} are read at once`)
  }
  if (bytes > end) return refuse(`its columns take ${bytes} bytes and the file has ${end} of data: some lie over each other`)
  if (rows !== num_rows) refuse(`its row groups have ${rows} rows and its footer says ${num_rows}`)
}

/** Where a column of a row group lies. Units: bytes. */
const chunkOf = ({ data_page_offset, dictionary_page_offset, total_compressed_size }: ColumnMetaData) =>
  ({ start: Number(dictionary_page_offset || data_page_offset), size: Number(total_compressed_size) })

/**
 * Some columns of a row group, with their bytes and each with a codec of its own: so what unpacks its pages knows which column's they are, and has walked them before the library decodes them.
 * Fails: throws what is wrong with them.
 */
const guarded = async (library: Pages.Library, file: AsyncBuffer, { schema }: FileMetaData, group: RowGroup, columns: ReadonlyArray<string>, refuse: Refuse) => {
  const asked = group.columns.map(({ meta_data }) => meta_data!).filter(({ path_in_schema: [name] }) => columns.includes(name!)), sum = (of: (column: ColumnMetaData) => number) => asked.reduce((all, column) => all + of(column), 0)
  const packed = group.columns.reduce((all, { meta_data }) => all + chunkOf(meta_data!).size, 0), most = allowed(packed), rows = Number(group.num_rows)
  const bytes = sum(({ total_uncompressed_size }) => Number(total_uncompressed_size)), values = Math.max(rows, sum(({ num_values, path_in_schema }) => Number(num_values) * path_in_schema.length))
  if (bytes > most.bytes) refuse(`a row group of ${packed} bytes says that it unpacks to ${bytes}; at most ${most.bytes} are read at once`)
  if (values > most.values) refuse(`a row group of ${packed} bytes says that it has ${rows} rows and ${values} values; at most ${most.values} are read at once`)
  let left = most.bytes
  const spend = (made: number) => { if ((left -= made) < 0) refuse(`its texts are longer than ${most.bytes} bytes, which is the most that is read at once`) }
  const parsed = new WeakSet<object>(), asTheyLie = (bytes: Uint8Array | undefined) => bytes
  let parts = most.values
  const jsonFromBytes = (bytes: Uint8Array | undefined): unknown => {
    if (bytes === undefined) return undefined
    for (const byte of bytes) if (byte === 0x2c || byte === 0x5b || byte === 0x7b) parts-- // , [ {
    if (parts < 0) refuse(`its JSON has more than ${most.values} values, which is the most that is read at once`)
    const value: unknown = JSON.parse(decoder.decode(bytes))
    if (typeof value === "object" && value !== null) parsed.add(value)
    return value
  }
  const compressors: Record<string, (packed: Uint8Array, size: number) => Uint8Array> = {}, lying = new Map<number, ArrayBuffer>()
  for (const [at, column] of asked.entries()) {
    const { start, size } = chunkOf(column), path = library.getSchemaPath([...schema], column.path_in_schema)
    if (path.some(({ element }) => element.logical_type?.type === "VARIANT")) refuse(`column ${column.path_in_schema.join(".")} is of the type VARIANT, which is not read`)
    lying.set(start, await file.slice(start, start + size))
    compressors[at] = Pages.guard(library, { bytes: lying.get(start)!, column, path, rows, entries: most.values, spend })
  }
  return {
    compressors: compressors as Compressors, plain: plainly((value) => parsed.has(value)),
    parsers: { stringFromBytes: (bytes: Uint8Array | undefined) => bytes && decoder.decode(bytes), jsonFromBytes, geometryFromBytes: asTheyLie, geographyFromBytes: asTheyLie },
    metadata: { schema, version: 1, num_rows: group.num_rows, metadata_length: 0, row_groups: [{ ...group, columns: asked.map((column, at) => ({ file_offset: 0n, meta_data: { ...column, codec: String(at) as CompressionCodec } })) }] } satisfies FileMetaData,
    // the columns as they were walked; small ones are asked for together
    file: { byteLength: file.byteLength, slice: (from: number, to = file.byteLength) => {
      const one = lying.get(from)
      if (one?.byteLength === to - from) return one
      const whole = new Uint8Array(to - from)
      for (const [start, bytes] of lying) if (start >= from && start + bytes.byteLength <= to) whole.set(new Uint8Array(bytes), start - from)
      return whole.buffer
    } }
  }
}

/** A file's footer, and its rows on demand. Fails: ParquetError, FileError. */
export const open = (path: string): Effect.Effect<Parquet, ParquetError | FileError> => attempt(path, async () => {
  const { asyncBufferFromFile, parquetMetadata, parquetReadObjects, parquetSchema } = await import("hyparquet"), library = await Pages.load()
  await Codecs.load()
  const refuse: Refuse = (problem) => { throw new ParquetError({ path, problem, remedy }) }
  const file: AsyncBuffer = await asyncBufferFromFile(path)
  if (file.byteLength < 12) refuse(`it has ${file.byteLength} bytes, less than any Parquet file`)
  if (Buffer.from(await file.slice(0, 4)).toString("latin1") !== "PAR1") refuse("it does not begin as a Parquet file does (PAR1)")
  const metadata = parquetMetadata(await footerOf(file, refuse), { geoparquet: false })
  check(metadata, file.byteLength, refuse)
  const names = parquetSchema(metadata).children.map(({ element }) => element.name), groups = metadata.row_groups.map(({ num_rows }) => Number(num_rows))
  const chunks = metadata.row_groups.flatMap(({ columns }) => columns.map(({ meta_data }) => meta_data!)), of = (name: string) => chunks.filter(({ path_in_schema }) => path_in_schema[0] === name)
  return {
    path, rows: Number(metadata.num_rows), columns: names, groups,
    bytesRead: (columns = names) => metadata.metadata_length + 8 + columns.flatMap(of).reduce((sum, chunk) => sum + chunkOf(chunk).size, 0),
    textBytes: (column) => of(column).reduce<number | undefined>((sum, { encodings, size_statistics, total_uncompressed_size }) => {
      // a dictionary holds a value once that many rows may have
      const known = size_statistics?.unencoded_byte_array_data_bytes ?? (encodings.some((encoding) => encoding.endsWith("DICTIONARY") || encoding === "DELTA_BYTE_ARRAY") ? undefined : total_uncompressed_size)
      return sum === undefined || known === undefined ? undefined : sum + Number(known)
    }, 0),
    read: (group, columns = names) => attempt(path, async () => {
      const missing = columns.find((name) => !names.includes(name))
      if (missing !== undefined) throw new ParquetError({ path, problem: `it has no column ${missing}`, remedy: `name one of its columns: ${names.join(", ")}` })
      const count = groups[group]!
      if (count === 0) return []
      const { plain, ...source } = await guarded(library, file, metadata, metadata.row_groups[group]!, columns, refuse)
      const rows: Array<Record<string, unknown>> = await parquetReadObjects({ ...source, columns: [...columns], rowStart: 0, rowEnd: count, utf8: false })
      if (rows.length !== count) refuse(`row group ${group} has ${rows.length} rows where the footer says ${count}`)
      for (const row of rows) for (const name of Object.keys(row)) row[name] = plain(row[name])
      return rows
    })
  }
})

/** All rows of a file, in order. Fails: ParquetError, FileError. */
export const read = (path: string, columns?: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<Row>, ParquetError | FileError> => Effect.gen(function*() {
  const file = yield* open(path), rows: Array<Row> = []
  for (const group of file.groups.keys()) for (const row of yield* file.read(group, columns)) rows.push(row)
  return rows
})
