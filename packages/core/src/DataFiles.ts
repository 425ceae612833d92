/**
 * Which files of a data set are which split, as the `datasets` library decides it: by the `configs` of the card's YAML header (README.md), else by the names of
 * files and folders (`data/train-00000-of-00002.parquet`, `validation.jsonl`, `test/0000.parquet`), else all of them are train.
 */
import * as Yaml from "effect/encoding/Yaml"
import { basename, posix } from "node:path"

/** One configuration of a data set: split → its files, in the order of their names. `from`: who says so. `isDefault`: it is meant where none is named. */
export interface Configuration { readonly name: string; readonly from: "card" | "names"; readonly isDefault: boolean; readonly splits: Readonly<Record<string, ReadonlyArray<string>>> }

/** The forms that rows are read from. Where files of one configuration differ in form, most decide, and then this order. */
export const forms = ["parquet", "jsonl", "json", "csv", "txt"] as const
export type Form = typeof forms[number]
/** The form of a file by its name, or undefined where it holds no rows. */
export const formOf = (path: string): Form | undefined => ignored.has(basename(path)) ? undefined : forms.find((form) => path.toLowerCase().endsWith(`.${form}`))
const ignored = new Set(["README.md", "config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "LICENSE.txt"])

// ---------------------------------------------------------------- patterns
/** A pattern's parts: a letter, any one of some, anything within a name, anything. */
type Part = { readonly one: (letter: string) => boolean } | { readonly many: (letter: string) => boolean; readonly folders?: true }
const within = (letter: string) => letter !== "/"
const parse = (pattern: string): ReadonlyArray<Part> => {
  const parts: Array<Part> = []
  for (let at = 0; at < pattern.length;) {
    const [found, set] = /^\*\*\/|^\*\*|^\*|^\?|^\[([^\]]+)\]|^[^]/.exec(pattern.slice(at)) as unknown as [string, string?]
    at += found.length
    if (found === "**/") parts.push({ many: () => true, folders: true })
    else if (found === "**") parts.push({ many: () => true })
    else if (found === "*") parts.push({ many: within })
    else if (found === "?") parts.push({ one: within })
    else if (set !== undefined) {
      const isNot = /^[!^]/.test(set), ranges = [...(isNot ? set.slice(1) : set).matchAll(/([^])-([^])|[^]/g)].map(([one, from = one, to = one]) => [from, to] as const)
      const has = (letter: string) => ranges.some(([from, to]) => from <= letter && letter <= to)
      parts.push({ one: (letter) => within(letter) && has(letter) !== isNot })
    } else parts.push({ one: (letter) => letter === found })
  }
  return parts
}

/** Whether a path fits a pattern of `*`, `**`, `?` and `[…]`. Time: letters × parts, whatever the pattern. */
export const fits = (pattern: string, path: string): boolean => {
  const parts = parse(pattern)
  // all places in the pattern where the letters so far may have led; `**/` ends after nothing or a slash
  const onward = (places: Set<number>, after: string): Set<number> => {
    for (const place of places) {
      const part = parts[place]
      if (part !== undefined && "many" in part && (part.folders === undefined || after === "" || after === "/")) places.add(place + 1)
    }
    return places
  }
  let places = onward(new Set([0]), "")
  for (const letter of path) {
    const next = new Set<number>()
    for (const place of places) {
      const part = parts[place]
      if (part === undefined) continue
      if ("one" in part) { if (part.one(letter)) next.add(place + 1) } else if (part.many(letter)) next.add(place)
    }
    places = onward(next, letter)
  }
  return places.has(parts.length)
}

/** Parts of a path that begin with a dot or with two underscores count only where the pattern has them too. */
const hidden = (path: string, prefix: string): number => path.split("/").filter((part) => part.startsWith(prefix)).length
const matching = (paths: ReadonlyArray<string>, pattern: string): ReadonlyArray<string> => {
  const clean = posix.normalize(pattern).replace(/\/$/, "/**")
  return paths.filter((path) => fits(clean, path) && hidden(path, ".") === hidden(clean, ".") && hidden(posix.dirname(path), "__") === hidden(posix.dirname(clean), "__"))
}

// ---------------------------------------------------------------- by names
const words = { train: ["train", "training"], validation: ["validation", "valid", "dev", "val"], test: ["test", "testing", "eval", "evaluation"] } as const
/** Whether a folder's name is a split's. */
export const isSplit = (name: string): boolean => Object.values(words).flat().some((word) => word === name)
const gap = "[-._ 0-9]"
type Splits = Readonly<Record<string, ReadonlyArray<string>>>
const byPatterns = (paths: ReadonlyArray<string>, patterns: Readonly<Record<string, ReadonlyArray<string>>>): Splits => Object.fromEntries(Object.entries(patterns)
  .map(([split, each]): [string, ReadonlyArray<string>] => [split, [...new Set(each.flatMap((pattern) => [...matching(paths, pattern)].sort()))]]).filter(([, files]) => files.length > 0))
const worded = (of: (word: string) => ReadonlyArray<string>) => Object.fromEntries(Object.entries(words).map(([split, names]) => [split, names.flatMap(of)]))
const inFolders = worded((word) => [`**/${word}/**`, `**/${word}${gap}*/**`, `**/*${gap}${word}/**`, `**/*${gap}${word}${gap}*/**`])
const inFiles = worded((word) => [`**/${word}${gap}*`, `**/*${gap}${word}${gap}*`])

const byNames = (paths: ReadonlyArray<string>): Splits => {
  const sharded = new Map<string, Array<string>>()
  for (const path of [...paths].sort()) {
    const split = /^data\/([^/]+?)-\d{5}-of-\d{5}[^/]*\.[^/]*$/.exec(path)?.[1]
    if (split !== undefined) sharded.set(split, [...sharded.get(split) ?? [], path])
  }
  if (sharded.size > 0) return Object.fromEntries(sharded)
  return [inFolders, inFiles, { train: ["**"] }].map((patterns) => byPatterns(paths, patterns)).find((splits) => Object.keys(splits).length > 0) ?? {}
}

// ---------------------------------------------------------------- by the card
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === "object" && value !== null && !Array.isArray(value)
const texts = (value: unknown): ReadonlyArray<string> => (Array.isArray(value) ? value : [value]).filter((each) => typeof each === "string")
/** Cards are pages; what is longer is none. */
const longest = 1 << 20
/** The `configs` of a card's header; none where there are none, or no YAML. */
const declared = (card: string | undefined): ReadonlyArray<Readonly<Record<string, unknown>>> => {
  const header = card === undefined || card.length > longest ? undefined : /^---\r?\n(.*?)\r?\n---/s.exec(card)?.[1]
  if (header === undefined) return []
  try {
    const { configs } = Yaml.parse(header) as { readonly configs?: unknown }
    return Array.isArray(configs) ? configs.filter((config) => isRecord(config) && typeof config["config_name"] === "string") : []
  } catch { return [] }
}
const patternsOf = (files: unknown): Readonly<Record<string, ReadonlyArray<string>>> => Array.isArray(files) && files.some(isRecord)
  ? Object.fromEntries(files.filter(isRecord).map(({ path, split }) => [String(split), texts(path)])) : { train: texts(files) }

/** Of one form: the one that most files have. */
const ofOneForm = (splits: Splits): Splits => {
  const count = (form: Form) => Object.values(splits).flat().filter((path) => formOf(path) === form).length
  const [form] = [...forms].sort((a, b) => count(b) - count(a))
  return Object.fromEntries(Object.entries(splits).map(([split, files]): [string, ReadonlyArray<string>] => [split, files.filter((path) => formOf(path) === form)]).filter(([, files]) => files.length > 0))
}

/**
 * The configurations of a data set: those that its card names, else one called default. `paths`: all of its files, relative, with forward slashes. Files that hold
 * no rows count for nothing, nor do patterns that lead out of the folder.
 */
export const configurations = (paths: ReadonlyArray<string>, card?: string): ReadonlyArray<Configuration> => {
  const rows = paths.filter((path) => formOf(path) !== undefined), configs = declared(card)
  if (configs.length === 0) return [{ name: "default", from: "names", isDefault: true, splits: ofOneForm(byNames(rows.filter((path) => hidden(path, ".") === 0 && hidden(posix.dirname(path), "__") === 0))) }]
  return configs.map((config) => {
    const name = String(config["config_name"]), folder = typeof config["data_dir"] === "string" ? posix.normalize(`${config["data_dir"]}/`) : ""
    const inside = rows.filter((path) => folder === "./" || path.startsWith(folder)).map((path) => folder === "./" ? path : path.slice(folder.length))
    const found = config["data_files"] === undefined ? byNames(inside.filter((path) => hidden(path, ".") === 0)) : byPatterns(inside, patternsOf(config["data_files"]))
    const back = folder === "./" ? "" : folder
    return { name, from: "card", isDefault: configs.length === 1 || name === "default" || config["default"] === true, splits: ofOneForm(Object.fromEntries(Object.entries(found).map(([split, files]) => [split, files.map((path) => back + path)]))) }
  })
}
