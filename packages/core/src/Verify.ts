/**
 * Verification: hashes the files of every kept result again and compares them with the provenance.
 */
import { Effect } from "effect"
import { join } from "node:path"
import * as Digest from "./Digest.ts"
import { calls, type Outputs } from "./Graph.ts"
import * as Key from "./Key.ts"
import { keys } from "./Plan.ts"
import { located, provenance, resultFolder, Store, type StoreError } from "./Store.ts"
import type { FileError } from "./File.ts"
import type { HubError } from "./HubError.ts"

export interface Difference {
  /** `<port>/<file>`, or `inputs.<name>` where the input kept now is not the one this result was made from */
  readonly path: string
  readonly problem: "missing" | "changed" | "unexpected"
}
export interface Verified {
  readonly stage: string
  readonly key: string
  /** outdated: its own files are as they were made, but an input has been made again since and came out otherwise (on another device; a log, by its timings) */
  readonly status: "intact" | "absent" | "changed" | "outdated"
  readonly files: number
  readonly differences: ReadonlyArray<Difference>
}

const contents = (folder: string) => Effect.orElseSucceed(Digest.folder(folder), (): ReadonlyArray<Digest.Content> => [])

/** One row per stage, inputs before users. */
export const verify = (outputs: Outputs): Effect.Effect<ReadonlyArray<Verified>, StoreError | FileError | HubError, Store> => Effect.gen(function*() {
  const { root } = yield* Store
  const all = calls(outputs), keyed = yield* keys(all), rows: Array<Verified> = []
  const now = new Map<string, string>()
  for (const call of all) {
    const { key } = keyed.get(call.id)!, record = yield* provenance(key)
    if (record === undefined) { rows.push({ stage: call.stage.name, key, status: "absent", files: 0, differences: [] }); continue }
    const differences: Array<Difference> = []
    let files = 0
    for (const [port, output] of Object.entries(record.outputs)) {
      const found = new Map((yield* located(root)(contents(join(resultFolder(root, key), port)))).map((content) => [content.path, content]))
      for (const { path, sha256 } of output.files) {
        files++
        const content = found.get(path)
        if (content?.sha256 !== sha256) differences.push({ path: `${port}/${path}`, problem: content === undefined ? "missing" : "changed" })
        found.delete(path)
      }
      for (const path of found.keys()) differences.push({ path: `${port}/${path}`, problem: "unexpected" })
      now.set(`${key}${port === "main" ? "" : `#${port}`}`, Key.digest(output.files))
    }
    for (const [name, input] of Object.entries(record.inputs)) {
      const sha256 = now.get(input.key)
      if (sha256 !== undefined && sha256 !== input.sha256) differences.push({ path: `inputs.${name}`, problem: "changed" })
    }
    rows.push({ stage: call.stage.name, key, status: differences.length === 0 ? "intact" : differences.every(({ path }) => path.startsWith("inputs.")) ? "outdated" : "changed", files, differences })
  }
  return rows
})
