/**
 * Data sets by name, a file at a time: what a data set has is known before any of it is fetched, and what is read of it is fetched when it is asked for.
 *
 * Which files are a split follows from the paths of all files and the card (`DataFiles`). So the list of a commit's files is noted beside the cache's snapshot, where
 * a part of a data set then says of itself that it is one: the same files are a split whatever has been fetched, and without a request.
 */
import { Effect } from "effect"
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { join, sep } from "node:path"
import { configurations, formOf } from "./DataFiles.ts"
import type * as File from "./File.ts"
import * as Cache from "./hubCache.ts"
import * as Client from "./hubClient.ts"
import { HubError } from "./HubError.ts"
import { attempt, choose, fetchAt, fromCache, isUnreachable, neither, type Options, requireRows, rows, settle } from "./hubFetch.ts"

/**
 * A data set on this machine or on the way to it. at: its folder, or a file that is all of it. paths: of all its files, relative, with forward slashes, here or not;
 * of a file alone none. card: the text of its README.md. bring: fetches what is not here of some of these paths, and gives where they lie.
 */
export interface Dataset {
  readonly at: string
  readonly paths: () => ReadonlyArray<string>
  readonly has: (path: string) => boolean
  readonly card: () => string | undefined
  readonly bring: (paths: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<string>, HubError | File.FileError>
}

/** What lies in a folder of one's own, or a file that is all there is. It is listed when it is asked for. */
export const folder = (at: string): Dataset => {
  let listed: ReadonlyArray<string> | undefined
  const isFile = existsSync(at) && statSync(at).isFile(), card = join(at, "README.md")
  return {
    at,
    paths: () => listed ??= isFile || !existsSync(at) ? [] : readdirSync(at, { recursive: true, encoding: "utf8" }).map((path) => path.split(sep).join("/")),
    has: (path) => !isFile && existsSync(join(at, path)), card: () => existsSync(card) ? readFileSync(card, "utf8") : undefined,
    bring: (paths) => Effect.succeed(paths.map((path) => join(at, path)))
  }
}

/** The commit of a revision and its files, as noted, else as the hub lists them; where it cannot be asked, the files that the cache has. */
const listed = (settings: ReturnType<typeof settle>) => Effect.gen(function*() {
  const { of, offline, revision } = settings
  const noted = yield* attempt(of.folder, () => Cache.readRef(of, revision)), known = noted === undefined ? undefined : yield* attempt(of.folder, () => Cache.readList(of, noted))
  if (noted !== undefined && known !== undefined) return { commit: noted, entries: known }
  const here = (why: string) => Effect.map(attempt(of.folder, () => fromCache(settings, why)), ({ commit, files }) => ({ commit, files }))
  if (offline) return yield* here("we are offline")
  return yield* attempt(of.folder, async (signal) => {
    const hub = settings.hub(signal), commit = noted ?? await Client.commitAt(hub, revision), entries = await Client.tree(hub, commit)
    requireRows(of, entries)
    await Cache.noteList(of, commit, entries)
    return { commit, entries }
  }).pipe(Effect.catchIf(isUnreachable, (error) => Effect.mapError(here("the hub cannot be reached"), () => error)))
})

/** What says how a data set may be used, and which file is what. */
const papers = /^(?:[^/]+\.md|LICENSE[^/]*)$/

/**
 * A data set by a path or as `org/name@revision`, of which nothing but the card and the licence is fetched before it is asked for; what is fetched is added to the revision's
 * snapshot. The cache's note of the revision decides which commit it is, where there is one. Fails: as `fetch`; the error of what is neither a folder nor an id says both.
 */
export const dataset = (name: string, options: Options = {}): Effect.Effect<Dataset, HubError | File.FileError> => Effect.gen(function*() {
  if (existsSync(name)) return folder(name)
  const settings = yield* attempt(name, async () => settle(name, { ...options, kind: "dataset" })), { of, offline, revision } = settings
  const found = yield* listed(settings), at = Cache.snapshotFolder(of, found.commit), held = yield* attempt(of.folder, () => Cache.held(of, found.commit).catch((error: unknown) => {
    // a link to nothing is mended when its file is brought
    if (error instanceof HubError && error.reason === "Cache" && !offline) return []
    throw error
  }))
  const here = new Set(held.map(({ path }) => path)), all = "entries" in found ? found.entries.map(({ path }) => path) : found.files, known = new Set(all)
  const bring: Dataset["bring"] = (paths) => Effect.gen(function*() {
    const strange = paths.find((path) => !known.has(path)), missing = paths.filter((path) => !here.has(path))
    if (strange !== undefined) return yield* new HubError({ id: of.id, file: strange, reason: "NotFound", problem: `revision ${revision} has no such file`, remedy: "name one of its paths" })
    if (missing.length > 0 && (offline || !("entries" in found))) {
      return yield* new HubError({ id: of.id, file: missing[0]!, reason: "Cache", problem: `the cache has only a part of revision ${revision} without ${missing.length === 1 ? "this file" : `this and ${missing.length - 1} other files`}, and we are offline`, remedy: "fetch it once with a network" })
    }
    if (missing.length > 0 && "entries" in found) {
      const wanted = new Set(missing)
      yield* fetchAt(settings, found.commit, found.entries.filter(({ path }) => wanted.has(path)), { ...options, files: ["*"] }).pipe(
        // a list that promises what the hub has not is asked for again
        Effect.tapError((error) => error._tag === "HubError" && error.reason === "WrongHash" ? attempt(of.folder, () => Cache.forgetList(of, found.commit)) : Effect.void)
      )
      for (const path of missing) here.add(path)
    }
    return paths.map((path) => join(at, ...path.split("/")))
  })
  // offline, a card that is not here is none
  yield* bring(all.filter((path) => papers.test(path) && (!offline || here.has(path))))
  const card = here.has("README.md") ? yield* attempt(of.folder, async () => readFileSync(join(at, "README.md"), "utf8")) : undefined
  return { at, paths: () => all, has: (path) => known.has(path), card: () => card, bring }
}).pipe(Effect.mapError(neither))

/** The folder of a data set, by a path or as `org/name@revision`, with all of its rows in it. Fails: as `dataset`. */
export const whole = (name: string, options: Options = {}): Effect.Effect<string, HubError | File.FileError> => Effect.gen(function*() {
  const found = yield* dataset(name, options)
  if (!existsSync(name)) yield* found.bring(choose(found.paths().map((path) => ({ path })), options.files ?? rows).map(({ path }) => path))
  return found.at
})

/** split: its name. configuration: one that the card names; the default where there is one. */
export interface SplitOptions extends Options { readonly split: string; readonly configuration?: string }

/**
 * The files of one split of one configuration, fetched alone, in order: what a corpus of a hub is made of. Fails: as `dataset`, and HubError `NotFound` that names the
 * configurations or the splits there are.
 */
export const split = (name: string, { configuration, split, ...options }: SplitOptions): Effect.Effect<ReadonlyArray<string>, HubError | File.FileError> => Effect.gen(function*() {
  const found = yield* dataset(name, options), all = configurations(found.paths().filter((path) => formOf(path) !== undefined), found.card())
  const one = all.find(({ isDefault, name }) => configuration === undefined ? isDefault : name === configuration), files = one?.splits[split]
  const refuse = (problem: string, remedy: string) => new HubError({ id: name, reason: "NotFound", problem, remedy })
  if (one === undefined) return yield* refuse(configuration === undefined ? "it has several configurations and no default" : `it has no configuration ${configuration}`, `name one of its configurations: ${all.map(({ name }) => name).join(", ")}`)
  if (files === undefined) return yield* refuse(`its configuration ${one.name} has no split ${split}`, `name one of its splits: ${Object.keys(one.splits).join(", ")}`)
  return yield* found.bring(files)
})
