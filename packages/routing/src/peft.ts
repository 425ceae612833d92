/**
 * Adapters as peft keeps them: one folder with `adapter_config.json`, `adapter_model.safetensors` and a README, that
 * `PeftModel.from_pretrained(base, folder)` opens.
 *
 * What peft has no word for (the key of the base, the domains, the base's description) stands beside it in `switchyard.json`. Experts have names of their own
 * each, as transformers 4 has them; peft makes transformers 5's fused parameters of them. Reading is in `readPeft.ts`.
 */
import { File, Model, Safetensors, type Weights } from "@switchyard/core"
import { Effect, Schema } from "effect"
import { join } from "node:path"
import { modulePaths } from "./peftTargets.ts"

/** The version of peft whose files these are: written by it, read by it. */
export const version = "0.21.0"
export const configFile = "adapter_config.json", weightsFile = "adapter_model.safetensors", ownFile = "switchyard.json"

/** An adapter that cannot be read or does not fit: the file or adapter, the key or setting, what is wrong, what to do. */
export class AdapterError extends Schema.TaggedError<AdapterError>()("AdapterError", {
  at: Schema.String, key: Schema.String, problem: Schema.String, remedy: Schema.String
}) {
  override get message() { return `${this.at}: ${this.key}: ${this.problem}. Remedy: ${this.remedy}.` }
}

/** One low-rank change: its rank, and what multiplies b·a. */
export interface Low { readonly rank: number; readonly scale: number }
export type Matrices = ReadonlyMap<string, Low>

/** The matrices of a dense model's feed-forwards, all alike: what an adapter changes unless it says otherwise. */
export const uniform = (model: Model.Model, { rank, scale }: Low): Matrices =>
  new Map(Array.from({ length: model.layers }, (_, layer) => (["gate", "up", "down"] as const).map((matrix) => [`layers.${layer}.feedForward.${matrix}`, { rank, scale }] as const)).flat())

/** `layers.0.feedForward.gate.a` ↔ `base_model.model.model.layers.0.mlp.gate_proj.lora_A.weight`. */
export const foreign = (path: string, half: "a" | "b"): string => `base_model.model.${path}.lora_${half.toUpperCase()}.weight`

/** Every tensor of these changes: our name, peft's name and shape. Shapes: a [rank, in], b [out, rank]. Fails: dies on a matrix that the model's family has no name for. */
export const tensors = (model: Model.Model, matrices: Matrices): ReadonlyArray<{ readonly name: string; readonly file: string; readonly shape: ReadonlyArray<number> }> => {
  const shapes = new Map(Model.tensors(model).map(({ name, shape }) => [name, shape])), paths = modulePaths(model)
  return [...matrices].flatMap(([name, { rank }]) => {
    const shape = shapes.get(name), path = paths.get(name)
    if (shape === undefined || path === undefined) throw new Error(`an adapter cannot stand on ${name}: it is not a matrix of this model that its family has a name for`)
    return (["a", "b"] as const).map((half) => ({ name: `${name}.${half}`, file: foreign(path, half), shape: half === "a" ? [rank, shape[1]!] : [shape[0]!, rank] }))
  })
}

/** What we say beside peft's own settings. */
export const Own = Schema.Struct({ base: Schema.String, domains: Schema.Array(Schema.String), model: Model.Model })

/** The commonest of some values. */
const commonest = (values: ReadonlyArray<number>): number => {
  const counts = new Map<number, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return [...counts].reduce((best, one) => one[1] > best[1] ? one : best)[0]
}

/** peft's settings of these changes: the commonest rank and alpha, and patterns for the others; suffixes where they name exactly the targets, else whole paths. */
const config = (model: Model.Model, matrices: Matrices, baseName: string | null) => {
  const paths = modulePaths(model), own = [...matrices].map(([name, low]) => ({ path: paths.get(name)!, ...low, alpha: low.scale * low.rank }))
  const rank = commonest(own.map((one) => one.rank)), alpha = commonest(own.map((one) => one.alpha))
  const suffixes = [...new Set(own.map(({ path }) => path.split(".").at(-1)!))], meant = [...paths.values()].filter((path) => suffixes.includes(path.split(".").at(-1)!))
  const pattern = (key: "rank" | "alpha", usual: number) => Object.fromEntries(own.filter((one) => one[key] !== usual).map((one) => [one.path.replaceAll(".", "\\."), one[key]]))
  return {
    peft_type: "LORA", task_type: "CAUSAL_LM", base_model_name_or_path: baseName, revision: null, inference_mode: true,
    r: rank, lora_alpha: alpha, lora_dropout: 0, bias: "none", target_modules: meant.length === own.length ? suffixes : own.map(({ path }) => path), modules_to_save: null,
    rank_pattern: pattern("rank", rank), alpha_pattern: pattern("alpha", alpha), use_rslora: false, use_dora: false, fan_in_fan_out: false, init_lora_weights: true,
    layers_to_transform: null, layers_pattern: null, peft_version: version
  }
}

const several = (values: ReadonlyArray<number>): string => [...new Set(values)].sort((a, b) => a - b).join(", ")
const isFeedForward = (name: string): boolean => name.includes(".feedForward.")
const card = (own: typeof Own.Type, matrices: Matrices, baseName: string | null) => {
  const names = [...matrices.keys()], low = [...matrices.values()], kinds = [...new Set(names.map((name) => name.split(".").at(-1)!))]
  const all = names.every(isFeedForward) && names.length === 3 * own.model.layers
  return `---
library_name: peft
${baseName === null ? "" : `base_model: ${JSON.stringify(baseName)}\n`}tags:
- lora
- switchyard
---
# Low-rank adapter${own.domains.length === 0 ? "" : `: ${own.domains.join(", ")}`}

Rank ${several(low.map(({ rank }) => rank))}, scale ${several(low.map(({ scale }) => scale))}, on ${all ? "the feed-forward matrices (gate, up, down) of every layer" : `${names.length} matrices (${kinds.join(", ")})`}. Made by Switchyard from the base with key \`${own.base}\`.

\`\`\`python
from peft import PeftModel
from transformers import AutoModelForCausalLM
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("…/base"), "…/adapter")
\`\`\`
`
}

/** Writes the files into an existing folder. Fails: SafetensorsError, FileError, WeightsError. */
export const write = (folder: string, adapter: { readonly matrices: Matrices; readonly own: typeof Own.Type; readonly weights: Weights.Weights }, baseName: string | null) => Effect.gen(function*() {
  const { matrices, own, weights } = adapter, list = tensors(own.model, matrices)
  const names = new Map(list.map(({ file, name }) => [file, name]))
  yield* Safetensors.write(join(folder, weightsFile), list.map(({ file, shape }) => ({ name: file, shape, dtype: "F32" as const })), (file) => weights.read(names.get(file)!))
  yield* File.writeJson(join(folder, ownFile), Schema.encodeSync(Own)(own))
  yield* File.write(join(folder, "README.md"), card(own, matrices, baseName))
  yield* File.writeJson(join(folder, configFile), config(own.model, matrices, baseName))
})
