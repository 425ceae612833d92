/**
 * Fetching models into the cache that Hugging Face's tools share, and finding them there: what `Hub.ts` gives its users, without the stages.
 *
 * What is fetched is verified by hash, goes on after a broken connection, and appears in the cache only when it is whole. Code and pickles are
 * never fetched unless named.
 */
import { Effect, Schedule } from "effect"
import { existsSync } from "node:fs"
import { readFile, rm } from "node:fs/promises"
import { basename, join } from "node:path"
import { formOf, forms } from "./DataFiles.ts"
import * as File from "./File.ts"
import * as Cache from "./hubCache.ts"
import * as Client from "./hubClient.ts"
import { HubError } from "./HubError.ts"
import * as Lock from "./Lock.ts"

/** Where a fetch is. Units: `done` and `total` bytes of all the files that had to be fetched, `file` the one that is being fetched. */
export interface Progress { readonly file: string; readonly done: number; readonly total: number }

/**
 * revision: a branch, tag or commit ("main"). endpoint: the hub's address (HF_ENDPOINT, else https://huggingface.co). token: HF_TOKEN. offline: the cache
 * alone (HF_HUB_OFFLINE=1). cache: its folder (HF_HUB_CACHE, HF_HOME). files: patterns with `*` instead of the usual choice. kind: "dataset" for what stands under datasets/ on the hub. retries: of a broken connection
 * (4). Units: wait, milliseconds before the first of them, doubled each time (500).
 */
export interface Options {
  readonly revision?: string
  readonly endpoint?: string
  readonly token?: string
  readonly offline?: boolean
  readonly cache?: string
  readonly files?: ReadonlyArray<string>
  readonly kind?: Cache.Kind
  readonly retries?: number
  readonly wait?: number
  readonly progress?: (progress: Progress) => void
}

/** A model's files on this machine. `files`: relative to `folder`, which `Checkpoint.open` takes. `from`: who said which commit it is. Units: `fetched` bytes. */
export interface Snapshot {
  readonly id: string
  readonly revision: string
  readonly commit: string
  readonly folder: string
  readonly files: ReadonlyArray<string>
  readonly from: "hub" | "cache"
  readonly fetched: number
}

// ---------------------------------------------------------------- settings
const isOn = (value: string | undefined): boolean => value !== undefined && /^(?:1|on|yes|true)$/i.test(value)
/** `org/name` or `org/name@revision`; a revision among the options holds. */
export const settle = (name: string, options: Options) => {
  const [id, asked] = name.split(/@(.*)/s) as [string, string?]
  const { HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE } = process.env, revision = options.revision ?? asked ?? "main"
  const of = Cache.repository(options.cache ?? Cache.root(), id, revision, options.kind), token = options.token ?? HF_TOKEN
  const endpoint = (options.endpoint ?? (HF_ENDPOINT ? HF_ENDPOINT : "https://huggingface.co")).replace(/\/+$/, "")
  if (!/^https?:\/\/[^/]/.test(endpoint)) throw new HubError({ id, url: endpoint, reason: "Invalid", problem: "this endpoint is no address", remedy: "set HF_ENDPOINT to one that begins with https://" })
  return {
    of, revision, offline: options.offline ?? isOn(HF_HUB_OFFLINE),
    hub: (signal: AbortSignal): Client.Connection => ({ of, endpoint, token: token === "" ? undefined : token, retries: options.retries ?? 4, wait: options.wait ?? 500, signal })
  }
}
type Settings = ReturnType<typeof settle>

/** Runs promises that throw HubError or a system error. */
export const attempt = <A>(path: string, run: (signal: AbortSignal) => Promise<A>): Effect.Effect<A, HubError | File.FileError> => Effect.tryPromise({
  try: run,
  catch: (error) => error instanceof HubError ? error
    : new File.FileError({ path: String((error as NodeJS.ErrnoException).path ?? path), doing: "write", code: String((error as NodeJS.ErrnoException).code ?? "unknown"), problem: error instanceof Error ? error.message : String(error) })
})

