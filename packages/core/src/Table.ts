/**
 * An Arrow table whose columns a definition declares: what activations, traces, results and logs are when they cross packages.
 *
 * The definition's name and version stand in the file's metadata (`switchyard.table`, `switchyard.version`), so any Arrow reader
 * can open the file and ours can refuse another table's. The contract with every column is docs/tables.md.
 */
import { Effect, Schema } from "effect"
import * as arrow from "apache-arrow"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import * as Artifact from "./Artifact.ts"
import * as Column from "./Column.ts"
import * as File from "./File.ts"

/** A table that could not be read or written: which table, where, what is wrong and what to do. */
export class TableError extends Schema.TaggedError<TableError>()("TableError", {
  table: Schema.String, at: Schema.String, problem: Schema.String, remedy: Schema.String
}) {
  override get message() { return `table ${this.table} at ${this.at}: ${this.problem}. ${this.remedy}` }
}

/** Columns by name. A name ending in `*` stands for any number of columns with that beginning. */
export type Columns = Readonly<Record<string, Column.Kind>>
/** A table's declaration: name, version and columns. */
export interface Definition<Name extends string = string, C extends Columns = Columns> {
  readonly name: Name
  readonly version: number
  readonly columns: C
}
/** Declares a table. Raise the version when a column changes its meaning. */
export const define = <const Name extends string, const C extends Columns>(name: Name, spec: { readonly version: number; readonly columns: C }): Definition<Name, C> =>
  ({ name, ...spec })

type Pattern<K> = K extends `${infer Start}*` ? `${Start}${string}` : K
/** What `make` takes for each column of a definition. */
export type Given<D extends Definition> = { readonly [K in keyof D["columns"] as Pattern<K>]: Column.Give<D["columns"][K]> }
/** What each column reads as. */
export type Values<D extends Definition> = { readonly [K in keyof D["columns"] as Pattern<K>]: Column.Read<D["columns"][K]> }
/** One row as a record. */
export type Row<D extends Definition> = { readonly [K in keyof D["columns"] as Pattern<K>]: Column.Row<D["columns"][K]> }

/** A table of declared columns; `kind` is the definition's name, so that a trace is no training log to the compiler. */
export interface Table<D extends Definition = Definition> {
  readonly kind: D["name"]
  readonly header: { readonly table: string; readonly version: number; readonly rows: number }
  readonly definition: D
  readonly arrow: arrow.Table
}

const kindOf = (definition: Definition, column: string): Column.Kind | undefined =>
  definition.columns[column] ?? Object.entries(definition.columns).find(([name]) => name.endsWith("*") && column.startsWith(name.slice(0, -1)))?.[1]

const wrap = <D extends Definition>(definition: D, table: arrow.Table): Table<D> => ({
  kind: definition.name, definition, arrow: table,
  header: { table: definition.name, version: definition.version, rows: table.numRows }
})

/** A table of whole columns (typed arrays are taken as they are, not copied). Dies when a column is missing, unknown or of another length. */
export const make = <D extends Definition>(definition: D, given: Given<D>): Table<D> => {
  const columns = given as Readonly<Record<string, unknown>>
  for (const name of Object.keys(definition.columns)) {
    if (!name.endsWith("*") && columns[name] === undefined) throw new Error(`table ${definition.name}: column ${name} is missing`)
  }
  const names = Object.keys(columns)
  const fields: Array<arrow.Field> = []
  const children: Array<arrow.Data> = []
  for (const name of names) {
    const kind = kindOf(definition, name)
    if (kind === undefined) throw new Error(`table ${definition.name} declares no column ${name}`)
    const data = Column.write(name, kind, columns[name], fields.length)
    if (data.length !== (children[0]?.length ?? data.length)) {
      throw new Error(`table ${definition.name}: column ${name} has ${data.length} rows, column ${names[0]} has ${children[0]?.length}`)
    }
    children.push(data)
    fields.push(new arrow.Field(name, data.type, kind === "optional"))
  }
  const metadata = new Map([["switchyard.table", definition.name], ["switchyard.version", String(definition.version)]])
  const schema = new arrow.Schema(fields, metadata)
  const struct = arrow.makeData({ type: new arrow.Struct(fields), length: children[0]?.length ?? 0, nullCount: 0, children })
  return wrap(definition, new arrow.Table(schema, [new arrow.RecordBatch(schema, struct)]))
}

