/**
 * Pipelines as JSON: a list of calls, inputs before users, and the outputs by name. What comes back is the same description.
 */
import { Effect, Schema } from "effect"
import { calls, mapLeaves, type Outputs } from "./Graph.ts"
import { type Any, type Definition, describe, DescriptionError, mapTree, repeated, type Tree } from "./Node.ts"

const Ref = Schema.String.check(Schema.isPattern(/^n\d+(#\w+)?$/))
const RefTree = Schema.Union([Ref, Schema.Array(Ref), Schema.Record(Schema.String, Ref)])
export interface Names { readonly [name: string]: string | Names }
const Names: Schema.Codec<Names> = Schema.Record(Schema.String, Schema.Union([Ref, Schema.suspend((): Schema.Codec<Names> => Names)]))

export const PipelineJson = Schema.Struct({
  name: Schema.String,
  format: Schema.Literal(1),
  nodes: Schema.Array(Schema.Struct({ stage: Schema.String, version: Schema.Int, options: Schema.Json, seed: Schema.optionalKey(Schema.Int), inputs: Schema.Record(Schema.String, RefTree) })),
  outputs: Names
})
export type PipelineJson = typeof PipelineJson.Encoded

export const encode = (name: string, outputs: Outputs): PipelineJson => {
  const all = calls(outputs), label = new Map(all.map((call, index) => [call.id, `n${index}`]))
  const ref = (node: Any): string => label.get(node.call.id)! + (node.port === undefined ? "" : `#${node.port}`)
  return {
    name, format: 1,
    nodes: all.map((call) => ({
      stage: call.stage.name, version: call.stage.version, options: call.options as Schema.Json, ...call.seed === undefined ? {} : { seed: call.seed },
      inputs: Object.fromEntries(Object.entries(call.inputs).flatMap(([input, tree]) => tree === undefined ? [] : [[input, mapTree(tree, ref) as string]]))
    })),
    outputs: mapLeaves(outputs, ref) as Names
  }
}

const build = (definitions: ReadonlyArray<Definition>, json: unknown): { readonly name: string; readonly outputs: Outputs } => {
  let file: typeof PipelineJson.Type
  try { file = Schema.decodeUnknownSync(PipelineJson)(json, { onExcessProperty: "error", errors: "all" }) } catch (error) {
    throw new DescriptionError({ at: "pipeline", problem: (error as Error).message })
  }
  const registry = new Map(definitions.map((definition) => [definition.name, definition]))
  const made: Array<Any> = []
  const find = (ref: string, at: string): Any => {
    const [position, port] = ref.slice(1).split("#") as [string, string?]
    const node = made[Number(position)]
    if (node === undefined) throw new DescriptionError({ at, problem: `"${ref}" is not an earlier node` })
    if (port === undefined) return node
    const { name, sides } = node.call.stage
    if (!Object.hasOwn(sides, port)) throw new DescriptionError({ at, problem: `${name} has no side output "${port}" (it has ${Object.keys(sides).join(", ") || "none"})` })
    return (node as unknown as Readonly<Record<string, Any>>)[port]!
  }
  file.nodes.forEach((node, index) => {
    const at = `nodes[${index}] (${node.stage})`, definition = registry.get(node.stage)
    if (definition === undefined) throw new DescriptionError({ at, problem: `unknown stage; known: ${[...registry.keys()].join(", ")}` })
    if (definition.version !== node.version) throw new DescriptionError({ at, problem: `written for version ${node.version}, this program has ${definition.version}` })
    const known = [...definition.inputs.map((input) => input.name), ...Object.keys(definition.optional)]
    const inputs = Object.fromEntries(Object.entries(node.inputs).map(([name, tree]): [string, Tree] => {
      const place = `${at}.inputs.${name}`
      if (!known.includes(name)) throw new DescriptionError({ at: place, problem: `no such input; it takes ${known.join(", ") || "none"}` })
      if (typeof tree === "string") return [name, find(tree, place)]
      return [name, Array.isArray(tree) ? tree.map((ref: string) => find(ref, place)) : Object.fromEntries(Object.entries(tree as Readonly<Record<string, string>>).map(([part, ref]) => [part, find(ref, `${place}.${part}`)]))]
    }))
    made.push(repeated(node.seed ?? 0, () => describe(definition, inputs, node.options, at)))
  })
  const outputs = (names: Names, at: string): Outputs =>
    Object.fromEntries(Object.entries(names).map(([name, item]) => [name, typeof item === "string" ? find(item, `${at}.${name}`) : outputs(item, `${at}.${name}`)]))
  return { name: file.name, outputs: outputs(file.outputs, "outputs") }
}

/** Reads a description back; the same mistakes as in TypeScript, with their place in the file. */
export const decode = (definitions: ReadonlyArray<Definition>, json: unknown): Effect.Effect<{ readonly name: string; readonly outputs: Outputs }, DescriptionError> => Effect.try({
  try: () => build(definitions, json),
  catch: (error) => { if (error instanceof DescriptionError) return error; throw error }
})
