/**
 * Models by id: `org/name` at a revision, from the cache that Hugging Face's tools share, or from the hub into that cache.
 *
 * This is the only place of the project that touches a network. What is fetched is verified by hash, goes on after a broken connection, and appears
 * in the cache only when it is whole; then everything works without a network. Code and pickles are never fetched unless named.
 */
import { Effect, Schema } from "effect"
import type * as Artifact from "./Artifact.ts"
import * as Checkpoint from "./Checkpoint.ts"
import type { FileError } from "./File.ts"
import * as hubCheckpoint from "./hubCheckpoint.ts"
import { whole } from "./hubDataset.ts"
import type { HubError } from "./HubError.ts"
import { commitOf, locate as locateModel, type Options } from "./hubFetch.ts"
import { licenceOf } from "./licenceOf.ts"
import * as Stage from "./Stage.ts"

export { HubError, type Reason } from "./HubError.ts"
export { type Dataset, dataset, folder, split, type SplitOptions } from "./hubDataset.ts"
export { cached, fetch, type Options, type Progress, type Snapshot, type Verified, verify } from "./hubFetch.ts"

/**
 * The folder of a model, or with `kind: "dataset"` of a data set with all of its rows, given by a path or as `org/name@revision`: the path where there is one, else the cache's folder,
 * fetched first when it is not whole. Fails: as `fetch`; the error of what is neither a folder nor an id says both.
 */
export const locate = (name: string, options: Options = {}): Effect.Effect<string, HubError | FileError> => options.kind === "dataset" ? whole(name, options) : locateModel(name, options)

/** The checkpoint of a model's name: a folder, a `.gguf` file, or `org/name@revision`, fetched first when the cache has it not whole. Fails: as `locate` and as `Checkpoint.open`. */
export const open = (model: string, options: Options & Checkpoint.OpenOptions = {}): Effect.Effect<Checkpoint.Any, Checkpoint.CheckpointError | HubError | FileError> =>
  Effect.flatMap(locate(model, options), (folder) => Checkpoint.open(folder, options))

const reader: hubCheckpoint.Reader = { calls: "Hub", open: Checkpoint.open, headerOf: Checkpoint.headerOf }

const loader = <F extends Checkpoint.Form>(name: string, form: F, output: Artifact.Artifact<Checkpoint.Checkpoint<F>>) => Stage.make(name, {
  version: 1,
  inputs: [],
  options: Schema.Struct({ id: Schema.String, revision: Schema.String.pipe(Stage.byDefault("main")) }),
  output,
  outside: ({ id, revision }) => Effect.map(commitOf(id, revision), (commit) => ({ [`${id}@${revision}`]: commit })),
  *describe(_, { id, revision }) {
    const header = yield* hubCheckpoint.header(reader, id, revision, form)
    return { header, cost: { bytesRead: header.bytes, bytesWritten: header.bytes } }
  },
  *run(_, { id, revision }, context) {
    const { checkpoint, commit, folder } = yield* hubCheckpoint.bring(reader, id, revision, form, context)
    return { ...checkpoint, lineage: [...checkpoint.lineage, { stage: name, key: context.key, inputs: {}, facts: { id, revision, commit, ...yield* licenceOf(folder), family: checkpoint.model.family } }] }
  }
})

/**
 * A dense model of a hub as a node. Its key has the commit, which the cache's note of the revision decides where there is one; `fetch` moves the note on.
 * Options: `{ id: "org/name", revision: "main" }`. Fails: HubError and CheckpointError, before any work.
 */
export const load = loader("hub/load", "dense", Checkpoint.Dense)
/** A mixture of a hub as a node. Options and failures as `load`. */
export const loadMixture = loader("hub/loadMixture", "mixture", Checkpoint.Mixture)