/** A table of records, each checked against the columns' Schema. Fails: `TableError` naming the first wrong row and column. */
export const fromRows = <D extends Definition>(definition: D, rows: ReadonlyArray<Row<D>>): Effect.Effect<Table<D>, TableError> => Effect.gen(function*() {
  const names = [...new Set([...Object.keys(definition.columns).filter((name) => !name.endsWith("*")), ...rows.flatMap((row) => Object.keys(row))])]
  const given: Record<string, unknown> = {}
  for (const name of names) {
    const kind = kindOf(definition, name)
    const fail = (row: number, problem: string) => new TableError({
      table: definition.name, at: `row ${row}, column ${name}`, problem, remedy: "Give rows of the declared columns"
    })
    if (kind === undefined) return yield* fail(rows.findIndex((row) => name in row), "is not declared")
    const values = rows.map((row) => (row as Record<string, unknown>)[name])
    const is = Schema.is(Column.schemas[kind] as Schema.Codec<unknown>)
    const wrong = values.findIndex((value) => !is(value))
    if (wrong >= 0) return yield* fail(wrong, `${JSON.stringify(values[wrong]) ?? "nothing"} is no ${kind}`)
    const size = kind === "vector" ? (values[0] as ReadonlyArray<number> | undefined)?.length ?? 1 : 0
    const uneven = kind === "vector" ? values.findIndex((value) => (value as ReadonlyArray<number>).length !== size) : -1
    if (uneven >= 0) return yield* fail(uneven, `vectors are of different sizes, ${size} and ${(values[uneven] as ReadonlyArray<number>).length}`)
    given[name] = kind === "vector" ? { size, values: Float32Array.from((values as ReadonlyArray<ReadonlyArray<number>>).flat()) } : values
  }
  return make(definition, given as Given<D>)
})

/** One column as plain arrays: `Table.column(trace, "layer")` is a `Uint16Array`. */
export const column = <D extends Definition, K extends keyof Values<D> & string>(table: Table<D>, name: K): Values<D>[K] => {
  const vector = table.arrow.getChild(name)
  const kind = kindOf(table.definition, name)
  if (vector === null || kind === undefined) throw new Error(`table ${table.definition.name} has no column ${name}: it has ${names(table).join(", ")}`)
  return Column.read(kind, vector) as Values<D>[K]
}

/** The names of the table's columns, in the file's order. */
export const names = (table: Table): ReadonlyArray<string> => table.arrow.schema.names.map(String)

/** The table as records (small tables: results, logs). Missing values are null. */
export const rows = <D extends Definition>(table: Table<D>): ReadonlyArray<Row<D>> => {
  const columns = names(table).map((name) => [name, kindOf(table.definition, name)!, table.arrow.getChild(name)!] as const)
  return Array.from({ length: table.arrow.numRows }, (_, row) =>
    Object.fromEntries(columns.map(([name, kind, vector]) => [name, kind === "vector" ? Array.from(vector.get(row)) : vector.get(row)])) as Row<D>)
}

/** The table as the bytes of an Arrow file. */
export const toIPC = (table: Table): Uint8Array => arrow.tableToIPC(table.arrow, "file")

/** A table from the bytes of an Arrow file or stream. Fails: `TableError` when it is none, another table, another version, or its columns differ. */
export const fromIPC = <D extends Definition>(definition: D, bytes: Uint8Array, at = "bytes"): Effect.Effect<Table<D>, TableError> => Effect.gen(function*() {
  const fail = (problem: string, remedy: string) => new TableError({ table: definition.name, at, problem, remedy })
  const table = yield* Effect.try({
    try: () => arrow.tableFromIPC(bytes),
    catch: (cause) => fail(`no Arrow data (${cause instanceof Error ? cause.message : String(cause)})`, "Write the file again")
  })
  const name = table.schema.metadata.get("switchyard.table") ?? "none of ours"
  const version = table.schema.metadata.get("switchyard.version")
  if (name !== definition.name) return yield* fail(`the file holds table ${name}`, `Give a file of table ${definition.name}`)
  if (version !== String(definition.version)) {
    return yield* fail(`the file has version ${version}, this program reads ${definition.version}`, "Make the file again with this version")
  }
  for (const wanted of Object.keys(definition.columns)) {
    if (!wanted.endsWith("*") && table.getChild(wanted) === null) return yield* fail(`column ${wanted} is missing`, "Make the file again")
  }
  for (const found of table.schema.names.map(String)) {
    const kind = kindOf(definition, found)
    if (kind === undefined) return yield* fail(`column ${found} is not declared`, "Raise the version of a table whose columns change")
    const problem = Column.problem(kind, table.getChild(found)!)
    if (problem !== undefined) return yield* fail(`column ${found} ${problem}`, "Make the file again")
  }
  return wrap(definition, table)
})

/** Writes an Arrow file that appears whole or not at all. Fails: `FileError`. */
export const write = (table: Table, file: string): Effect.Effect<void, File.FileError> => Effect.suspend(() => File.write(file, toIPC(table)))

/** Reads an Arrow file of the declared table. Fails: `FileError` where it cannot be read, `TableError` where it holds something else. */
export const read = <D extends Definition>(definition: D, file: string): Effect.Effect<Table<D>, TableError | File.FileError> =>
  Effect.flatMap(File.attempt("read", file, () => readFile(file)), (bytes) => fromIPC(definition, bytes, file))

/** How tables of this definition are kept in a store: one file, `<name>.arrow`. */
const artifact = <D extends Definition>(definition: D): Artifact.Artifact<Table<D>> => Artifact.make<Table<D>>(definition.name, {
  save: (table, directory) => write(table, join(directory, `${definition.name}.arrow`)),
  load: (directory) => read(definition, join(directory, `${definition.name}.arrow`))
})
export { artifact as Artifact }
