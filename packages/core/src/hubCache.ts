/**
 * The cache that Hugging Face's tools share, read and written in their layout:
 * `models--org--name/refs/main` holds a commit, `blobs/HASH` a content, `snapshots/COMMIT/config.json` is a link to a blob.
 *
 * A blob is named by its own hash: SHA-256 (64 digits) of a large file, git's SHA-1 (40 digits) of a small one. So the cache proves itself.
 */
import { createHash, type Hash } from "node:crypto"
import { createReadStream } from "node:fs"
import { copyFile, mkdir, readdir, readFile, realpath, rename, rm, stat, symlink, writeFile } from "node:fs/promises"
import { homedir } from "node:os"
import { basename, dirname, join, relative, sep } from "node:path"
import { temporaryName } from "./File.ts"
import { HubError } from "./HubError.ts"
import { nearest } from "./Weights.ts"

export type Kind = "model" | "dataset"
/** One model's, or one data set's, folder in a cache. */
export interface Repository { readonly kind: Kind; readonly id: string; readonly cache: string; readonly folder: string }
/** A file of a revision. Units: `size` bytes. `hash`: 64 digits of SHA-256, or 40 of git's SHA-1. */
export interface Entry { readonly path: string; readonly size: number; readonly hash: string }

/** Where the cache is: HF_HUB_CACHE (once HUGGINGFACE_HUB_CACHE), or `hub` in HF_HOME, or in `huggingface` of XDG_CACHE_HOME or ~/.cache. */
export const root = (environment: NodeJS.ProcessEnv = process.env): string => {
  const { HF_HUB_CACHE: own, HUGGINGFACE_HUB_CACHE: once, HF_HOME: home, XDG_CACHE_HOME: caches } = environment
  return own ? own : once ? once : join(home ? home : join(caches ? caches : join(homedir(), ".cache"), "huggingface"), "hub")
}

const commit = /^[0-9a-f]{40}$/
export const isCommit = (revision: string): boolean => commit.test(revision)

/** Whether a path with forward slashes stays below the folder that it is relative to, on every system. */
export const isSafe = (path: string): boolean =>
  path !== "" && !/[\\:\0]/.test(path) && path.split("/").every((part) => part !== "" && part !== "." && part !== "..")

/** The folder of `org/name`. Fails: throws HubError when the id or the revision cannot be one. */
export const repository = (cache: string, id: string, revision: string, kind: Kind = "model"): Repository => {
  if (!/^[A-Za-z0-9][\w.-]{0,95}(?:\/[A-Za-z0-9][\w.-]{0,95})?$/.test(id) || /--|\.\.|\.git$/.test(id)) {
    throw new HubError({ id, reason: "Invalid", problem: `this is no ${kind}'s id`, remedy: `write org/name, as it stands in the address of the ${kind}'s page` })
  }
  if (!isSafe(revision) || revision.startsWith("-")) throw new HubError({ id, reason: "Invalid", problem: `${JSON.stringify(revision)} is no revision`, remedy: "give a branch, a tag or a commit" })
  return { kind, id, cache, folder: join(cache, `${kind}s--${id.replaceAll("/", "--")}`) }
}

const orMissing = (error: NodeJS.ErrnoException): undefined => { if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined; throw error }

/** The commit that a revision was when it was last fetched, or undefined. Fails: throws HubError when the cache's note is no commit. */
export const readRef = async ({ id, folder }: Repository, revision: string): Promise<string | undefined> => {
  if (isCommit(revision)) return revision
  const path = join(folder, "refs", ...revision.split("/")), text = (await readFile(path, "utf8").catch(orMissing))?.trim()
  if (text === undefined || isCommit(text)) return text
  throw new HubError({ id, file: path, reason: "Cache", problem: "it should hold a commit of 40 hexadecimal digits", remedy: "remove this file and fetch again" })
}

