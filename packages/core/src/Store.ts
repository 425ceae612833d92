/**
 * The store: a folder that remembers results by key.
 *
 *     results/<key>/provenance.json   written last, so that a result is there whole or not at all
 *     results/<key>/<port>/…          the files of one output
 *     resume/<key>/<number>/…         what an unfinished stage has saved of itself
 *     hashes.json   lock
 */
import { Context, Effect, Layer, Schema } from "effect"
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { attempt, type FileError, flushFolder, isTemporaryName, replaceFolder, temporaryName } from "./File.ts"
import { Provenance } from "./Provenance.ts"

/** The store could not be read or written; says where and why. */
export class StoreError extends Schema.TaggedError<StoreError>()("StoreError", { root: Schema.String, problem: Schema.String, cause: Schema.optional(Schema.Defect()) }) {
  override get message(): string { return `store ${this.root}: ${this.problem} (another store: --store DIR)` }
}

export class Store extends Context.Service<Store, { readonly root: string }>()("@switchyard/core/Store") {}

/** A store in the folder `root`, made when first written to. */
export const layer = (root: string): Layer.Layer<Store> => Layer.succeed(Store, Store.of({ root }))

/** A store that goes when the program ends; for tests and experiments. */
export const temporary: Layer.Layer<Store> = Layer.effect(Store, Effect.map(
  Effect.acquireRelease(Effect.promise(() => mkdtemp(join(tmpdir(), "switchyard-"))), (root) => Effect.promise(() => rm(root, { recursive: true, force: true }))),
  (root) => Store.of({ root })
))

export const located = (root: string) => <A, R>(effect: Effect.Effect<A, FileError, R>): Effect.Effect<A, StoreError, R> =>
  Effect.mapError(effect, (error) => new StoreError({ root, problem: error.message, cause: error }))

export const resultFolder = (root: string, key: string): string => join(root, "results", key)
const resumeFolder = (root: string, key: string): string => join(root, "resume", key)

/** The record of a result, whether or not its files are still there; a damaged record is none. */
export const provenance = (key: string): Effect.Effect<Provenance | undefined, StoreError, Store> => Effect.flatMap(Store, ({ root }) => {
  const path = join(resultFolder(root, key), "provenance.json")
  return located(root)(attempt("read", path, async () => {
    const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => { if (error.code === "ENOENT") return undefined; throw error })
    if (text === undefined) return undefined
    try { return Schema.decodeUnknownSync(Provenance)(JSON.parse(text)) } catch { return undefined }
  }))
})

/** The record of a result all of whose files are there with their sizes; else undefined, and the stage has to run. */
export const kept = (key: string): Effect.Effect<Provenance | undefined, StoreError, Store> => Effect.gen(function*() {
  const { root } = yield* Store
  const record = yield* provenance(key)
  if (record === undefined) return undefined
  for (const [port, output] of Object.entries(record.outputs)) for (const file of output.files) {
    const size = yield* Effect.promise(() => stat(join(resultFolder(root, key), port, file.path)).then((info) => info.size, () => -1))
    if (size !== file.bytes) return undefined
  }
  return record
})

/** A fresh folder that will become the result of `key`; gone with the scope unless kept. */
export const begin = (key: string) => Effect.gen(function*() {
  const { root } = yield* Store
  const making = temporaryName(resultFolder(root, key))
  yield* Effect.acquireRelease(
    located(root)(attempt("write", making, () => mkdir(making, { recursive: true }))),
    () => Effect.ignore(attempt("remove", making, () => rm(making, { recursive: true, force: true })))
  )
  return making
})

/** Puts a finished folder in the place of the result of `key`, in one rename. */
export const keep = (key: string, making: string): Effect.Effect<void, StoreError, Store> =>
  Effect.flatMap(Store, ({ root }) => located(root)(replaceFolder(making, resultFolder(root, key))))

const numbers = async (folder: string): Promise<ReadonlyArray<number>> =>
  (await readdir(folder).catch(() => [])).filter((name) => /^\d+$/.test(name)).map(Number).sort((a, b) => b - a)

/** The folder that the stage of this key saved last. */
export const lastSaved = (key: string): Effect.Effect<string | undefined, never, Store> => Effect.flatMap(Store, ({ root }) => Effect.promise(async () => {
  const [last] = await numbers(resumeFolder(root, key))
  return last === undefined ? undefined : join(resumeFolder(root, key), String(last))
}))

/** Saves the state of an unfinished stage: temporary folder, flush, rename; the states before it go only then. */
export const saveState = <E, R>(key: string, fill: (directory: string) => Effect.Effect<void, E, R>): Effect.Effect<void, E | StoreError, R | Store> => Effect.gen(function*() {
  const { root } = yield* Store
  const folder = resumeFolder(root, key)
  const before = yield* Effect.promise(() => numbers(folder))
  const next = join(folder, String((before[0] ?? 0) + 1)), making = temporaryName(next)
  yield* Effect.acquireUseRelease(
    located(root)(attempt("write", making, () => mkdir(making, { recursive: true }))),
    () => Effect.andThen(fill(making), located(root)(replaceFolder(making, next))),
    () => Effect.ignore(attempt("remove", making, () => rm(making, { recursive: true, force: true })))
  )
  yield* located(root)(attempt("remove", folder, async () => { for (const old of before) await rm(join(folder, String(old)), { recursive: true, force: true }) }))
})

/** Drops the saved state of a stage. */
export const forgetState = (key: string): Effect.Effect<void, StoreError, Store> => Effect.flatMap(Store, ({ root }) => {
  const folder = resumeFolder(root, key), gone = temporaryName(folder)
  return located(root)(attempt("remove", folder, async () => {
    // renamed first: a kill in the middle of the removal leaves no half state behind
    if (!(await rename(folder, gone).then(() => true, (error: NodeJS.ErrnoException) => { if (error.code === "ENOENT") return false; throw error }))) return
    await flushFolder(join(root, "resume"))
    await rm(gone, { recursive: true, force: true })
  }))
})

/** Removes what killed processes left half-written, and saved states whose stage has finished. Only the holder of the lock may. */
export const sweep: Effect.Effect<void, StoreError, Store> = Effect.gen(function*() {
  const { root } = yield* Store
  const folders = [root, join(root, "results"), join(root, "resume")]
  const list = (folder: string) => Effect.promise(() => readdir(folder).catch(() => []))
  const remove = (path: string) => located(root)(attempt("remove", path, () => rm(path, { recursive: true, force: true })))
  for (const key of yield* list(join(root, "resume"))) {
    // killed between the keeping of the result and the forgetting of the state; of a result that lacks a file the state is what the stage goes on from
    if ((yield* kept(key)) !== undefined) yield* remove(join(root, "resume", key))
    else folders.push(join(root, "resume", key))
  }
  for (const folder of folders) for (const name of yield* list(folder)) if (isTemporaryName(name)) yield* remove(join(folder, name))
})
