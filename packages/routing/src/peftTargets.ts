/**
 * Which matrices of a model an adapter's settings mean, as peft matches them: suffixes of module paths, or one regular expression for a whole path;
 * minus what is excluded; only in the layers that are named.
 *
 * Expressions come from files and may take for ever: they run in a context of their own with a time limit.
 */
import { Family, Model } from "@switchyard/core"
import { runInNewContext } from "node:vm"

/** Module path (`model.layers.0.self_attn.q_proj`) of every matrix of the model that a low-rank term may stand on, by canonical name. */
export const modulePaths = (model: Model.Model): ReadonlyMap<string, string> => {
  const own = Family.find(model.family), kind = model.feedForward.kind, family = own?.feedForward === kind ? own : Family.find(kind === "dense" ? "llama" : "mixtral")!
  const paths = new Map<string, string>()
  for (const { name, shape } of Model.tensors(model)) {
    const file = shape.length === 2 && name !== "embedding" ? Family.toFile(family, name) : undefined
    if (file !== undefined && file.endsWith(".weight")) paths.set(name, file.slice(0, -".weight".length))
  }
  return paths
}

/** A parameter of transformers 5 that holds all experts of a layer, with the matrices of each, in order of its rows. */
export interface Fused { readonly path: string; readonly layer: number; readonly matrices: ReadonlyArray<"gate" | "up" | "down"> }
/** Such parameters of a mixture with full experts, in the order in which a layer has them. */
export const fusedParameters = (model: Model.Model): ReadonlyArray<Fused> => {
  const family = Family.find(model.family), form = model.feedForward
  if (family === undefined || form.kind === "dense" || form.expert.kind !== "full") return []
  return Array.from({ length: model.layers }, (_, layer) => {
    const found = new Map<string, Array<"gate" | "up" | "down">>()
    for (const matrix of ["gate", "up", "down"] as const) {
      const at = Family.alternative(family, `layers.${layer}.experts.0.${matrix}`)
      if (at !== undefined) found.set(at.file, [...found.get(at.file) ?? [], matrix])
    }
    return [...found].map(([path, matrices]) => ({ path, layer, matrices }))
  }).flat()
}

/** What settings say about targets, with peft's keys. */
export interface Said {
  readonly target_modules: ReadonlyArray<string> | string | null
  readonly exclude_modules: ReadonlyArray<string> | string | null
  readonly layers_to_transform: ReadonlyArray<number> | number | null
  readonly layers_pattern: ReadonlyArray<string> | string | null
}

/** Milliseconds for all names of one setting. */
const patience = 1000
/** For each expression, whether each name has it. Fails: throws an Error whose message says which expression is none, or takes too long. */
export const test = (expressions: ReadonlyArray<string>, names: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<boolean>> => expressions.map((expression) => {
  const shown = JSON.stringify(expression.slice(0, 80))
  try {
    return JSON.parse(runInNewContext("JSON.stringify(names.map((name) => new RegExp(expression).test(name)))", { expression, names }, { timeout: patience }) as string) as ReadonlyArray<boolean>
  } catch (error) {
    throw new Error((error as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT" ? `the expression ${shown} takes longer than ${patience} ms` : `the expression ${shown} is none: ${(error as Error).message.slice(0, 120)}`, { cause: error })
  }
})

const isSuffix = (suffix: string, path: string): boolean => path === suffix || path.endsWith(`.${suffix}`)
const matches = (said: ReadonlyArray<string> | string, paths: ReadonlyArray<string>): ReadonlyArray<boolean> =>
  typeof said === "string" ? test([`^(?:${said})$`], paths)[0]! : paths.map((path) => said.some((suffix) => isSuffix(suffix, path)))

/** Whether `target_modules` is peft's word for every linear layer but the head. */
export const isAllLinear = (said: Said["target_modules"]): boolean => typeof said === "string" && said.toLowerCase() === "all-linear"

/** Which of these paths are targets. Fails: as `test`. */
export const targets = (said: Said, paths: ReadonlyArray<string>): ReadonlyArray<boolean> => {
  const none = paths.map(() => false), { exclude_modules: without, layers_pattern: where, layers_to_transform: layers, target_modules: modules } = said
  const wanted = modules === null ? none : isAllLinear(modules) ? paths.map((path) => !isSuffix("lm_head", path)) : matches(modules, paths)
  const excluded = without === null ? none : matches(without, paths)
  const chosen = layers === null || typeof modules === "string" ? undefined : typeof layers === "number" ? [layers] : layers
  if (chosen === undefined || chosen.length === 0) return paths.map((_, i) => wanted[i]! && !excluded[i]!)
  // the first number of the path after a name, or after one of the patterns
  const patterns = where === null ? [] : typeof where === "string" ? [where] : where
  const inLayer = chosen.map((layer) => patterns.length === 0 ? paths.map((path) => /^.*?\.[^.]*\.(\d+)\./.exec(path)?.[1] === String(layer))
    : test(patterns.map((pattern) => `^(?:.*?\\.)?${pattern}\\.${layer}\\.`), paths).reduce((any, one) => any.map((value, i) => value || one[i]!)))
  return paths.map((_, i) => wanted[i]! && !excluded[i]! && inLayer.some((one) => one[i]!))
}

/** The value of the first pattern that a path ends with, as peft reads `rank_pattern` and `alpha_pattern`; undefined where none does. Fails: as `test`. */
export const byPattern = (patterns: Readonly<Record<string, number>>, paths: ReadonlyArray<string>): ReadonlyArray<number | undefined> => {
  const keys = Object.keys(patterns), found = test(keys.map((key) => `^(?:.*\\.)?(?:${key})$`), paths)
  return paths.map((_, i) => { const at = found.findIndex((one) => one[i]!); return at < 0 ? undefined : patterns[keys[at]!] })
}
