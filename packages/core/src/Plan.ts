/**
 * Plans: what a run would do, from headers alone. Gives every call its key (files by content), asks the store what it has, describes
 * what is missing, and refuses what cannot fit.
 */
import { Context, Effect, Schema } from "effect"
import { totalmem } from "node:os"
import { join } from "node:path"
import type { Cost } from "./Cost.ts"
import * as Digest from "./Digest.ts"
import { FileError } from "./File.ts"
import type { HubError } from "./HubError.ts"
import { before, calls, leaves, named, type Outputs } from "./Graph.ts"
import * as Key from "./Key.ts"
import { type Any, type Call, DescriptionError, mapTree } from "./Node.ts"
import type { Provenance } from "./Provenance.ts"
import { kept, Store, type StoreError } from "./Store.ts"

export { compare } from "./Cost.ts"
export { table } from "./planTable.ts"

/** The seed of a run; it stands in the keys of seeded stages. */
export const Seed = Context.Reference<number>("@switchyard/core/Seed", { defaultValue: () => 0 })

/** What the machine has, in bytes. A layer that opens a device gives the device's numbers. */
export interface Limits { readonly hostBytes: number; readonly deviceBytes: number; readonly largestBuffer: number }
export const Limits = Context.Reference<Limits>("@switchyard/core/Limits", {
  defaultValue: () => {
    const constrained = process.constrainedMemory?.() ?? 0
    return { hostBytes: constrained > 0 ? Math.min(constrained, totalmem()) : totalmem(), deviceBytes: Infinity, largestBuffer: Infinity }
  }
})

/** A stage needs more than the machine has. */
export class CannotFit extends Schema.TaggedError<CannotFit>()("CannotFit", { stage: Schema.String, what: Schema.String, needed: Schema.Finite, available: Schema.Finite }) {
  override get message(): string {
    const what = { hostBytes: "memory", deviceBytes: "device memory", largestBuffer: "one buffer" }[this.what] ?? this.what
    return `${this.stage} needs ${this.needed.toLocaleString("en")} bytes of ${what}, there are ${this.available.toLocaleString("en")}; make its batch, sequence or model smaller, or choose another device`
  }
}

export interface Planned {
  readonly stage: string
  readonly key: string
  /** What the run would do: read it back, compute it, or neither, since what needed it is kept. */
  readonly status: "kept" | "to do" | "not needed"
  readonly cached: boolean
  /** Names of the inputs, with the keys of what stands there. */
  readonly inputs: Readonly<Record<string, string>>
  readonly header: unknown
  readonly cost: Cost
  /** What was measured when the kept result was made. */
  readonly actual: Cost | undefined
  readonly seconds: number | undefined
}
export interface Options {
  /** Forget what is kept: plan everything anew. */
  readonly fresh?: boolean
  /** Make again also what is missing behind a kept result. Without it a plan does not look behind one. */
  readonly everything?: boolean
}
export type Problem = FileError | CannotFit | StoreError

/** A call with all that the run has to know of it. */
export interface Step extends Planned {
  readonly call: Call
  readonly record: Provenance | undefined
  readonly files: Readonly<Record<string, string>>
}

/** The key of what a node stands for: its call's, and for a side output `key#port`. */
export const keyOf = (steps: ReadonlyMap<string, { readonly key: string }>, node: Any): string =>
  `${steps.get(node.call.id)!.key}${node.port === undefined ? "" : `#${node.port}`}`

const byContent = (value: unknown, cache: Digest.Cache, stage: string, found: Record<string, string>): Effect.Effect<unknown, FileError> => Effect.gen(function*() {
  if (Array.isArray(value)) return yield* Effect.forEach(value, (item) => byContent(item, cache, stage, found))
  if (typeof value !== "object" || value === null) return value
  const { _tag, path } = value as { readonly _tag?: unknown; readonly path?: unknown }
  if (_tag === "File" && typeof path === "string") {
    const sha256 = yield* Effect.mapError(cache.of(path), (error) => new FileError({ ...error, problem: `${error.problem} (an input of ${stage})` }))
    found[path] = sha256
    return { _tag, sha256 }
  }
  const copy: Record<string, unknown> = {}
  for (const [name, item] of Object.entries(value)) copy[name] = yield* byContent(item, cache, stage, found)
  return copy
})

/** The options as they count in the key. */
const countedOf = ({ options, stage }: Call): unknown => stage.counted === undefined ? options : stage.counted(options)

const refuse = (stage: string, cost: Cost, limits: Limits): Effect.Effect<void, CannotFit> => {
  for (const what of ["hostBytes", "deviceBytes", "largestBuffer"] as const) {
    const needed = cost[what]
    if (needed !== undefined && needed > limits[what]) return Effect.fail(new CannotFit({ stage, what, needed, available: limits[what] }))
  }
  return Effect.void
}