// ---------------------------------------------------------------- what is fetched
const usual = /^(?:[^/]+\.(?:json|txt|jinja|model|md|safetensors)|(?:LICENSE|NOTICE)[^/]*)$/
/** The usual choice: what stands at the top as JSON, text, tokenizer, licence or safetensors, without the second copy that some models keep as `consolidated`. */
export const choose = <E extends Pick<Cache.Entry, "path">>(entries: ReadonlyArray<E>, patterns: ReadonlyArray<string> | undefined): ReadonlyArray<E> => {
  if (patterns !== undefined) {
    const expressions = patterns.map((pattern) => new RegExp(`^${pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*")}$`))
    return entries.filter(({ path }) => expressions.some((expression) => expression.test(path)))
  }
  const usually = entries.filter(({ path }) => usual.test(path)), model = usually.some(({ path }) => /^model[^/]*\.safetensors$/.test(path))
  return usually.filter(({ path }) => !(model && /^consolidated[^/]*\.safetensors/.test(path)))
}
/** Of a data set: rows, wherever they stand, and what says how they may be used. */
export const rows = [...forms.map((form) => `*.${form}`), "*.md", "LICENSE*"]
/** Fails: throws HubError where a data set has no rows in a form that is read. */
export const requireRows = ({ id }: Cache.Repository, entries: ReadonlyArray<Cache.Entry>): void => {
  if (!entries.some(({ path }) => formOf(path) !== undefined)) throw new HubError({ id, reason: "NotFound", problem: `none of its ${entries.length} files has rows in a form that is read (${forms.join(", ")})`, remedy: `many data sets have a copy in parquet, name it as ${id}@refs/convert/parquet` })
}
/** What a plan needs: everything but the weights. */
export const small = ["*.json", "*.txt", "*.jinja", "*.model"]

/** What is missing from a snapshot for a checkpoint to be opened; its index is read, where it has one. */
const missing = async (files: ReadonlyArray<Cache.Held>): Promise<ReadonlyArray<string>> => {
  const at = new Map(files.map(({ path, real }) => [path, real])), index = at.get("model.safetensors.index.json")
  const always = ["config.json", "tokenizer.json"] // tools that want the model alone leave its tokenizer out
  if (index === undefined) return [...always, "model.safetensors"].filter((name) => !at.has(name))
  const text = await readFile(index, "utf8")
  try {
    const { weight_map: shards } = JSON.parse(text) as { readonly weight_map: Readonly<Record<string, string>> }
    return [...new Set([...always, ...Object.values(shards)])].filter((name) => !at.has(name))
  } catch { return [] } // opening it says what is wrong
}

/** The folder of a commit in the cache when a checkpoint can be opened there. */
export const completeAt = (of: Cache.Repository, commit: string): Effect.Effect<string | undefined, HubError | File.FileError> => attempt(of.folder, async () =>
  (await missing(await Cache.held(of, commit))).length === 0 ? Cache.snapshotFolder(of, commit) : undefined)

export const fromCache = async ({ of, revision }: Settings, why: string): Promise<Snapshot> => {
  const commit = await Cache.readRef(of, revision), files = commit === undefined ? [] : await Cache.held(of, commit)
  if (commit === undefined || files.length === 0) {
    throw new HubError({
      id: of.id, reason: "Cache", problem: `revision ${revision} is not in the cache ${of.cache}, and ${why}`,
      remedy: `fetch it once with a network, or point HF_HUB_CACHE to a cache that has it${await Cache.suggestion(of)}`
    })
  }
  return { id: of.id, revision, commit, folder: Cache.snapshotFolder(of, commit), files: files.map(({ path }) => path), from: "cache", fetched: 0 }
}

// ---------------------------------------------------------------- fetching
/** In one process one fetch of a model after the other; between processes a lock keeps them apart. */
const turns = new Map<string, Promise<unknown>>()
const inTurn = <A>(name: string, run: () => Promise<A>): Promise<A> => {
  const turn = (turns.get(name) ?? Promise.resolve()).then(run, run), quiet = turn.then(() => undefined, () => undefined)
  turns.set(name, quiet)
  return turn
}
const locked = <A>(of: Cache.Repository, run: (signal: AbortSignal) => Promise<A>): Effect.Effect<A, HubError | File.FileError> => Effect.scoped(Effect.gen(function*() {
  yield* Lock.acquire(join(of.cache, ".locks", basename(of.folder), "switchyard")).pipe(
    Effect.retry({ while: (error) => error._tag === "StoreLocked", schedule: Schedule.spaced("200 millis"), times: 18_000 }),
    Effect.catchTag("StoreLocked", (error) => Effect.fail(new HubError({ id: of.id, reason: "Cache", problem: error.message, remedy: "wait until it has finished" })))
  )
  return yield* attempt(of.folder, (signal) => inTurn(of.folder, () => run(signal)))
}))

