/**
 * Nodes: what a stage call returns. A node describes a result; nothing has run. Nodes make a graph, and equal descriptions equal nodes.
 */
import { Effect, Schema } from "effect"
import type { Artifact } from "./Artifact.ts"
import type { Cost } from "./Cost.ts"
import type { FileError } from "./File.ts"
import type { HubError } from "./HubError.ts"
import * as Key from "./Key.ts"
import { nearest } from "./Weights.ts"

declare const output: unique symbol

/** A described result: `A` the value, `E` how making it may fail, `R` what making it needs. */
export interface Node<out A, out E = never, out R = never> {
  readonly _tag: "Node"
  readonly call: Call
  /** undefined for the main output, else the name of a side output */
  readonly port: string | undefined
  readonly artifact: Artifact<unknown>
  /** Hash of the description. Files count by path here, and by content in the key of a run. */
  readonly id: string
  /** Carries the types, never a value. */
  readonly [output]: { readonly a: A; readonly e: E; readonly r: R }
}
export type Any = Node<unknown, unknown, unknown>

/** One call of a stage. */
export interface Call {
  readonly id: string
  readonly stage: Definition
  readonly options: unknown
  readonly inputs: Readonly<Record<string, Tree>>
  /** Of a seeded stage that is described several times: added to the run's seed. */
  readonly seed?: number
}
/** What stands at one input: a node, several, several by name, or (optional inputs) none. */
export type Tree = Any | undefined | ReadonlyArray<Any> | Readonly<Record<string, Any>>

export const isNode = (value: unknown): value is Any => typeof value === "object" && value !== null && (value as { _tag?: unknown })._tag === "Node"
export const nodesOf = (tree: Tree): ReadonlyArray<Any> => tree === undefined ? [] : isNode(tree) ? [tree] : Object.values(tree as Readonly<Record<string, Any>>)
export const mapTree = <B>(tree: Tree, f: (node: Any) => B): B | undefined | ReadonlyArray<B> | Readonly<Record<string, B>> =>
  tree === undefined ? undefined : isNode(tree) ? f(tree) : Array.isArray(tree) ? tree.map((node) => f(node))
    : Object.fromEntries(Object.entries(tree).map(([name, node]) => [name, f(node as Any)]))

export type Shape = "one" | "array" | "record"
export interface Input<out Name extends string, out S extends Shape, out A> { readonly name: Name; readonly shape: S; readonly artifact: Artifact<A> }
export type AnyInput = Input<string, Shape, unknown>
export type Artifacts = Readonly<Record<string, Artifact<unknown>>>

/** As an output: of the kind of the first input. Training a dense model gives a dense model, training a mixture a mixture. */
export interface Same { readonly _tag: "Same" }

/** A stage without its types: what the plan and the run work on. */
export interface Definition {
  readonly name: string
  readonly version: number
  readonly seeded: boolean
  readonly inputs: ReadonlyArray<AnyInput>
  readonly optional: Artifacts
  readonly options: Schema.Codec<any, any>
  readonly output: Artifact<unknown> | Same
  readonly sides: Artifacts
  /** The options as they count in the key of a run, where that is not as they are written: a path given as text becomes a file. */
  readonly counted?: (options: any) => unknown
  /** What the options name outside: name → the version that stands there now. It counts in the key. */
  readonly outside?: (options: any) => Effect.Effect<Readonly<Record<string, string>>, HubError | FileError>
  readonly describe: (headers: any, options: any) => Effect.Effect<{ readonly header: unknown; readonly sides?: Readonly<Record<string, unknown>>; readonly cost: Cost }, unknown>
  readonly run: (inputs: any, options: any, context: any) => Effect.Effect<any, unknown, any>
}

/** A mistake in a description: thrown while describing, a typed failure when the description came from JSON. */
export class DescriptionError extends Schema.TaggedError<DescriptionError>()("DescriptionError", { at: Schema.String, problem: Schema.String }) {
  override get message(): string { return `${this.at}: ${this.problem}` }
}

