/**
 * The licence that a model's own card names in its YAML header (`license: apache-2.0`, or `license_name` beside `other`): the one fact that a card made of
 * this model must carry on.
 */
import { Effect } from "effect"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { attempt, type FileError } from "./File.ts"

/** Cards are pages; what is longer is none. */
const longest = 1 << 20

/** As a fact of a step: nothing where there is no card or it names none. Fails: FileError when the card cannot be read. */
export const licenceOf = (folder: string): Effect.Effect<{ readonly licence?: string; readonly licenceName?: string }, FileError> => attempt("read", folder, async () => {
  const card = await readFile(join(folder, "README.md"), "utf8").catch((error: NodeJS.ErrnoException) => { if (error.code === "ENOENT" || error.code === "ENOTDIR" || error.code === "EISDIR") return ""; throw error })
  const header = card.length > longest ? undefined : /^---\r?\n(.*?)\r?\n---/s.exec(card)?.[1]
  const value = (key: string) => new RegExp(`^${key}:[ \\t]*["']?([\\w.+-]{1,60})["']?[ \\t]*$`, "m").exec(header ?? "")?.[1]
  const licence = value("license"), name = licence === "other" ? value("license_name") : undefined
  return { ...licence === undefined ? {} : { licence }, ...name === undefined ? {} : { licenceName: name } }
})