export const fetchAt = (settings: Settings, commit: string, entries: ReadonlyArray<Cache.Entry>, { files, progress }: Options): Effect.Effect<Snapshot, HubError | File.FileError> => {
  const { of, revision } = settings, wanted = choose(entries, files ?? (of.kind === "dataset" ? rows : undefined))
  const got = (fetched: number): Snapshot => ({ id: of.id, revision, commit, folder: Cache.snapshotFolder(of, commit), files: wanted.map(({ path }) => path).sort(), from: "hub", fetched })
  const isNoted = async () => Cache.isCommit(revision) || await Cache.readRef(of, revision).catch(() => undefined) === commit
  const isWhole = async () => {
    const there = new Map((await Cache.held(of, commit).catch(() => [])).map(({ path, real }) => [path, real]))
    for (const entry of wanted) if (there.get(entry.path) === undefined || basename(there.get(entry.path)!) !== entry.hash || !(await Cache.hasBlob(of, entry))) return false
    return wanted.length > 0
  }
  const bring = locked(of, async (signal) => {
    const hub = settings.hub(signal)
    if (files === undefined && of.kind === "dataset") requireRows(of, entries)
    if (wanted.length === 0) throw new HubError({ id: of.id, reason: "NotFound", problem: `none of its ${entries.length} files is one that we fetch`, remedy: "name files, say files: [\"*.safetensors\"]; pickles must be converted to safetensors first" })
    const todo: Array<Cache.Entry> = []
    for (const entry of wanted) if (!todo.some(({ hash }) => hash === entry.hash) && !(await Cache.hasBlob(of, entry))) todo.push(entry)
    const total = todo.reduce((sum, { size }) => sum + size, 0)
    let before = 0
    for (const entry of todo) {
      await Client.download(hub, commit, entry, (bytes) => progress?.({ file: entry.path, done: before + bytes, total }))
      before += entry.size
    }
    // links last: a snapshot never names what is not there
    for (const entry of wanted) await Cache.link(of, commit, entry)
    if (!(await isNoted())) await Effect.runPromise(File.write(join(of.folder, "refs", ...revision.split("/")), commit))
    return got(total)
  })
  // a cache that has it all may be read-only
  return Effect.flatMap(attempt(of.folder, async () => await isNoted() && await isWhole()), (done) => done ? Effect.succeed(got(0)) : bring)
}

/** Whether nobody answered, so that what the cache has must do. */
export const isUnreachable = (error: HubError | File.FileError): boolean => error._tag === "HubError" && error.reason === "Network" && error.status === undefined

/** Commits that this process has settled on: a plan's keys and the run after it mean the same one, also when a branch moves in between. */
const settled = new Map<string, string>()
const settledName = ({ of, revision }: Settings): string => `${of.folder}@${revision}`

/**
 * Brings a model into the cache and gives its folder. Asks which commit the revision is now; bytes that are there are not fetched again. Where the hub cannot
 * be reached, what the cache has is given. Fails: HubError; FileError where the cache cannot be written.
 */
export const fetch = (id: string, options: Options = {}): Effect.Effect<Snapshot, HubError | File.FileError> => Effect.gen(function*() {
  const settings = yield* attempt(id, async () => settle(id, options))
  if (settings.offline) return yield* attempt(settings.of.folder, () => fromCache(settings, "we are offline"))
  const listed = yield* attempt(settings.of.folder, async (signal) => {
    const hub = settings.hub(signal), commit = Cache.isCommit(settings.revision) ? settings.revision : await Client.commitAt(hub, settings.revision)
    const entries = await Client.tree(hub, commit)
    if (settings.of.kind === "dataset") await Cache.noteList(settings.of, commit, entries)
    return { commit, entries }
  }).pipe(Effect.catchIf(isUnreachable, (error) =>
    Effect.mapError(attempt(settings.of.folder, () => fromCache(settings, "the hub cannot be reached")), () => error)))
  if ("folder" in listed) return listed
  const snapshot = yield* fetchAt(settings, listed.commit, listed.entries, options)
  settled.set(settledName(settings), snapshot.commit)
  return snapshot
})

