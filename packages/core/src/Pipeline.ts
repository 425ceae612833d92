/**
 * Pipelines: a name and outputs, which are nodes. `make` describes, `plan` foretells, `run` computes what is missing, `verify` proves
 * that what is kept is what was made; `toJson` and `fromJson` write a description down and read it back.
 */
import { Effect } from "effect"
import { type Outputs, mermaid } from "./Graph.ts"
import * as Lock from "./Lock.ts"
import { type Node, repeated } from "./Node.ts"
import * as Plan from "./Plan.ts"
import * as Json from "./PipelineJson.ts"
import * as Run from "./Run.ts"
import type { FileError } from "./File.ts"
import type { HubError } from "./HubError.ts"
import type * as Stage from "./Stage.ts"
import type { Store, StoreError } from "./Store.ts"
import * as Verify from "./Verify.ts"

export type { Outputs } from "./Graph.ts"
export { main } from "./main.ts"
export { CannotFit, Limits, type Planned, Seed } from "./Plan.ts"

/** What a run of these outputs gives. */
export type Values<O> = O extends Node<infer A, any, any> ? A : { readonly [K in keyof O]: Values<O[K]> }
// a type that contains itself (Outputs, what fromJson gives) stops at itself, or the compiler would not
export type Failures<O> = O extends Node<any, infer E, any> ? E : O[keyof O] extends infer C ? C extends unknown ? [O] extends [C] ? never : Failures<C> : never : never
export type Needs<O> = O extends Node<any, any, infer R> ? R : O[keyof O] extends infer C ? C extends unknown ? [O] extends [C] ? never : Needs<C> : never : never

export interface Pipeline<out O extends Outputs> { readonly name: string; readonly outputs: O }

/** Describes a pipeline. `build` runs at once; it is a function so that its names stay its own. Throws a `DescriptionError` that says where. */
export const make = <O extends Outputs>(name: string, build: () => O): Pipeline<O> => ({ name, outputs: build() })

/** The same steps for each of several things by name. */
export const each = <K extends string, V, B>(record: Readonly<Record<K, V>>, f: (value: V, key: K) => B): Readonly<Record<K, B>> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value as V, key as K)])) as Readonly<Record<K, B>>

/**
 * The same steps under several seeds, by the seed's name: stages that a seed matters to run once for each (under the run's seed plus that one), the
 * others once for all. Throws a `DescriptionError` for a seed that is no whole number.
 */
export const repeat = <B>(seeds: ReadonlyArray<number>, build: (seed: number) => B): Readonly<Record<string, B>> =>
  Object.fromEntries(seeds.map((seed) => [String(seed), repeated(seed, () => build(seed))]))

/**
 * What a run would do: a row per stage, in order. Runs nothing, reads headers only.
 *
 * Fails: `CannotFit`; `FileError` for a described file that is not there; `StoreError`; what the stages' `describe` refuses.
 */
export const plan: <O extends Outputs>(self: Pipeline<O>, options?: Plan.Options) => Effect.Effect<ReadonlyArray<Plan.Planned>, Plan.Problem | Failures<O>, Store> =
  ((self: Pipeline<Outputs>, options: Plan.Options = {}) => Effect.map(Plan.walk(self.outputs, options), (steps) =>
    [...steps.values()].map(({ call: _call, record: _record, files: _files, ...row }): Plan.Planned => row))) as never

/**
 * Computes what is missing, one stage at a time, keeps each result, and reads back the outputs. A killed run goes on where it was.
 *
 * Options: `fresh` computes everything again; `everything` also what is missing behind a kept result; `concurrency`; `keepGoing`.
 * Fails: as `plan`; `StoreLocked` while another process runs on the store; with what the stages fail with.
 */
export const run: <O extends Outputs>(self: Pipeline<O>, options?: Run.Options) => Effect.Effect<Values<O>, Plan.Problem | Lock.StoreLocked | Failures<O>, Store | Needs<O>> =
  ((self: Pipeline<Outputs>, options: Run.Options = {}) => Run.run(self.name, self.outputs, options)) as never

/** The pipeline's graph as Mermaid text. */
export const graph = (self: Pipeline<Outputs>): string => mermaid(self.outputs)

/** Hashes every kept result of the pipeline again and compares it with its provenance: one row per stage. */
export const verify = (self: Pipeline<Outputs>): Effect.Effect<ReadonlyArray<Verify.Verified>, FileError | HubError | StoreError, Store> => Verify.verify(self.outputs)

/** The description as JSON; `fromJson` reads it back. */
export const toJson = (self: Pipeline<Outputs>): Json.PipelineJson => Json.encode(self.name, self.outputs)

/** What `fromJson` gives: outputs by name, of the errors and needs of the stages it was allowed to use. */
export type Untyped<S extends Stage.Any> = { readonly [name: string]: Node<unknown, Stage.ErrorOf<S>, Stage.NeedsOf<S>> | Untyped<S> }

/** Reads a description that uses the given stages. Fails: `DescriptionError`, which says where: `nodes[3] (upcycle/fromAdapters).inputs.base`. */
export const fromJson: <const S extends ReadonlyArray<Stage.Any>>(stages: S, json: unknown) => Effect.Effect<Pipeline<Untyped<S[number]>>, Stage.DescriptionError> =
  ((stages: ReadonlyArray<Stage.Any>, json: unknown) => Json.decode(stages.map((stage) => stage.definition), json)) as never
