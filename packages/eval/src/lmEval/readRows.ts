/**
 * A task's documents from local files: JSON lines, JSON, CSV or plain text (pages of wikitext). `<task>/<split>.jsonl` in the columns of the Hub's
 * data set is always looked for; a recipe may name other files of common collections. Else any file of the folder that is named after the split counts, as
 * data sets of the Hub have them (`data/test.jsonl`, `ARC-Easy/test-00000-of-00002.csv`), where it is clear which one is meant. A file may be given alone.
 */
import { File } from "@switchyard/core"
import { Effect } from "effect"
import { existsSync, readdirSync, statSync } from "node:fs"
import { basename, join, relative, sep } from "node:path"
import { tasks } from "../tasks.ts"
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

/** Rows of a CSV: columns by the first line where names stand there, or one called `question`, else by number. */
const csvRows = (text: string, isNamed: boolean): ReadonlyArray<Row> => {
  const [first = [], ...rest] = csvCells(text), named = isNamed || first.includes("question")
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

const lines = (text: string): ReadonlyArray<Row> => text.split("\n").filter((line) => line.trim() !== "").map((line) => JSON.parse(line) as Row)
const parse = (path: string, text: string, isNamed: boolean): ReadonlyArray<Row> => {
  if (path.endsWith(".csv")) return csvRows(text, isNamed)
  if (path.endsWith(".jsonl")) return lines(text)
  // many files of the Hub are JSON lines under this name
  if (path.endsWith(".json")) return text.trimStart().startsWith("[") ? JSON.parse(text) as ReadonlyArray<Row> : lines(text)
  return wikitextPages(text)
}

const plain = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "_")
/** The files of a folder that are named after a split, pieces of one together; of several, those below a folder with the task's name. */
const named = (folder: string, task: string, split: string): ReadonlyArray<ReadonlyArray<string>> => {
  if (!existsSync(folder)) return []
  const pattern = new RegExp(`^(.*?)(?:^|[._-])${split}(?:-\\d{5}-of-\\d{5})?\\.(jsonl|json|csv)$`)
  const groups = new Map<string, Array<string>>()
  for (const path of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
    const found = pattern.exec(basename(path))
    if (found === null || path.split(sep).some((part) => part !== task && Object.hasOwn(tasks, part))) continue // of another task
    const key = [path.slice(0, path.length - basename(path).length), found[1], found[2]].join("\0")
    groups.set(key, [...groups.get(key) ?? [], path])
  }
  const all = [...groups.values()], own = all.filter(([path]) => path!.split(sep).some((part) => plain(part.replace(/\.\w+$/, "")).startsWith(plain(task))))
  return own.length > 0 ? own : all
}

/** Where a split may lie, the most particular first. */
export const places = (task: string, recipe: Recipe, split: string): ReadonlyArray<string> => [
  `${task}/${split}.jsonl`, `${task}/${split}.json`, `${task}/${split}.csv`, `${task}_${split}.jsonl`, ...split === recipe.split ? [`${task}.jsonl`] : [], ...recipe.files?.[split] ?? []
]

/** The documents of a split, in the file's order, and the file. `data`: a folder, or the file of the evaluated split. Fails: TaskError where there is no such file or a line cannot be read; FileError. */
export const readRows = (task: string, recipe: Recipe, split: string, data: string): Effect.Effect<{ readonly rows: ReadonlyArray<Row>; readonly file: string }, TaskError | File.FileError> => Effect.gen(function*() {
  const candidates = places(task, recipe, split), isFile = existsSync(data) && statSync(data).isFile(), usual = isFile ? undefined : candidates.find((name) => existsSync(join(data, name)))
  const groups = isFile || usual !== undefined ? [] : named(data, task, split), [group] = groups
  const refuse = (problem: string, remedy: string) => new TaskError({ task, at: data, problem, remedy })
  if (isFile && split !== recipe.split) return yield* refuse(`it is one file, and the examples are from the ${split} documents`, "Give a folder, or no examples (--num_fewshot 0).")
  if (groups.length > 1) return yield* refuse(`several files could be its ${split} documents: ${groups.slice(0, 6).map(([path]) => path).join(", ")}`, `Give the folder of one of them, or name it ${task}/${split}.jsonl.`)
  if (!isFile && usual === undefined && group === undefined) {
    return yield* refuse(`it has no ${split} documents`, `Put them there as ${candidates.slice(0, 1).concat(candidates.slice(recipe.files?.[split] === undefined ? 1 : -1)).join(" or ")}, one JSON object a line in the columns of the Hub's data set.`)
  }
  const found = isFile ? [""] : usual !== undefined ? [usual] : group!, path = join(data, found[0]!)
  const pieces = yield* Effect.forEach(found, (name) => File.read(join(data, name)))
  const labels = recipe.labels !== undefined && path.endsWith(recipe.labels[0]) ? path.slice(0, -recipe.labels[0].length) + recipe.labels[1] : undefined
  const beside = labels !== undefined && existsSync(labels) ? (yield* File.read(labels)).split("\n") : []
  const rows = yield* Effect.try({
    try: () => pieces.flatMap((text) => parse(path, text, group !== undefined)).map((row, at) => {
      const read = recipe.read?.(row, at, beside) ?? row
      return recipe.prepare?.(read) ?? read
    }),
    catch: (error) => new TaskError({ task, at: relative(process.cwd(), path), problem: (error as Error).message, remedy: "Give the file in the columns of the Hub's data set." })
  })
  if (rows.length === 0) return yield* new TaskError({ task, at: path, problem: "it holds no document", remedy: "Give at least one." })
  return { rows, file: path }
})