export interface Keyed { readonly key: string; readonly files: Readonly<Record<string, string>> }

/** The key of every call, by call id, and the hashes of the outside files that stand in it. */
export const keys = (all: ReadonlyArray<Call>): Effect.Effect<ReadonlyMap<string, Keyed>, FileError | HubError, Store> => Effect.gen(function*() {
  const { root } = yield* Store
  const seed = yield* Seed
  const cache = yield* Digest.cache(join(root, "hashes.json"))
  const keyed = new Map<string, Keyed>()
  for (const call of all) {
    const { name, version, seeded } = call.stage, files: Record<string, string> = {}, own = seeded ? seed + (call.seed ?? 0) : null
    if (own !== null && !(Number.isSafeInteger(own) && own >= 0)) return yield* Effect.die(new DescriptionError({ at: name, problem: `its seed would be ${own}: the run's (--seed) plus a repetition's is a whole number from 0 to 2^53 - 1` }))
    const inputs = Object.fromEntries(Object.entries(call.inputs).map(([input, tree]) => [input, mapTree(tree, (node) => keyOf(keyed, node))]))
    const options = yield* byContent(countedOf(call), cache, name, files)
    const outside = call.stage.outside === undefined ? {} : { outside: yield* call.stage.outside(Schema.decodeUnknownSync(call.stage.options)(call.options)) }
    keyed.set(call.id, { key: Key.of({ stage: name, version, seed: own, options, inputs, ...outside }), files: { ...files, ...outside.outside } })
  }
  yield* Effect.ignore(cache.save) // a store that cannot be written can still be planned with
  return keyed
})

/** Fails: `FileError` where an outside file is not what the step's key counts: then it changed while the pipeline ran, and nobody knows which of the two a result is of. */
export const unchanged = ({ call, files }: Step): Effect.Effect<void, FileError, Store> => Object.keys(files).length === 0 ? Effect.void : Effect.gen(function*() {
  const { root } = yield* Store, found: Record<string, string> = {}
  yield* byContent(countedOf(call), yield* Digest.cache(join(root, "hashes.json")), call.stage.name, found)
  const path = Object.keys(found).find((path) => found[path] !== files[path])
  if (path !== undefined) return yield* new FileError({ path, doing: "read", code: "changed", problem: `it changed while the pipeline ran (an input of ${call.stage.name})` })
})

/** The steps of a pipeline by call id, inputs before users. */
export const walk = (outputs: Outputs, options: Options): Effect.Effect<ReadonlyMap<string, Step>, unknown, Store> => Effect.gen(function*() {
  const limits = yield* Limits
  const all = calls(outputs), keyed = yield* keys(all)
  const records = new Map<string, Provenance | undefined>()
  for (const call of all) records.set(call.id, options.fresh === true ? undefined : yield* kept(keyed.get(call.id)!.key))

  const needed = new Set<string>()
  const need = (call: Call): void => {
    if (needed.has(call.id)) return
    needed.add(call.id)
    if (records.get(call.id) === undefined) for (const input of before(call)) need(input)
  }
  for (const call of options.everything === true ? all : leaves(outputs).map((node) => node.call)) need(call)

  const found = new Map<string, Step>(), headers = new Map<string, { readonly main: unknown; readonly sides: Readonly<Record<string, unknown>> }>()
  for (const call of all) {
    const { key, files } = keyed.get(call.id)!, record = records.get(call.id)
    const about = (node: Any) => {
      const known = headers.get(node.call.id)!
      return { ...(node.port === undefined ? known.main : known.sides[node.port]) as object | undefined, key: keyOf(keyed, node) }
    }
    const described = record === undefined
      ? yield* call.stage.describe(Object.fromEntries(Object.entries(call.inputs).map(([input, tree]) => [input, mapTree(tree, about)])), Schema.decodeUnknownSync(call.stage.options)(call.options))
      : { header: record.outputs["main"]?.header, sides: Object.fromEntries(Object.entries(record.outputs).map(([port, output]) => [port, output.header])), cost: record.planned }
    headers.set(call.id, { main: described.header, sides: described.sides ?? {} })
    const status = record !== undefined ? "kept" : needed.has(call.id) ? "to do" : "not needed"
    if (status === "to do") yield* refuse(call.stage.name, described.cost, limits)
    found.set(call.id, {
      stage: call.stage.name, key, status, cached: record !== undefined, header: described.header, cost: described.cost,
      inputs: Object.fromEntries(Object.entries(call.inputs).flatMap(([input, tree]) => named(input, tree).map(([name, node]) => [name, keyOf(keyed, node)]))),
      actual: record?.actual, seconds: record?.seconds, call, record, files
    })
  }
  return found
})
