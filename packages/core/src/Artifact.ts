/**
 * Artifacts: how a kind of value is named, kept as files in a folder, and read back, lazily where it is large.
 */
import { Effect, Schema } from "effect"
import { join } from "node:path"
import { read, writeJson } from "./File.ts"

/** `A` stands only where it comes out, so that a union of kinds accepts each of them. Make one with `make` or `json`. */
export interface Artifact<out A> {
  readonly _tag: "Artifact"
  /** One name for what a stage gives; several for what an input accepts. */
  readonly kinds: ReadonlyArray<string>
  readonly save: (value: never, directory: string) => Effect.Effect<void, unknown>
  readonly load: (directory: string) => Effect.Effect<A, unknown>
  readonly header: (value: never) => unknown
}
export type Value<T> = T extends Artifact<infer A> ? A : never
/** What a plan knows of a value before it exists: its `header`. */
export type Header<A> = A extends { readonly header: infer H } ? H : {}

/** A kind of value with its own files. `save` writes into an existing folder; `load` should read no more than it must; `header` is small JSON. */
export const make = <A>(kind: string, spec: {
  readonly save: (value: A, directory: string) => Effect.Effect<void, unknown>
  readonly load: (directory: string) => Effect.Effect<A, unknown>
  readonly header?: (value: A) => unknown
}): Artifact<A> => ({
  _tag: "Artifact", kinds: [kind], save: spec.save as Artifact<A>["save"], load: spec.load,
  header: (spec.header ?? ((value: A) => (value as { readonly header?: unknown }).header ?? {})) as Artifact<A>["header"]
})

/** A small value kept as `value.json`, checked by its Schema when written and when read. */
export const json = <A, I>(kind: string, schema: Schema.Codec<A, I>, header?: (value: A) => unknown): Artifact<A> => make<A>(kind, {
  save: (value, directory) => Effect.flatMap(Schema.encodeEffect(schema)(value), (encoded) => writeJson(join(directory, "value.json"), encoded)),
  load: (directory) => Effect.flatMap(read(join(directory, "value.json")), Schema.decodeUnknownEffect(Schema.fromJsonString(schema))),
  ...header === undefined ? {} : { header }
})

/** Accepts any of several kinds; an input, never an output. */
export const anyOf = <const T extends ReadonlyArray<Artifact<unknown>>>(...artifacts: T): Artifact<Value<T[number]>> => {
  const refuse = () => { throw new Error("Artifact.anyOf is an input, never an output: a stage's output has one kind") }
  return { _tag: "Artifact", kinds: artifacts.flatMap((artifact) => artifact.kinds), save: refuse, load: refuse, header: refuse }
}
