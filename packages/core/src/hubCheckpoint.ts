/**
 * A checkpoint by its id on the Hub, for stages: its header before its weights are here, then the checkpoint itself. `Checkpoint.load` and
 * `Hub.load` are the same in this; how a folder is opened is given to it, because the checkpoint's own file stands on this one.
 */
import { Effect } from "effect"
import { join } from "node:path"
import { readBlock } from "./blockScales.ts"
import type * as Checkpoint from "./Checkpoint.ts"
import * as Family from "./Family.ts"
import { FolderError } from "./FolderError.ts"
import * as Client from "./hubClient.ts"
import { HubError } from "./HubError.ts"
import { attempt, choose, completeAt, fetch, fetchAt, fromCache, type Progress, settle, settledCommit, small } from "./hubFetch.ts"
import { readConfigFile } from "./readConfigFile.ts"
import type { Context } from "./Stage.ts"
import * as Tokenizer from "./Tokenizer.ts"

/** What opens folders, and what the calls of its users are named by: `Checkpoint` or `Hub`. */
export interface Reader {
  readonly calls: string
  readonly open: typeof Checkpoint.open
  readonly headerOf: typeof Checkpoint.headerOf
}

/** Refuses a model of the other form. Fails: FolderError. */
export const requireForm = <F extends Checkpoint.Form, C extends { readonly form: Checkpoint.Form }>(calls: string, at: string, form: F, header: C): Effect.Effect<void, FolderError> => header.form === form ? Effect.void
  : Effect.fail(new FolderError({ folder: at, problem: `it holds a ${header.form} model, not a ${form} one`, remedy: `load it with ${calls}.${form === "dense" ? "loadMixture" : "load"}` }))

const complete = (id: string, commit: string) => Effect.suspend(() => completeAt(settle(id, { revision: commit }).of, commit))

const opened = <F extends Checkpoint.Form>({ calls, open }: Reader, id: string, form: F, folder: string): Effect.Effect<Checkpoint.Checkpoint<F>, Checkpoint.CheckpointError> =>
  Effect.tap(open(folder), ({ header }) => requireForm(calls, id, form, header)) as Effect.Effect<Checkpoint.Checkpoint<F>, Checkpoint.CheckpointError>

/** The header of a model that is not here yet: its small files are fetched, its weights only counted. */
const headerAhead = <F extends Checkpoint.Form>({ calls, headerOf }: Reader, id: string, revision: string, commit: string, form: F) => Effect.gen(function*() {
  const settings = yield* attempt(id, async () => settle(id, { revision }))
  if (settings.offline) return yield* attempt(id, () => fromCache(settings, "we are offline").then(() => { throw new HubError({ id, reason: "Cache", problem: `the cache has only a part of revision ${revision}, and we are offline`, remedy: "fetch it once with a network" }) }))
  const entries = yield* attempt(id, (signal) => Client.tree(settings.hub(signal), commit))
  const bytes = choose(entries, undefined).reduce((sum, { path, size }) => sum + (path.endsWith(".safetensors") ? size : 0), 0)
  if (bytes === 0) return yield* new HubError({ id, reason: "NotFound", problem: `revision ${revision} has no weights in safetensors`, remedy: "choose a model that has, or convert it to safetensors first; pickles are never read" })
  const { folder } = yield* fetchAt(settings, commit, entries, { files: small }), file = join(folder, "config.json")
  const model = yield* Family.readConfig(file, (yield* Effect.fromResult(readBlock(file, yield* readConfigFile(file)))).rest), tokenizer = yield* Tokenizer.fromFolder(folder)
  const header = headerOf(model, tokenizer.hash, bytes)
  yield* requireForm(calls, id, form, header)
  return header as Checkpoint.Header<F>
})

/** The header of `id` at a revision: from the cache, or from the small files alone. Fails: HubError, CheckpointError. */
export const header = <F extends Checkpoint.Form>(reader: Reader, id: string, revision: string, form: F) => Effect.gen(function*() {
  const commit = yield* settledCommit(id, revision), folder = yield* complete(id, commit)
  return folder === undefined ? yield* headerAhead(reader, id, revision, commit, form) : (yield* opened(reader, id, form, folder)).header
})

/** The checkpoint of `id` at a revision, fetched where the cache has it not whole, with the progress of the stage that asks. Fails: as `header`. */
export const bring = <F extends Checkpoint.Form>(reader: Reader, id: string, revision: string, form: F, context: Pick<Context, "progress">) => Effect.gen(function*() {
  const commit = yield* settledCommit(id, revision), here = yield* complete(id, commit)
  const tell = Effect.runForkWith(yield* Effect.context<never>())
  let told = 0
  const progress = ({ done, total }: Progress) => {
    if (done - told < total / 100 && done < total) return
    told = done
    tell(context.progress(done, total, "bytes"))
  }
  const folder = here ?? (yield* fetch(id, { revision: commit, progress })).folder
  return { commit, folder, checkpoint: yield* opened(reader, id, form, folder) }
})
