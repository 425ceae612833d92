/**
 * A task's documents from local files: JSON lines, JSON, Parquet, CSV or plain text (pages of wikitext). `<task>/<split>.jsonl` in the columns of the Hub's
 * data set is always looked for; a recipe may name other files of common collections. Else a data set's card says which files are a configuration's split; else
 * any file of the folder that is named after the split counts, as data sets of the Hub have them (`data/test.jsonl`, `ARC-Easy/test-00000-of-00002.parquet`),
 * where it is clear which one is meant. A file may be given alone. Of a data set of the Hub the files that are read are fetched, and no others.
 */
import { DataFiles, File, Hub, Parquet } from "@switchyard/core"
import { Effect } from "effect"
import { existsSync, statSync } from "node:fs"
import { basename, dirname, relative } from "node:path"
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
/** Files that are of no other task, in order. */
const filesOf = (paths: ReadonlyArray<string>, task: string): ReadonlyArray<string> => paths.filter((path) => !path.split("/").some((part) => part !== task && Object.hasOwn(tasks, part))).sort()
/** Those of several groups that lie below the task's name, or its configuration's. */
const own = (groups: ReadonlyArray<ReadonlyArray<string>>, task: string, recipe: Recipe): ReadonlyArray<ReadonlyArray<string>> =>
  groups.filter(([path]) => path!.split("/").some((part) => part === recipe.configuration || plain(part.replace(/\.\w+$/, "")).startsWith(plain(task))))
const ownOrAll = (groups: ReadonlyArray<ReadonlyArray<string>>, task: string, recipe: Recipe): ReadonlyArray<ReadonlyArray<string>> => {
  const found = own(groups, task, recipe)
  return found.length > 0 ? found : groups
}
/** Whether all files of rows lie in one folder, but for folders named after splits: a data set, and not a collection of them. */
const isOne = (paths: ReadonlyArray<string>): boolean => new Set(paths.filter((path) => DataFiles.formOf(path) !== undefined).map((path) => dirname(path).split("/").filter((part) => !DataFiles.isSplit(part)).join("/"))).size === 1
const grouped = (paths: ReadonlyArray<string>, key: (path: string) => string | undefined): ReadonlyArray<ReadonlyArray<string>> => {
  const groups = new Map<string, Array<string>>()
  for (const path of paths) {
    const name = key(path)
    if (name !== undefined) groups.set(name, [...groups.get(name) ?? [], path])
  }
  return [...groups.values()]
}
/** The files of a folder that are named after a split, pieces of one together. */
const named = (paths: ReadonlyArray<string>, split: string): ReadonlyArray<ReadonlyArray<string>> => {
  const pattern = new RegExp(`^(.*?)(?:^|[._-])${split}(?:-\\d{5}-of-\\d{5}(?:-[0-9a-f]{16})?)?\\.(jsonl|json|csv|parquet)$`)
  return grouped(paths, (path) => {
    const found = pattern.exec(basename(path))
    return found === null ? undefined : [dirname(path), found[1], found[2]].join("\0")
  })
}
/** The files that a data set's card, or the names that `datasets` knows, make a split; a card's configurations when none of them is the task's. */
const declared = (card: string | undefined, paths: ReadonlyArray<string>, task: string, recipe: Recipe) => {
  const all = DataFiles.configurations(paths, card)
  const one = all.find(({ name }) => name === recipe.configuration) ?? all.find(({ name }) => plain(name) === plain(task)) ?? all.find(({ isDefault }) => isDefault)
  return { from: all[0]?.from ?? "names", splits: one?.splits, names: all.map(({ name }) => name) }
}

/** Where a split may lie, the most particular first. */
export const places = (task: string, recipe: Recipe, split: string): ReadonlyArray<string> => [
  `${task}/${split}.jsonl`, `${task}/${split}.json`, `${task}/${split}.csv`, `${task}/${split}.parquet`, `${task}_${split}.jsonl`, ...split === recipe.split ? [`${task}.jsonl`, `${task}.parquet`] : [], ...recipe.files?.[split] ?? []
]

