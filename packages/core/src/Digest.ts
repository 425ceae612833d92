/**
 * The content of files and folders as SHA-256. A store remembers hashes by path, size and times, so that gigabytes are hashed once.
 */
import { Effect } from "effect"
import { createHash } from "node:crypto"
import { createReadStream } from "node:fs"
import { readdir, stat } from "node:fs/promises"
import { join, relative, resolve, sep } from "node:path"
import { attempt, type FileError, readJson, writeJson } from "./File.ts"
import * as Key from "./Key.ts"

export interface Content { readonly path: string; readonly bytes: number; readonly sha256: string }

const hashFile = async (path: string): Promise<string> => {
  const hash = createHash("sha256")
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Uint8Array)
  return hash.digest("hex")
}

/** A file's hash. */
export const file = (path: string): Effect.Effect<string, FileError> => attempt("read", path, () => hashFile(path))

const filesOf = async (folder: string): Promise<ReadonlyArray<string>> => {
  const files: Array<string> = []
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory() || (entry.isSymbolicLink() && (await stat(path)).isDirectory())) files.push(...await filesOf(path))
    else files.push(path)
  }
  return files.sort()
}

/** Every file of a folder with its size and hash, paths relative to the folder, with forward slashes, sorted. */
export const folder = (path: string): Effect.Effect<ReadonlyArray<Content>, FileError> => attempt("read", path, async () => {
  const contents: Array<Content> = []
  for (const file of await filesOf(path)) contents.push({ path: relative(path, file).split(sep).join("/"), bytes: (await stat(file)).size, sha256: await hashFile(file) })
  return contents
})

/** Hashes remembered by absolute path; trusted while size, inode and both times are unchanged. */
export interface Cache { readonly of: (path: string) => Effect.Effect<string, FileError>; readonly save: Effect.Effect<void, FileError> }

type Remembered = Readonly<Record<string, { readonly stamp: string; readonly sha256: string }>>

/** A cache kept in the file `at`. A file changed within the last two seconds is not remembered: its time might not move again. */
export const cache = (at: string): Effect.Effect<Cache> => Effect.gen(function*() {
  const before = yield* Effect.orElseSucceed(readJson(at), () => undefined)
  const kept = new Map(Object.entries(typeof before === "object" && before !== null ? before as Remembered : {}))
  let changed = false
  const hash = async (path: string): Promise<string> => {
    const info = await stat(path, { bigint: true })
    const stamp = [info.size, info.ino, info.mtimeNs, info.ctimeNs].join(" ")
    const last = kept.get(path)
    if (last?.stamp === stamp && typeof last.sha256 === "string") return last.sha256
    const sha256 = await hashFile(path)
    if (Date.now() - Number(info.ctimeMs) > 2000) { kept.set(path, { stamp, sha256 }); changed = true }
    return sha256
  }
  return {
    of: (path) => attempt("read", path, async () => {
      const absolute = resolve(path)
      if (!(await stat(absolute)).isDirectory()) return hash(absolute)
      const entries: Array<readonly [string, string]> = []
      for (const file of await filesOf(absolute)) entries.push([relative(absolute, file).split(sep).join("/"), await hash(file)])
      return Key.digest(entries)
    }),
    save: Effect.suspend(() => changed ? writeJson(at, Object.fromEntries(kept)) : Effect.void)
  }
})
