/**
 * What the targets read, as nodes: model folders of either form and text files, each with a name that tells it from the others.
 */
import { Checkpoint, Corpus, File, file, Hub, type Stage } from "@switchyard/core"
import { Effect, Option } from "effect"
import { existsSync } from "node:fs"
import { basename, extname } from "node:path"
import { place, TargetError } from "./target.ts"

/** The shortest ends of the paths that differ from each other: `seed`, or `a/seed` and `b/seed`. Fails: a path given twice. */
export const names = (target: string, paths: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>, TargetError> => Effect.gen(function*() {
  const parts = paths.map((path) => place(path).split(/[\\/]/).filter((part) => part !== ""))
  for (let length = 1; length <= Math.max(...parts.map((part) => part.length)); length++) {
    const ends = parts.map((part) => part.slice(-length).join("/"))
    if (new Set(ends).size === ends.length) return ends
  }
  const twice = paths.find((path, at) => paths.findIndex((other) => place(other) === place(path)) !== at)!
  return yield* new TargetError({ target, problem: `${twice} is given twice`, remedy: "Give each path once" })
})

/** How reading a model may fail. */
export type ModelError = Checkpoint.CheckpointError | Hub.HubError | File.FileError
/** A node of either form. */
export type ModelNode = Stage.Node<Checkpoint.Checkpoint<"dense"> | Checkpoint.Checkpoint<"mixture">, ModelError>
/** A model by its name: its form as it says itself, and its node. */
export type Loaded =
  | { readonly form: "dense"; readonly node: ModelNode }
  | { readonly form: "mixture"; readonly experts: number; readonly node: Stage.Node<Checkpoint.Checkpoint<"mixture">, ModelError> }

/** What `--model` means: a folder or a `.gguf` file, relative to where the user stands, else `org/name@revision` of the Hub. */
export const modelName = (given: string): string => existsSync(place(given)) ? place(given) : given

/** The model of a name; reads its headers, after fetching what the cache lacks. Fails: `ModelError`, naming the file or the id. */
export const model = (given: string): Effect.Effect<Loaded, ModelError> => Effect.gen(function*() {
  const at = modelName(given), { feedForward } = (yield* Hub.open(at)).model
  return feedForward.kind === "dense"
    ? { form: "dense", node: Checkpoint.load({ at }) }
    : { form: "mixture", experts: feedForward.experts, node: Checkpoint.loadMixture({ at }) }
})

/** Models by name. */
export const models = (target: string, folders: ReadonlyArray<string>) => Effect.gen(function*() {
  const found = yield* names(target, folders)
  const nodes = yield* Effect.forEach(folders, model)
  return Object.fromEntries(found.map((name, at): [string, ModelNode] => [name, nodes[at]!.node]))
})

export interface TextFlags { readonly limit: Option.Option<number>; readonly documentBytes: number }
/** Text files by name, each a domain, all of it to be scored: no split, no search for near-duplicates. A file that is not there or has no text fails when the pipeline runs. */
export const texts = (target: string, files: ReadonlyArray<string>, { documentBytes, limit }: TextFlags) => Effect.gen(function*() {
  const found = yield* names(target, files), bare = found.map((name) => name.slice(0, name.length - extname(basename(name)).length))
  const domains = new Set(bare).size === bare.length ? bare : found
  const nodes = files.map((path, at) => Corpus.load({
    at: file(place(path)), domain: domains[at]!, clusters: false, shares: { train: 0, choose: 0, report: 1 }, documentBytes, ...Option.match(limit, { onNone: () => ({}), onSome: (maximumBytes) => ({ maximumBytes }) })
  }))
  return Object.fromEntries(domains.map((domain, at) => [domain, nodes[at]!]))
})