/** The artifact of a call's main output. */
export const mainArtifact = (call: Pick<Call, "stage" | "inputs">): Artifact<unknown> =>
  call.stage.output._tag === "Same" ? (call.inputs[call.stage.inputs[0]!.name] as Any).artifact : call.stage.output

const check = (stage: Definition, inputs: Readonly<Record<string, Tree>>, at: string): void => {
  const optional = Object.entries(stage.optional).map(([name, artifact]): AnyInput => ({ name, shape: "one", artifact }))
  for (const input of [...stage.inputs, ...optional]) {
    const tree = inputs[input.name], place = `${at}.inputs.${input.name}`
    if (tree === undefined) {
      if (Object.hasOwn(stage.optional, input.name)) continue
      throw new DescriptionError({ at: place, problem: `missing: give ${input.shape === "one" ? "a node" : `${input.shape} of nodes`} of ${input.artifact.kinds.join(" or ")}` })
    }
    const shape = isNode(tree) ? "one" : Array.isArray(tree) ? "array" : typeof tree === "object" && tree !== null ? "record" : typeof tree
    if (shape !== input.shape) throw new DescriptionError({ at: place, problem: `expected ${input.shape}, got ${shape}` })
    for (const node of nodesOf(tree)) {
      if (!isNode(node)) throw new DescriptionError({ at: place, problem: `expected nodes, got ${node === null ? "null" : typeof node}` })
      const kind = node.artifact.kinds[0]!
      if (!input.artifact.kinds.includes(kind)) throw new DescriptionError({ at: place, problem: `expected ${input.artifact.kinds.join(" or ")}, got ${kind} (from ${node.call.stage.name})` })
    }
  }
}

/** An option that the stage does not have, by its name and the nearest one. */
const checkOptions = (stage: Definition, given: unknown, at: string): void => {
  const { fields } = stage.options as { readonly fields?: object }
  if (fields === undefined || typeof given !== "object" || given === null) return
  const known = [...Object.keys(fields), ...Object.keys(stage.optional)], wrong = Object.keys(given).find((name) => !Object.hasOwn(fields, name))
  if (wrong !== undefined) throw new DescriptionError({ at: `${at}.options`, problem: `there is no option ${wrong}; ${known.length === 0 ? "the stage takes none" : `the nearest is ${nearest(wrong, known)} (it takes ${known.join(", ")})`}` })
}

let repetition = 0
/** What `build` describes, its seeded stages under the run's seed plus `seed`; within another repetition the two add up. */
export const repeated = <A>(seed: number, build: () => A): A => {
  if (!Number.isSafeInteger(seed)) throw new DescriptionError({ at: "repeat", problem: `a seed is a whole number, got ${seed}` })
  const before = repetition
  repetition += seed
  try { return build() } finally { repetition = before }
}

/** The node of a call, its side outputs as members; throws a `DescriptionError` where inputs or options are wrong. */
export const describe = (stage: Definition, inputs: Readonly<Record<string, Tree>>, given: unknown, at = stage.name): Any => {
  check(stage, inputs, at)
  checkOptions(stage, given, at)
  let options: unknown
  try {
    // decoding fills in defaults and encoding makes JSON of them: a default spelled out is the same key
    options = Schema.encodeSync(stage.options)(Schema.decodeUnknownSync(stage.options)(given ?? {}, { onExcessProperty: "error", errors: "all" }))
    Key.canonical(options)
  } catch (error) { throw new DescriptionError({ at: `${at}.options`, problem: (error as Error).message }) }
  const ids = Object.fromEntries(Object.entries(inputs).map(([name, tree]) => [name, mapTree(tree, (node) => node.id)]))
  const own = stage.seeded && repetition !== 0 ? { seed: repetition } : {}
  const id = Key.of({ stage: stage.name, version: stage.version, options, inputs: ids, ...own })
  const call: Call = { id, stage, options, inputs, ...own }
  const node = (port: string | undefined, artifact: Artifact<unknown>): Any => ({ _tag: "Node", call, port, artifact, id: port === undefined ? id : Key.of([id, port]) }) as Any
  return Object.assign(node(undefined, mainArtifact(call)), Object.fromEntries(Object.entries(stage.sides).map(([port, artifact]) => [port, node(port, artifact)])))
}
