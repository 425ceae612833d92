import { Effect } from "effect"
import { readdir, readFile, stat } from "node:fs/promises"
import { basename, join } from "node:path"
import { CorpusError } from "./CorpusError.ts"
import { cutText } from "./cutText.ts"
import * as File from "./File.ts"

/** Documents from a text, JSON-lines (`{ "id", "text" }` or a string a line) or folder of such files. Options: `separator` between a text's documents, else it is cut into about `documentBytes`. */
export const readDocuments = (path: string, options: { readonly domain: string; readonly separator?: string; readonly documentBytes?: number }): Effect.Effect<ReadonlyArray<{ readonly id: string; readonly text: string }>, CorpusError | File.FileError> =>
  Effect.gen(function*() {
    const information = yield* File.attempt("read", path, () => stat(path))
    if (information.isDirectory()) {
      const names = (yield* File.attempt("read", path, () => readdir(path))).filter((name) => !name.startsWith(".")).sort()
      const files = yield* Effect.forEach(names, (name) => Effect.map(readDocuments(join(path, name), options), (found) => found.map(({ id, text }) => ({ id: `${name}/${id}`, text }))))
      return files.flat()
    }
    const bytes = yield* File.attempt("read", path, () => readFile(path))
    const unreadable = (problem: string) => new CorpusError({ reason: "unreadable", domain: options.domain, problem: `${path}: ${problem}`, remedy: "Give UTF-8 text, or JSON lines with a text each" })
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
    const pieces = options.separator === undefined ? cutText(text, options.documentBytes ?? 4096) : text.split(options.separator)
    return pieces.map((piece, index) => ({ id: `${basename(path)}#${index + 1}`, text: piece }))
  })
