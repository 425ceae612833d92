/**
 * Stages: the steps of a pipeline, each defined once and called like a function. A call checks its arguments' kinds in the type and
 * returns a node; the types of errors and services flow from `describe` and `run` into the node and on into the pipeline.
 */
import { Effect, Schema, type Scope } from "effect"
import type { Artifact, Header } from "./Artifact.ts"
import type { Cost } from "./Cost.ts"
import type { FileError } from "./File.ts"
import type { HubError } from "./HubError.ts"
import { type AnyInput, type Artifacts, type Definition, describe, type Input, type Node, type Same, type Shape, type Tree } from "./Node.ts"

export { type Call, type Definition, DescriptionError, type Input, type Node, type Same } from "./Node.ts"
export type { Cost } from "./Cost.ts"

declare const carried: unique symbol

const input = <S extends Shape>(shape: S) => <const Name extends string, A>(name: Name, artifact: Artifact<A>): Input<Name, S, A> => ({ name, shape, artifact })
/** A required input: one node. */
export const one = input("one")
/** A required input: an array of nodes. */
export const array = input("array")
/** A required input: nodes by name. */
export const record = input("record")
/** As `output`: the kind of the first input. */
export const same: Same = { _tag: "Same" }
/** `Schema.Int.pipe(Stage.byDefault(8))`: an option that may be left out of the call. */
export const byDefault = <const D>(value: D) => <S extends Schema.Codec<any, any>>(schema: S & (D extends S["Encoded"] ? unknown : never)) =>
  (schema as S).pipe(Schema.withDecodingDefaultKey(Effect.succeed(value as any)))

// ---- what a stage is given
/** What was measured: stands beside the plan. `device` names the device in the provenance. */
export interface Actual extends Cost { readonly device?: string }

/** The stage's own saved state: a folder of files. It outlives a killed process and is gone once the stage has finished. */
export interface Resume {
  /** The folder last saved under this key, or undefined when the stage starts from nothing. Read it before the first `save`, which removes it. */
  readonly last: string | undefined
  /** Keeps what `write` puts into the given empty folder; the state before it goes only when the new one is whole and on the disk. */
  readonly save: <E, R>(write: (directory: string) => Effect.Effect<void, E, R>) => Effect.Effect<void, E, R>
}

/** The third argument of `run`. */
export interface Context {
  readonly key: string
  /** Keys of the inputs by name (`base`, `experts.law`, `models.0`): what a result remembers of where it came from. */
  readonly keys: Readonly<Record<string, string>>
  /** The run's seed; 0 in a stage that is not `seeded`, whose result must not depend on it. */
  readonly seed: number
  /** The folder that will hold the main output's files. A stage may stream large files into it; the output's artifact adds the rest. */
  readonly directory: string
  readonly resume: Resume
  readonly progress: (done: number, total: number, unit: string) => Effect.Effect<void>
  readonly metric: (name: string, value: number) => Effect.Effect<void>
  readonly actual: (measured: Actual) => Effect.Effect<void>
}

type Seen<A, H extends boolean> = H extends true ? Header<A> & { readonly key: string } : A
type Fill<I, H extends boolean> = I extends Input<string, infer S, infer A>
  ? S extends "one" ? Seen<A, H> : S extends "array" ? ReadonlyArray<Seen<A, H>> : Readonly<Record<string, Seen<A, H>>> : never
/** What `run` (H = false) sees: values; and `describe` (H = true): headers with keys. */
export type Inputs<I extends ReadonlyArray<AnyInput>, O extends Artifacts, H extends boolean> =
  & { readonly [X in I[number] as X["name"]]: Fill<X, H> }
  & { readonly [K in keyof O]?: Seen<O[K] extends Artifact<infer A> ? A : never, H> }

// ---- the callable
type Argument<I, E, R> = I extends Input<string, infer S, infer A>
  ? S extends "one" ? Node<A, E, R> : S extends "array" ? ReadonlyArray<Node<A, E, R>> : Readonly<Record<string, Node<A, E, R>>> : never
type Named<O extends Artifacts, E, R> = { readonly [K in keyof O]?: O[K] extends Artifact<infer A> ? Node<A, E, R> : never }
type Options<S extends Schema.Codec<any, any>, O extends Artifacts, E, R> = [keyof O] extends [never] ? S["Encoded"]
  : { readonly [K in keyof (S["Encoded"] & Named<O, E, R>)]: (S["Encoded"] & Named<O, E, R>)[K] }
type Tail<T> = {} extends T ? [options?: T] : [options: T]
/** T, but no place to infer T from: the caller's context must not choose E and R. (`NoInfer` does it too, and shows in every message.) */
type Off<T> = [T] extends [infer U] ? U : never
/** A stage without side outputs returns a plain node: no intersection in its messages. */
type Out<A, X extends Artifacts, E, R> = [keyof X] extends [never] ? Node<A, E, R>
  : Node<A, E, R> & { readonly [K in keyof X]: Node<X[K] extends Artifact<infer B> ? B : never, E, R> }