export const snapshotFolder = ({ folder }: Repository, at: string): string => join(folder, "snapshots", at)
/** A data set is fetched in parts, so the list of all of a commit's files stands beside its snapshots; the tools that share the cache do not look there. */
const listPath = ({ folder }: Repository, at: string): string => join(folder, ".switchyard", `${at}.json`)
const isEntry = (value: unknown): value is Entry => {
  const { hash, path, size } = (value ?? {}) as Readonly<Record<string, unknown>>
  return typeof path === "string" && isSafe(path) && typeof hash === "string" && /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(hash) && Number.isSafeInteger(size) && size as number >= 0
}
/** The files of a commit as they were listed, or undefined where that was not noted, or is no list. */
export const readList = async (of: Repository, at: string): Promise<ReadonlyArray<Entry> | undefined> => {
  const text = await readFile(listPath(of, at), "utf8").catch(orMissing)
  try {
    const list: unknown = JSON.parse(text ?? "")
    return Array.isArray(list) && list.every(isEntry) ? list : undefined
  } catch { return undefined } // it is asked for again
}
/** Notes them, whole or not at all; a cache that may not be written goes without. */
export const noteList = async (of: Repository, at: string, entries: ReadonlyArray<Entry>): Promise<void> => {
  const path = listPath(of, at), temporary = temporaryName(path)
  try {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(temporary, JSON.stringify(entries))
    await rename(temporary, path)
  } catch (error) {
    if (!["EACCES", "EPERM", "EROFS"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error
  } finally { await rm(temporary, { force: true }).catch(() => undefined) }
}
export const forgetList = (of: Repository, at: string): Promise<void> => rm(listPath(of, at), { force: true })

export const blobPath = ({ folder }: Repository, hash: string): string => join(folder, "blobs", hash)

/** A file that stands in a snapshot; `real` is where its content lies. */
export interface Held { readonly path: string; readonly real: string }

/** What a snapshot holds, sorted; empty when there is none. Fails: throws HubError for a link that leads out of the model's own folder or to nothing. */
export const held = async (of: Repository, at: string): Promise<ReadonlyArray<Held>> => {
  const top = snapshotFolder(of, at), found: Array<Held> = []
  const own = await realpath(of.folder).catch(orMissing)
  if (own === undefined) return []
  const walk = async (folder: string): Promise<void> => {
    for (const entry of await readdir(folder, { withFileTypes: true }).catch(orMissing) ?? []) {
      const file = join(folder, entry.name), path = relative(top, file).split(sep).join("/")
      if (entry.isDirectory()) { await walk(file); continue }
      const real = await realpath(file).catch(orMissing)
      if (real === undefined) throw new HubError({ id: of.id, file, reason: "Cache", problem: "it is a link to a blob that is not there", remedy: "fetch the model again" })
      if (!real.startsWith(own + sep)) throw new HubError({ id: of.id, file, reason: "Unsafe", problem: `it is a link to ${real}, outside the model's folder in the cache`, remedy: "remove the link and fetch again" })
      found.push({ path, real })
    }
  }
  await walk(top)
  return found.sort((a, b) => a.path < b.path ? -1 : 1)
}

/** A hash in the manner of the expected one; git's begins with the size. */
export const beginHash = ({ hash, size }: Pick<Entry, "hash" | "size">): Hash => hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`)

/** Feeds a file's first bytes into a hash; all of them unless `end` is given. */
export const feed = async (hash: Hash, path: string, end?: number): Promise<void> => {
  if (end === 0) return
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, ...end === undefined ? {} : { end: end - 1 } })) hash.update(chunk as Uint8Array)
}

/** Whether a blob's content has the hash that is its name; undefined when its name is none (a plain copy). */
export const isIntact = async (real: string): Promise<boolean | undefined> => {
  const expected = basename(real)
  if (!/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(expected)) return undefined
  const hash = beginHash({ hash: expected, size: (await stat(real)).size })
  await feed(hash, real)
  return hash.digest("hex") === expected
}

/** Whether a blob of this size is there. */
export const hasBlob = async (of: Repository, entry: Entry): Promise<boolean> => (await stat(blobPath(of, entry.hash)).catch(orMissing))?.size === entry.size

/** Makes the snapshot's entry a link to its blob, or a copy where links are forbidden; whole or not at all. */
export const link = async (of: Repository, at: string, entry: Entry): Promise<void> => {
  const path = join(snapshotFolder(of, at), ...entry.path.split("/")), blob = blobPath(of, entry.hash)
  if (await realpath(path).catch(orMissing) === await realpath(blob)) return
  await mkdir(dirname(path), { recursive: true })
  if (!(await realpath(dirname(path))).startsWith(await realpath(of.folder) + sep)) throw new HubError({ id: of.id, file: path, reason: "Unsafe", problem: "its folder is a link that leads out of the model's own", remedy: "remove the link and fetch again" })
  const temporary = temporaryName(path)
  try {
    await symlink(relative(dirname(path), blob), temporary).catch((error: NodeJS.ErrnoException) => error.code === "EPERM" ? copyFile(blob, temporary) : Promise.reject(error))
    await rename(temporary, path)
  } finally { await rm(temporary, { force: true }) }
}

/** Ids of the models, or of the data sets, in a cache. */
export const ids = async (cache: string, kind: Kind = "model"): Promise<ReadonlyArray<string>> =>
  (await readdir(cache).catch(() => [])).filter((name) => name.startsWith(`${kind}s--`)).map((name) => name.slice(`${kind}s--`.length).replaceAll("--", "/")).sort()

/** A sentence about the most similar id in the cache, or nothing when there is none. */
export const suggestion = async ({ cache, id, kind }: Pick<Repository, "cache" | "id" | "kind">): Promise<string> => {
  const known = (await ids(cache, kind)).filter((other) => other !== id)
  return known.length === 0 ? "" : `; the nearest id in the cache is ${nearest(id, known)}`
}