/** The error about a name that may be a path or an id, saying both. */
export const neither = <E extends HubError | File.FileError>(error: E): E | HubError => {
  if (error._tag !== "HubError") return error
  const { id, reason, problem, remedy, file, url, status } = error
  return new HubError({
    id, reason, problem: `there is no such folder, and ${problem}`, remedy: `check the path; for an id of the hub ${remedy}`,
    ...file === undefined ? {} : { file }, ...url === undefined ? {} : { url }, ...status === undefined ? {} : { status }
  })
}

/**
 * The folder of a model given by a path or as `org/name@revision`: the path where there is one, else the cache's folder, fetched first when it is not whole.
 * Fails: as `fetch`; the error of what is neither a folder nor an id says both.
 */
export const locate = (model: string, options: Options = {}): Effect.Effect<string, HubError | File.FileError> => Effect.gen(function*() {
  if (existsSync(model)) return model
  const settings = yield* attempt(model, async () => settle(model, options))
  const commit = yield* attempt(model, () => Cache.readRef(settings.of, settings.revision)), here = commit === undefined ? undefined : yield* completeAt(settings.of, commit)
  return here ?? (yield* fetch(model, options)).folder
}).pipe(Effect.mapError(neither))

/** What the cache has of a model, without any request. Fails: HubError when that is nothing, or when the cache contradicts itself. */
export const cached = (id: string, options: Pick<Options, "revision" | "cache"> = {}): Effect.Effect<Snapshot, HubError | File.FileError> => fetch(id, { ...options, offline: true })

/** One cached file, held against the hash that is its blob's name. `unknown`: a plain copy, which tells none. */
export interface Verified { readonly file: string; readonly state: "intact" | "fetched again" | "unknown" }

/**
 * Hashes every cached file of a model anew. A file that is not what its name says is removed and fetched again, the others stay. Fails: HubError `WrongHash` when it
 * is bad and we are offline, and as `fetch`.
 */
export const verify = (id: string, options: Options = {}): Effect.Effect<ReadonlyArray<Verified>, HubError | File.FileError> => Effect.gen(function*() {
  const settings = yield* attempt(id, async () => settle(id, options)), { of } = settings
  const found = yield* attempt(of.folder, async () => {
    const { commit } = await fromCache(settings, "only what is there can be verified"), states: Array<{ readonly file: string; readonly real: string; readonly intact: boolean | undefined }> = []
    for (const { path, real } of await Cache.held(of, commit)) states.push({ file: path, real, intact: await Cache.isIntact(real) })
    return { commit, states }
  })
  const bad = found.states.filter(({ intact }) => intact === false)
  if (bad.length > 0) {
    if (settings.offline) {
      return yield* new HubError({ id, file: join(Cache.snapshotFolder(of, found.commit), bad[0]!.file), reason: "WrongHash", problem: `its content is not what its blob's name says${bad.length > 1 ? `, nor is that of ${bad.length - 1} other files` : ""}`, remedy: "verify again with a network, which fetches it anew" })
    }
    const entries = yield* attempt(of.folder, (signal) => Client.tree(settings.hub(signal), found.commit))
    yield* attempt(of.folder, async () => { for (const { real } of bad) await rm(real, { force: true }) })
    yield* fetchAt(settings, found.commit, entries, { ...options, files: bad.map(({ file }) => file) })
  }
  return found.states.map(({ file, intact }) => ({ file, state: intact === undefined ? "unknown" : intact ? "intact" : "fetched again" }))
})

// ---------------------------------------------------------------- which commit
/** The commit of a revision, by the cache's note or, where it has none, the hub's answer. */
export const commitOf = (id: string, revision: string): Effect.Effect<string, HubError | File.FileError> => attempt(id, async (signal) => {
  const settings = settle(id, { revision }), noted = await Cache.readRef(settings.of, revision)
  const commit = noted ?? (settings.offline ? (await fromCache(settings, "we are offline")).commit : await Client.commitAt(settings.hub(signal), revision))
  settled.set(settledName(settings), commit)
  return commit
})
export const settledCommit = (id: string, revision: string) => Effect.suspend(() => {
  const commit = settled.get(settledName(settle(id, { revision })))
  return commit === undefined ? commitOf(id, revision) : Effect.succeed(commit)
})