type Call0<O extends Artifacts, S extends Schema.Codec<any, any>, A, X extends Artifacts, E, R> =
  <EO = never, RO = never>(...tail: Tail<Options<S, O, EO, RO>>) => Out<A, X, E | Off<EO>, R | Off<RO>>
type Call1<I0, O extends Artifacts, S extends Schema.Codec<any, any>, A, X extends Artifacts, E, R> =
  <E0, R0, EO = never, RO = never>(input: Argument<I0, E0, R0>, ...tail: Tail<Options<S, O, EO, RO>>) => Out<A, X, E | Off<E0> | Off<EO>, R | Off<R0> | Off<RO>>
type Call2<I0, I1, O extends Artifacts, S extends Schema.Codec<any, any>, A, X extends Artifacts, E, R> =
  <E0, R0, E1, R1, EO = never, RO = never>(first: Argument<I0, E0, R0>, second: Argument<I1, E1, R1>, ...tail: Tail<Options<S, O, EO, RO>>) =>
    Out<A, X, E | Off<E0> | Off<E1> | Off<EO>, R | Off<R0> | Off<R1> | Off<RO>>
type Call3<I0, I1, I2, O extends Artifacts, S extends Schema.Codec<any, any>, A, X extends Artifacts, E, R> =
  <E0, R0, E1, R1, E2, R2, EO = never, RO = never>(first: Argument<I0, E0, R0>, second: Argument<I1, E1, R1>, third: Argument<I2, E2, R2>, ...tail: Tail<Options<S, O, EO, RO>>) =>
    Out<A, X, E | Off<E0> | Off<E1> | Off<E2> | Off<EO>, R | Off<R0> | Off<R1> | Off<R2> | Off<RO>>
type Same1<V, O extends Artifacts, S extends Schema.Codec<any, any>, X extends Artifacts, E, R> =
  <A extends V, E0, R0, EO = never, RO = never>(input: Node<A, E0, R0>, ...tail: Tail<Options<S, O, EO, RO>>) => Out<A, X, E | Off<E0> | Off<EO>, R | Off<R0> | Off<RO>>
type Same2<V, I1, O extends Artifacts, S extends Schema.Codec<any, any>, X extends Artifacts, E, R> =
  <A extends V, E0, R0, E1, R1, EO = never, RO = never>(first: Node<A, E0, R0>, second: Argument<I1, E1, R1>, ...tail: Tail<Options<S, O, EO, RO>>) =>
    Out<A, X, E | Off<E0> | Off<E1> | Off<EO>, R | Off<R0> | Off<R1> | Off<RO>>
type Same3<V, I1, I2, O extends Artifacts, S extends Schema.Codec<any, any>, X extends Artifacts, E, R> =
  <A extends V, E0, R0, E1, R1, E2, R2, EO = never, RO = never>(first: Node<A, E0, R0>, second: Argument<I1, E1, R1>, third: Argument<I2, E2, R2>, ...tail: Tail<Options<S, O, EO, RO>>) =>
    Out<A, X, E | Off<E0> | Off<E1> | Off<E2> | Off<EO>, R | Off<R0> | Off<R1> | Off<R2> | Off<RO>>
type Callable<I extends ReadonlyArray<AnyInput>, O extends Artifacts, S extends Schema.Codec<any, any>, A, X extends Artifacts, E, R> =
  I extends readonly [] ? Call0<O, S, A, X, E, R>
    : I extends readonly [infer I0] ? Call1<I0, O, S, A, X, E, R>
    : I extends readonly [infer I0, infer I1] ? Call2<I0, I1, O, S, A, X, E, R>
    : I extends readonly [infer I0, infer I1, infer I2] ? Call3<I0, I1, I2, O, S, A, X, E, R> : never
type SameCallable<I extends ReadonlyArray<AnyInput>, O extends Artifacts, S extends Schema.Codec<any, any>, X extends Artifacts, E, R> =
  I extends readonly [Input<string, "one", infer V>] ? Same1<V, O, S, X, E, R>
    : I extends readonly [Input<string, "one", infer V>, infer I1] ? Same2<V, I1, O, S, X, E, R>
    : I extends readonly [Input<string, "one", infer V>, infer I1, infer I2] ? Same3<V, I1, I2, O, S, X, E, R> : never

