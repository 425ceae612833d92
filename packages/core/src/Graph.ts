/**
 * The graph that a pipeline's outputs hang on: its calls in order, and its picture as Mermaid text.
 */
import { type Any, type Call, isNode, nodesOf, type Tree } from "./Node.ts"

/** What a pipeline gives: nodes by name, nested as one likes. */
export interface Outputs { readonly [name: string]: Any | Outputs }

export const leaves = (outputs: Outputs): ReadonlyArray<Any> => Object.values(outputs).flatMap((item) => isNode(item) ? [item] : leaves(item))
export const mapLeaves = (outputs: Outputs, f: (node: Any) => unknown): Readonly<Record<string, unknown>> =>
  Object.fromEntries(Object.entries(outputs).map(([name, item]) => [name, isNode(item) ? f(item) : mapLeaves(item, f)]))

/** The calls whose results a call takes. */
export const before = (call: Call): ReadonlyArray<Call> => Object.values(call.inputs).flatMap((tree) => nodesOf(tree).map((node) => node.call))

/** Every call once, inputs before their users. */
export const calls = (outputs: Outputs): ReadonlyArray<Call> => {
  const seen = new Map<string, Call>()
  const visit = (call: Call): void => {
    if (seen.has(call.id)) return
    for (const input of before(call)) visit(input)
    seen.set(call.id, call)
  }
  for (const node of leaves(outputs)) visit(node.call)
  return [...seen.values()]
}

/** The nodes of an input tree with their full names: `base`, `experts.law`, `models.0`. */
export const named = (name: string, tree: Tree): ReadonlyArray<readonly [string, Any]> =>
  tree === undefined ? [] : isNode(tree) ? [[name, tree]] : Object.entries(tree as Readonly<Record<string, Any>>).map(([part, node]) => [`${name}.${part}`, node])

/** Mermaid text: a box per stage, an arrow per input, a rounded box per output. */
export const mermaid = (outputs: Outputs): string => {
  const all = calls(outputs), label = new Map(all.map((call, index) => [call.id, `n${index}`]))
  const lines = all.flatMap((call) => [
    `  ${label.get(call.id)}["${call.stage.name}"]`,
    ...Object.entries(call.inputs).flatMap(([name, tree]) => named(name, tree).map(([full, node]) =>
      `  ${label.get(node.call.id)} -->|"${full}${node.port === undefined ? "" : ` (${node.port})`}"| ${label.get(call.id)}`))
  ])
  let count = 0
  const ends = (tree: Outputs, path: string): ReadonlyArray<string> => Object.entries(tree).flatMap(([name, item]) => {
    if (!isNode(item)) return ends(item, `${path}${name}.`)
    const end = `o${count++}`
    return [`  ${end}(["${path}${name}"])`, `  ${label.get(item.call.id)} -->${item.port === undefined ? "" : `|"${item.port}"|`} ${end}`]
  })
  return ["flowchart TD", ...lines, ...ends(outputs, "")].join("\n")
}
