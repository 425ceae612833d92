import { Effect } from "effect"
import { readdir, readFile, stat } from "node:fs/promises"
import { basename, join } from "node:path"
import { CorpusError } from "./CorpusError.ts"
import { cutText } from "./cutText.ts"
import * as File from "./File.ts"
import * as Parquet from "./Parquet.ts"

/** About the size of the documents that a text is cut into. Units: characters. */
export const usualBytes = 4096

const refusal = (domain: string, path: string) => (problem: string) => new CorpusError({ reason: "unreadable", domain, problem: `${path}: ${problem}`, remedy: "Give UTF-8 text, or JSON lines or Parquet with a text each" })
const columnsOf = (table: Parquet.Parquet) => table.columns.includes("id") ? ["id", "text"] : ["text"]

/** What a Parquet file's footer says of its texts. Units: `text` bytes of the texts, where it tells a bound; `read` bytes of the file that they take. */
export const tableSize = (path: string, domain: string): Effect.Effect<{ readonly text: number | undefined; readonly read: number }, CorpusError | File.FileError> => Parquet.open(path).pipe(
  Effect.flatMap((table) => table.columns.includes("text") ? Effect.succeed({ text: table.textBytes("text"), read: table.bytesRead(columnsOf(table)) }) : Effect.fail(refusal(domain, path)(`has no column text, only ${table.columns.join(", ")}`))),
  Effect.catchTag("ParquetError", ({ problem }) => Effect.fail(refusal(domain, path)(problem)))
)

/** Documents of a Parquet file. Fails: ParquetError, also for a row without text. */
const readTable = (path: string) => Effect.gen(function*() {
  const table = yield* Parquet.open(path), documents: Array<{ id: string; text: string }> = []
  for (const group of table.groups.keys()) for (const { id, text } of yield* table.read(group, columnsOf(table))) {
    const number = documents.length + 1
    if (typeof text !== "string") return yield* new Parquet.ParquetError({ path, problem: `row ${number} has no text`, remedy: "give a text in each row" })
    documents.push({ id: id === undefined || id === null ? String(number) : String(id), text })
  }
  return documents
})

/** Documents from a text, JSON-lines (`{ "id", "text" }` or a string a line), a Parquet file (columns `text` and, where there is one, `id`) or a folder of such files. Options: `separator` between a text's documents, else it is cut into about `documentBytes`. */
export const readDocuments = (path: string, options: { readonly domain: string; readonly separator?: string; readonly documentBytes?: number }): Effect.Effect<ReadonlyArray<{ readonly id: string; readonly text: string }>, CorpusError | File.FileError> =>
  Effect.gen(function*() {
    const information = yield* File.attempt("read", path, () => stat(path))
    if (information.isDirectory()) {
      const names = (yield* File.attempt("read", path, () => readdir(path))).filter((name) => !name.startsWith(".")).sort()
      const files = yield* Effect.forEach(names, (name) => Effect.map(readDocuments(join(path, name), options), (found) => found.map(({ id, text }) => ({ id: `${name}/${id}`, text }))))
      return files.flat()
    }
    const unreadable = refusal(options.domain, path)
    if (path.endsWith(".parquet")) return yield* Effect.catchTag(readTable(path), "ParquetError", ({ problem }) => Effect.fail(unreadable(problem)))
    const bytes = yield* File.attempt("read", path, () => readFile(path))
    const text = yield* Effect.try({ try: () => new TextDecoder("utf-8", { fatal: true }).decode(bytes), catch: () => unreadable("is not UTF-8") })
    if (path.endsWith(".jsonl")) {
      const lines = text.split("\n")
      const documents: Array<{ id: string; text: string }> = []
      for (const [number, line] of lines.entries()) {
        if (line.trim() === "") continue
        const value = yield* Effect.try({ try: () => JSON.parse(line) as unknown, catch: () => unreadable(`line ${number + 1} is no JSON`) })
        const record = typeof value === "string" ? { text: value } : value as { id?: unknown; text?: unknown } | null
        if (typeof record?.text !== "string") return yield* unreadable(`line ${number + 1} has no text`)
        const id = "id" in record && record.id !== undefined ? String(record.id) : String(number + 1)
        documents.push({ id, text: record.text })
      }
      return documents
    }
    const pieces = options.separator === undefined ? cutText(text, options.documentBytes ?? usualBytes) : text.split(options.separator)
    return pieces.map((piece, index) => ({ id: `${basename(path)}#${index + 1}`, text: piece }))
  })
