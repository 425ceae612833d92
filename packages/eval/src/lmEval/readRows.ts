/**
 * A task's documents from local files: JSON lines, JSON, CSV or plain text (pages of wikitext). `<task>/<split>.jsonl` in the columns of the Hub's
 * data set is always looked for; a recipe may name other files of common collections.
 */
import { File } from "@switchyard/core"
import { Effect } from "effect"
import { existsSync } from "node:fs"
import { join, relative } from "node:path"
import { type Recipe, type Row, TaskError } from "./Recipe.ts"

/** Cells of comma-separated lines; quoted cells may hold commas, line ends and doubled quotes. */
export const csvCells = (text: string): ReadonlyArray<ReadonlyArray<string>> => {
  const lines: Array<Array<string>> = []
  let line: Array<string> = [], at = 0
  while (at < text.length) {
    let cell = ""
    if (text[at] === "\"") {
      for (at++; at < text.length; at++) {
        if (text[at] !== "\"") cell += text[at]
        else if (text[at + 1] === "\"") { cell += "\""; at++ }
        else break
      }
      at++
    } else {
      const end = text.slice(at).search(/[,\r\n]/)
      cell = end < 0 ? text.slice(at) : text.slice(at, at + end)
      at += cell.length
    }
    line.push(cell)
    if (text[at] === ",") { at++; if (at === text.length) line.push("") }
    else {
      if (text[at] === "\r") at++
      if (text[at] === "\n") at++
      lines.push(line)
      line = []
    }
  }
  if (line.length > 0) lines.push(line)
  return lines
}

/** Rows of a CSV: columns by the first line where that has one called `question`, else by number. */
const csvRows = (text: string): ReadonlyArray<Row> => {
  const [first = [], ...rest] = csvCells(text), named = first.includes("question")
  return (named ? rest : [first, ...rest]).map((cells) => Object.fromEntries(cells.map((cell, at) => [named ? first[at] ?? String(at) : String(at), cell])))
}

/** Pages of a wikitext file: each from a heading of one = to the next. (How the Hub's document-level set was cut is not published with it; this is the harness's older rule.) */
export const wikitextPages = (text: string): ReadonlyArray<Row> => {
  const pages: Array<string> = []
  let lines: Array<string> = []
  const end = () => { const page = lines.join("\n"); if (page.trim() !== "") pages.push(page) }
  for (const line of text.split("\n")) {
    const bare = line.replaceAll("= = =", "===").replaceAll("= =", "==").trim()
    if (bare.startsWith("= ") && bare.endsWith(" =")) { end(); lines = [] }
    lines.push(line)
  }
  end()
  return pages.map((page) => ({ page }))
}

const parse = (path: string, text: string): ReadonlyArray<Row> => {
  if (path.endsWith(".csv")) return csvRows(text)
  if (path.endsWith(".jsonl")) return text.split("\n").filter((line) => line.trim() !== "").map((line) => JSON.parse(line) as Row)
  if (path.endsWith(".json")) return JSON.parse(text) as ReadonlyArray<Row>
  return wikitextPages(text)
}

/** Where a split may lie, the most particular first. */
export const places = (task: string, recipe: Recipe, split: string): ReadonlyArray<string> => [
  `${task}/${split}.jsonl`, `${task}/${split}.json`, `${task}/${split}.csv`, `${task}_${split}.jsonl`, ...split === recipe.split ? [`${task}.jsonl`] : [], ...recipe.files?.[split] ?? []
]

/** The documents of a split, in the file's order, and the file. Fails: TaskError where there is no such file or a line cannot be read; FileError. */
export const readRows = (task: string, recipe: Recipe, split: string, folder: string): Effect.Effect<{ readonly rows: ReadonlyArray<Row>; readonly file: string }, TaskError | File.FileError> => Effect.gen(function*() {
  const candidates = places(task, recipe, split), found = candidates.find((name) => existsSync(join(folder, name)))
  if (found === undefined) {
    return yield* new TaskError({ task, at: folder, problem: `it has no ${split} documents`, remedy: `Put them there as ${candidates.slice(0, 1).concat(candidates.slice(recipe.files?.[split] === undefined ? 1 : -1)).join(" or ")}, one JSON object a line in the columns of the Hub's data set.` })
  }
  const path = join(folder, found), text = yield* File.read(path)
  const labels = recipe.labels !== undefined && found.endsWith(recipe.labels[0]) ? join(folder, found.slice(0, -recipe.labels[0].length) + recipe.labels[1]) : undefined
  const lines = labels !== undefined && existsSync(labels) ? (yield* File.read(labels)).split("\n") : []
  const rows = yield* Effect.try({
    try: () => parse(path, text).map((row, at) => {
      const read = recipe.read?.(row, at, lines) ?? row
      return recipe.prepare?.(read) ?? read
    }),
    catch: (error) => new TaskError({ task, at: relative(process.cwd(), path), problem: (error as Error).message, remedy: "Give the file in the columns of the Hub's data set." })
  })
  if (rows.length === 0) return yield* new TaskError({ task, at: path, problem: "it holds no document", remedy: "Give at least one." })
  return { rows, file: path }
})