/** A file's rows; parsing them may throw. Of a table all columns, since a document's hash is of all of them. */
const read = (path: string, isNamed: boolean, task: string): Effect.Effect<() => ReadonlyArray<Row>, TaskError | File.FileError> => path.endsWith(".parquet")
  ? Parquet.read(path).pipe(Effect.map((rows) => () => rows), Effect.catchTag("ParquetError", ({ path, problem, remedy }) => Effect.fail(new TaskError({ task, at: path, problem, remedy: `${remedy[0]!.toUpperCase()}${remedy.slice(1)}.` }))))
  : Effect.map(File.read(path), (text) => () => parse(path, text, isNamed))

/**
 * The documents of a split, in the file's order, and the file. `from`: a folder, the file of the evaluated split, or a data set, of which what is read is fetched.
 * Fails: TaskError where there is no such file or a line cannot be read; FileError; HubError.
 */
export const readRows = (task: string, recipe: Recipe, split: string, from: string | Hub.Dataset): Effect.Effect<{ readonly rows: ReadonlyArray<Row>; readonly file: string }, TaskError | File.FileError | Hub.HubError> => Effect.gen(function*() {
  const data = typeof from === "string" ? Hub.folder(from) : from
  const candidates = places(task, recipe, split), isFile = existsSync(data.at) && statSync(data.at).isFile(), usual = isFile ? undefined : candidates.find(data.has)
  const refuse = (problem: string, remedy: string) => new TaskError({ task, at: data.at, problem, remedy })
  const paths = isFile || usual !== undefined ? [] : filesOf(data.paths(), task), said = declared(isFile ? undefined : data.card(), paths, task, recipe)
  if (usual === undefined && said.from === "card" && said.splits === undefined) return yield* refuse(`its card has the configurations ${said.names.join(", ")}, and it is not clear which is meant`, `Put the files of one of them at ${task}/${split}.parquet.`)
  const files = said.splits?.[split] ?? [], byName = ownOrAll(named(paths, split), task, recipe), byFolder = grouped(files, dirname)
  const groups = said.from === "card" ? files.length > 0 ? [files] : [] : byName.length > 0 ? byName : isOne(paths) ? byFolder : own(byFolder, task, recipe), [group] = groups
  if (isFile && split !== recipe.split) return yield* refuse(`it is one file, and the examples are from the ${split} documents`, "Give a folder, or no examples (--num_fewshot 0).")
  if (groups.length > 1) return yield* refuse(`several files could be its ${split} documents: ${groups.slice(0, 6).map(([path]) => path).join(", ")}`, `Give the folder of one of them, or name it ${task}/${split}.jsonl.`)
  if (!isFile && usual === undefined && group === undefined) {
    return yield* refuse(`it has no ${split} documents`, `Put them there as ${candidates.slice(0, 1).concat(candidates.slice(recipe.files?.[split] === undefined ? 1 : -1)).join(" or ")}, one JSON object a line in the columns of the Hub's data set.`)
  }
  const chosen = usual !== undefined ? [usual] : group ?? [], found = isFile ? [data.at] : yield* data.bring(chosen), path = found[0]!
  const pieces = yield* Effect.forEach(found, (piece) => read(piece, group !== undefined, task))
  const labels = (name: string | undefined) => recipe.labels !== undefined && name?.endsWith(recipe.labels[0]) === true ? name.slice(0, -recipe.labels[0].length) + recipe.labels[1] : undefined
  const aside = isFile ? labels(data.at) : labels(chosen[0]), [companion] = aside === undefined ? [] : isFile ? existsSync(aside) ? [aside] : [] : data.has(aside) ? yield* data.bring([aside]) : []
  const beside = companion === undefined ? [] : (yield* File.read(companion)).split("\n")
  const rows = yield* Effect.try({
    try: () => pieces.flatMap((piece) => piece()).map((row, at) => {
      const read = recipe.read?.(row, at, beside) ?? row
      return recipe.prepare?.(read) ?? read
    }),
    catch: (error) => new TaskError({ task, at: relative(process.cwd(), path), problem: (error as Error).message, remedy: "Give the file in the columns of the Hub's data set." })
  })
  if (rows.length === 0) return yield* new TaskError({ task, at: path, problem: "it holds no document", remedy: "Give at least one." })
  return { rows, file: path }
})
