/**
 * Rows of Parquet files, the form in which most data sets of the Hub lie: read a row group at a time, the columns that are asked for and no others.
 *
 * The format is [Apache Parquet](https://parquet.apache.org/docs/file-format/), read by hyparquet, which is loaded with the first file. Values come as JSON
 * lines would have them: whole numbers as numbers where they are exact, times as ISO 8601, what is missing as null.
 */
import { Effect, Schema } from "effect"
import type { AsyncBuffer, ColumnMetaData, Compressors, FileMetaData } from "hyparquet"
import { FileError } from "./File.ts"

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

/** More in one row group is no table of texts; nothing is allocated for it. Units: bytes when unpacked; values of a column. */
const limits = { bytes: 2 ** 31, values: 2 ** 26 }
const remedy = "fetch or write the file again; any writer of Parquet will do (pyarrow, datasets' to_parquet), without encryption"

const decoder = new TextDecoder("utf-8", { fatal: true })
const parsers = { stringFromBytes: (bytes: Uint8Array | undefined) => bytes && decoder.decode(bytes) }

/** A value as JSON lines would have it. */
const plain = (value: unknown): unknown => {
  switch (typeof value) {
    case "bigint": return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
    case "undefined": return null
    case "object": {
      if (value === null || value instanceof Uint8Array) return value
      if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
      if (Array.isArray(value)) return value.map(plain)
      if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, plain)
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]))
    }
    default: return value
  }
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

/** Holds a footer against the file's length and against itself, before anything is allocated by it. Throws ParquetError. */
const check = (path: string, { metadata_length, num_rows, row_groups }: FileMetaData, length: number): void => {
  const end = length - metadata_length - 8
  const refuse = (problem: string): never => { throw new ParquetError({ path, problem, remedy }) }
  let rows = 0n
  for (const [at, group] of row_groups.entries()) {
    let bytes = 0
    rows += group.num_rows
    for (const { crypto_metadata, file_path, meta_data: column } of group.columns) {
      if (column === undefined || crypto_metadata !== undefined) return refuse(`a column of row group ${at} is encrypted`)
      if (file_path !== undefined) return refuse(`a column of row group ${at} is in another file, ${file_path}`)
      const { start, size } = chunkOf(column), name = column.path_in_schema.join(".")
      if (!(start >= 4 && size >= 0 && start + size <= end)) return refuse(`column ${name} of row group ${at} lies outside the file's ${end} bytes of data`)
      if (column.num_values < 0n || column.num_values > limits.values) return refuse(`column ${name} of row group ${at} says it has ${column.num_values} values; at most ${limits.values} are read at once`)
      bytes += Number(column.total_uncompressed_size)
    }
    if (group.num_rows < 0n || group.num_rows > limits.values || !(bytes >= 0 && bytes <= limits.bytes)) return refuse(`row group ${at} says it has ${group.num_rows} rows of ${bytes} bytes; at most ${limits.bytes} bytes are read at once`)
  }
  if (rows !== num_rows) refuse(`its row groups have ${rows} rows and its footer says ${num_rows}`)
}

/** Where a column of a row group lies. Units: bytes. */
const chunkOf = ({ data_page_offset, dictionary_page_offset, total_compressed_size }: ColumnMetaData) =>
  ({ start: Number(dictionary_page_offset || data_page_offset), size: Number(total_compressed_size) })

/** The decompressors, each held to the most that a page of this file may have. */
const within = (path: string, compressors: Compressors, most: number): Compressors => Object.fromEntries(Object.entries(compressors).map(([codec, unpack]) => [codec, (input: Uint8Array, length: number) => {
  if (!(length >= 0 && length <= most)) throw new ParquetError({ path, problem: `a page says it has ${length} bytes, and its column at most ${most}`, remedy })
  return length === 0 ? new Uint8Array(0) : unpack(input, length) // an empty page of LZ4 has a byte that the library takes for an offset
}]))

/** A file's footer, and its rows on demand. Fails: ParquetError, FileError. */
export const open = (path: string): Effect.Effect<Parquet, ParquetError | FileError> => attempt(path, async () => {
  const { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } = await import("hyparquet"), { compressors } = await import("hyparquet-compressors")
  const file: AsyncBuffer = await asyncBufferFromFile(path)
  if (file.byteLength < 12) throw new ParquetError({ path, problem: `it has ${file.byteLength} bytes, less than any Parquet file`, remedy })
  if (Buffer.from(await file.slice(0, 4)).toString("latin1") !== "PAR1") throw new ParquetError({ path, problem: "it does not begin as a Parquet file does (PAR1)", remedy })
  const metadata = await parquetMetadataAsync(file, { geoparquet: false })
  check(path, metadata, file.byteLength)
  const names = parquetSchema(metadata).children.map(({ element }) => element.name), groups = metadata.row_groups.map(({ num_rows }) => Number(num_rows))
  const starts = groups.map((_, at) => groups.slice(0, at).reduce((sum, rows) => sum + rows, 0))
  const chunks = metadata.row_groups.flatMap(({ columns }) => columns.map(({ meta_data }) => meta_data!)), of = (name: string) => chunks.filter(({ path_in_schema }) => path_in_schema[0] === name)
  const own = within(path, compressors, chunks.reduce((most, { total_uncompressed_size }) => Math.max(most, Number(total_uncompressed_size)), 0))
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
      const rowStart = starts[group]!, count = groups[group]!
      if (count === 0) return []
      const rows = await parquetReadObjects({ file, metadata, columns: [...columns], rowStart, rowEnd: rowStart + count, compressors: own, utf8: false, parsers })
      if (rows.length !== count) throw new ParquetError({ path, problem: `row group ${group} has ${rows.length} rows where the footer says ${count}`, remedy })
      return rows.map((row) => plain(row) as Row)
    })
  }
})

/** All rows of a file, in order. Fails: ParquetError, FileError. */
export const read = (path: string, columns?: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<Row>, ParquetError | FileError> => Effect.gen(function*() {
  const file = yield* open(path), rows: Array<Row> = []
  for (const group of file.groups.keys()) for (const row of yield* file.read(group, columns)) rows.push(row)
  return rows
})
