/**
 * Files as data, and the only way this project writes them.
 *
 * `file("path")` is a value that may stand among a stage's options: a key counts its content, not its name. Everything written
 * appears whole or not at all: a temporary name beside the target, flush to the disk, rename.
 */
import { Effect, Schema } from "effect"
import { randomBytes } from "node:crypto"
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

/** A file or a folder outside the store, named by its path (relative to the working directory) and known by its content. */
export const File = Schema.TaggedStruct("File", { path: Schema.String })
export type File = typeof File.Type

/** `file("models/seed")`, or `file(new URL("./seed", import.meta.url))` for a file beside the script. */
export const file = (path: string | URL): File => ({ _tag: "File", path: path instanceof URL ? fileURLToPath(path) : path })

const remedies: Readonly<Record<string, string>> = {
  ENOENT: "check the path, which is relative to the working directory",
  ENOTDIR: "a file stands where the path needs a folder: name the folder that holds it",
  EISDIR: "a folder stands where the path needs a file: name a file in it",
  EACCES: "change its permissions, or choose another place",
  EPERM: "change its permissions, or choose another place",
  EROFS: "the file system is read-only: choose another place",
  ENOSPC: "the disk is full: free some space, or choose another place",
  EDQUOT: "the quota is used up: free some space, or choose another place",
  EFBIG: "the file would be larger than allowed here: raise the limit, or choose another place",
  changed: "leave it as it is meanwhile (a store or an export inside a folder changes that too), and run again",
  EMFILE: "too many files are open: raise the limit (ulimit -n)"
}

/** What to do about a system error, by its code. */
export const remedy = (code: string): string => remedies[code] ?? "look at the path and try again"

/** A file or folder that could not be read, written or removed. */
export class FileError extends Schema.TaggedError<FileError>()("FileError", {
  path: Schema.String, doing: Schema.Literals(["read", "write", "remove"]), code: Schema.String, problem: Schema.String
}) {
  override get message(): string { return `cannot ${this.doing} ${this.path}: ${this.problem}; ${remedy(this.code)}` }
}

/** Runs a promise of node:fs; its rejection becomes a `FileError` about `path`. */
export const attempt = <A>(doing: FileError["doing"], path: string, run: () => Promise<A>): Effect.Effect<A, FileError> => Effect.tryPromise({
  try: run,
  catch: (error) => new FileError({ path, doing, code: String((error as NodeJS.ErrnoException).code ?? "unknown"), problem: error instanceof Error ? error.message : String(error) })
})

/** A name beside `path` that nobody uses: rename stays inside one file system. A crash may leave one behind; `Store` sweeps its own. */
export const temporaryName = (path: string): string => join(dirname(path), `.${basename(path)}.${process.pid}-${randomBytes(6).toString("hex")}.tmp`)

export const isTemporaryName = (name: string): boolean => name.startsWith(".") && name.endsWith(".tmp")

const lives = (pid: number): boolean => {
  try { process.kill(pid, 0); return true } catch (error) { return (error as NodeJS.ErrnoException).code === "EPERM" }
}
/** Removes what killed processes left half-written in a folder and in the folders directly in it: our own temporary names, of processes that are no more. */
export const sweep = (folder: string): Effect.Effect<void, FileError> => attempt("remove", folder, async () => {
  const entries = (at: string) => readdir(at, { withFileTypes: true }).catch(() => [])
  const below = (await entries(folder)).filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name))
  for (const at of [folder, ...below]) for (const { name } of await entries(at)) {
    const [, pid] = /^\..+\.(\d+)-[0-9a-f]{12}\.tmp$/.exec(name) ?? []
    if (pid !== undefined && !lives(Number(pid))) await rm(join(at, name), { recursive: true, force: true })
  }
})

/** Flushes one file or folder to the disk. */
export const flush = async (path: string): Promise<void> => {
  const handle = await open(path, "r")
  try { await handle.sync() } finally { await handle.close() }
}

/** Flushes a folder's entry list; Windows cannot open folders, and needs no flush of them. */
export const flushFolder = (path: string): Promise<void> => process.platform === "win32" ? Promise.resolve() : flush(path)

const flushTree = async (folder: string): Promise<void> => {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) await flushTree(path)
    else if (entry.isFile()) await flush(path)
  }
  await flushFolder(folder)
}

/** Writes a file whole or not at all, making the folders above it. */
export const write = (path: string, content: string | Uint8Array): Effect.Effect<void, FileError> => Effect.uninterruptible(attempt("write", path, async () => {
  await mkdir(dirname(path), { recursive: true })
  const temporary = temporaryName(path)
  try {
    const handle = await open(temporary, "wx")
    try { await handle.writeFile(content); await handle.sync() } finally { await handle.close() }
    await rename(temporary, path)
    await flushFolder(dirname(path))
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}))

/** Writes JSON, two spaces to a level, whole or not at all. */
export const writeJson = (path: string, value: unknown): Effect.Effect<void, FileError> => write(path, `${JSON.stringify(value, null, 2)}\n`)

/** A folder's content written by `fill` into a temporary folder, flushed, then put in the place of `path`: whole or not at all. */
export const writeFolder = <A, E, R>(path: string, fill: (temporary: string) => Effect.Effect<A, E, R>): Effect.Effect<A, E | FileError, R> => Effect.suspend(() => {
  const temporary = temporaryName(path)
  return Effect.acquireUseRelease(
    attempt("write", path, () => mkdir(temporary, { recursive: true })),
    () => Effect.tap(fill(temporary), () => replaceFolder(temporary, path)),
    () => Effect.ignore(attempt("remove", temporary, () => rm(temporary, { recursive: true, force: true })))
  )
})

/** Flushes the folder `from` and renames it to `path`; what stood there before goes only then. */
export const replaceFolder = (from: string, path: string): Effect.Effect<void, FileError> => Effect.uninterruptible(attempt("write", path, async () => {
  await flushTree(from)
  const old = temporaryName(path)
  const replaced = await rename(path, old).then(() => true, (error: NodeJS.ErrnoException) => { if (error.code === "ENOENT") return false; throw error })
  await rename(from, path)
  await flushFolder(dirname(path))
  if (replaced) await rm(old, { recursive: true, force: true })
}))

/** The text of a file. */
export const read = (path: string): Effect.Effect<string, FileError> => attempt("read", path, () => readFile(path, "utf8"))

/** A file's JSON, or undefined where there is no such file. */
export const readJson = (path: string): Effect.Effect<unknown, FileError> => attempt("read", path, async () => {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => { if (error.code === "ENOENT") return undefined; throw error })
  return text === undefined ? undefined : JSON.parse(text) as unknown
})
