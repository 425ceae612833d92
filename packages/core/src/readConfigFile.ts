/**
 * A model's config.json, read strictly: bounded, UTF-8, one JSON object in which no key stands twice.
 */
import { Effect } from "effect"
import { readFile, stat } from "node:fs/promises"
import { ConfigError } from "./Family.ts"
import * as File from "./File.ts"
import * as StrictJson from "./StrictJson.ts"

/** A config.json larger than this is an attack, not a config. */
const longestConfig = 16 << 20

/** The keys of a config.json. Fails: FileError; ConfigError when it is not a JSON object without repeated keys. */
export const readConfigFile = (path: string): Effect.Effect<Readonly<Record<string, StrictJson.Plain>>, ConfigError | File.FileError> =>
  File.attempt("read", path, async () => {
    const { size } = await stat(path)
    return size > longestConfig ? `it has ${size} bytes` : new Uint8Array(await readFile(path))
  }).pipe(Effect.flatMap((content) => {
    const wrong = (problem: string) => Effect.fail(new ConfigError({ file: path, key: "(whole file)", problem, remedy: "write a JSON object, without a key standing twice" }))
    if (typeof content === "string") return wrong(content)
    try {
      const value = StrictJson.parse(new TextDecoder("utf-8", { fatal: true }).decode(content))
      return value instanceof Map ? Effect.succeed(StrictJson.toPlain(value) as Readonly<Record<string, StrictJson.Plain>>) : wrong("it is not a JSON object")
    } catch (error) {
      return wrong((error as Error).message)
    }
  }))