/** A stage: call it with its inputs and options. */
export type Stage<I extends ReadonlyArray<AnyInput>, O extends Artifacts, S extends Schema.Codec<any, any>, A, X extends Artifacts, E, R> =
  & ([A] extends [Same] ? SameCallable<I, O, S, X, E, R> : Callable<I, O, S, A, X, E, R>)
  & { readonly definition: Definition; readonly [carried]?: { readonly e: E; readonly r: R } }
export interface Any { readonly definition: Definition; readonly [carried]?: { readonly e: unknown; readonly r: unknown } }
export type ErrorOf<T> = T extends { readonly [carried]?: { readonly e: infer E } } ? E : never
export type NeedsOf<T> = T extends { readonly [carried]?: { readonly r: infer R } } ? R : never

// ---- definition
type Yielded = Effect.Effect<any, any, any>
type Fails<Y> = [Y] extends [never] ? never : Y extends Effect.Effect<any, infer E, any> ? E : never
type Wants<Y> = [Y] extends [never] ? never : Y extends Effect.Effect<any, any, infer R> ? R : never
type Made<T, I extends ReadonlyArray<AnyInput>> = T extends Artifact<infer A> ? A : I[0] extends Input<string, "one", infer V> ? V : never
type Returned<A, X extends Artifacts> = [keyof X] extends [never] ? A
  : { readonly main: A } & { readonly [K in keyof X]: X[K] extends Artifact<infer B> ? B : never }
type Described<A, X extends Artifacts> = [keyof X] extends [never] ? { readonly header: Header<A>; readonly cost: Cost }
  : { readonly header: Header<A>; readonly sides?: { readonly [K in keyof X]?: Header<X[K] extends Artifact<infer B> ? B : never> }; readonly cost: Cost }

/**
 * Defines a stage. Raise `version` when `run` gives another result for the same inputs and options.
 *
 * Options: `seeded`: the run's seed belongs to the key. `inputs`: a tuple, positional in the call. `optional`: nodes given by name inside the
 * options record. `options`: a `Schema.Struct` whose encoded side is JSON. `output`: an `Artifact` or `Stage.same`. `sides`: further outputs,
 * members of the node; `run` then returns `{ main, …sides }`. `outside`: what the options name outside, as name → the version that stands there now, which
 * counts in the key (files do so by themselves). `counted`: the options as they count in the key, where that is not as they are written. `describe`: from headers alone, before any work; may refuse.
 * Write both as generator methods (`*run() {}`): `Effect.fn` here would lose the types of their parameters.
 * Fails: with what `describe` and `run` yield. Each run has its own scope.
 */
export const make = <
  const I extends ReadonlyArray<AnyInput>, S extends Schema.Codec<any, any>, T extends Artifact<unknown> | Same,
  Y extends Yielded = never, P extends Yielded = never, const O extends Artifacts = {}, const X extends Artifacts = {}
>(name: string, spec: {
  readonly version: number
  readonly seeded?: boolean
  readonly inputs: I
  readonly optional?: O
  readonly options: S
  readonly output: T
  readonly sides?: X
  readonly counted?: (options: S["Encoded"]) => unknown
  readonly outside?: (options: S["Type"]) => Effect.Effect<Readonly<Record<string, string>>, HubError | FileError>
  readonly describe: (headers: Inputs<I, O, true>, options: S["Type"]) => Generator<P, NoInfer<Described<Made<T, I>, X>>, never>
  readonly run: (inputs: Inputs<I, O, false>, options: S["Type"], context: Context) => Generator<Y, NoInfer<Returned<Made<T, I>, X>>, never>
}): Stage<I, O, S, T extends Artifact<infer A> ? A : Same, X, Fails<Y> | Fails<P>, Exclude<Wants<Y>, Scope.Scope>> => {
  const definition: Definition = {
    name, version: spec.version, seeded: spec.seeded ?? false, inputs: spec.inputs, optional: spec.optional ?? {}, options: spec.options,
    output: spec.output, sides: spec.sides ?? {}, ...spec.outside === undefined ? {} : { outside: spec.outside }, ...spec.counted === undefined ? {} : { counted: spec.counted },
    describe: (headers, options) => Effect.gen(() => spec.describe(headers, options)) as ReturnType<Definition["describe"]>,
    run: (inputs, options, context) => Effect.gen(() => spec.run(inputs, options, context))
  }
  const call = (...given: ReadonlyArray<unknown>) => {
    const options: Record<string, unknown> = { ...given[definition.inputs.length] as object | undefined }
    const inputs: Record<string, Tree> = {}
    definition.inputs.forEach(({ name: slot }, position) => { inputs[slot] = given[position] as Tree })
    for (const optional of Object.keys(definition.optional)) {
      if (options[optional] !== undefined) inputs[optional] = options[optional] as Tree
      delete options[optional]
    }
    return describe(definition, inputs, options)
  }
  return Object.assign(call, { definition }) as never
}
