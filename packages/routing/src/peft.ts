/**
 * Adapters as peft keeps them: one folder with `adapter_config.json`, `adapter_model.safetensors` and a README, that
 * `PeftModel.from_pretrained(base, folder)` opens.
 *
 * What peft has no word for (the key of the base, the domains, the base's description) stands beside it in `switchyard.json`. Reading is
 * strict: every key of the weights is used or named in an error, and every setting that would change the sum is understood or refused.
 */
import { File, Model, Safetensors, Weights } from "@switchyard/core"
import { Effect, Schema } from "effect"
import { join } from "node:path"

/** The version of peft whose files these are: written by it, read by it. */
export const version = "0.21.0"
export const configFile = "adapter_config.json", weightsFile = "adapter_model.safetensors", ownFile = "switchyard.json"

/** An adapter that cannot be read or does not fit: the file or adapter, the key or setting, what is wrong, what to do. */
export class AdapterError extends Schema.TaggedError<AdapterError>()("AdapterError", {
  at: Schema.String, key: Schema.String, problem: Schema.String, remedy: Schema.String
}) {
  override get message() { return `${this.at}: ${this.key}: ${this.problem}. Remedy: ${this.remedy}.` }
}

const suffixes = { gate: "gate_proj", up: "up_proj", down: "down_proj" } as const
export const matrices = ["gate", "up", "down"] as const
export type Matrix = (typeof matrices)[number]

/** `layers.0.feedForward.gate.a` ↔ `base_model.model.model.layers.0.mlp.gate_proj.lora_A.weight`. */
const foreign = (layer: number, matrix: Matrix, half: "a" | "b") => `base_model.model.model.layers.${layer}.mlp.${suffixes[matrix]}.lora_${half.toUpperCase()}.weight`

/** Every tensor of an adapter on this model: our name, peft's name and shape. Shapes: a [rank, in], b [out, rank]. */
export const tensors = (model: Model.Model, rank: number): ReadonlyArray<{ readonly name: string; readonly file: string; readonly shape: ReadonlyArray<number> }> =>
  Array.from({ length: model.layers }, (_, layer) => matrices.flatMap((matrix) => {
    const { hidden, feedForward: { inner } } = model
    const [out, input] = matrix === "down" ? [hidden, inner] : [inner, hidden]
    return (["a", "b"] as const).map((half) => ({ name: `layers.${layer}.feedForward.${matrix}.${half}`, file: foreign(layer, matrix, half), shape: half === "a" ? [rank, input] : [out, rank] }))
  })).flat()

/** What we say beside peft's own settings. */
export const Own = Schema.Struct({ base: Schema.String, domains: Schema.Array(Schema.String), model: Model.Model })
export interface Settings { readonly rank: number; readonly scale: number; readonly own: typeof Own.Type | undefined }

const config = (rank: number, scale: number, baseName: string | null) => ({
  peft_type: "LORA", task_type: "CAUSAL_LM", base_model_name_or_path: baseName, revision: null, inference_mode: true,
  r: rank, lora_alpha: scale * rank, lora_dropout: 0, bias: "none", target_modules: Object.values(suffixes), modules_to_save: null,
  rank_pattern: {}, alpha_pattern: {}, use_rslora: false, use_dora: false, fan_in_fan_out: false, init_lora_weights: true,
  layers_to_transform: null, layers_pattern: null, peft_version: version
})

const card = (own: typeof Own.Type, rank: number, scale: number, baseName: string | null) => `---
library_name: peft
${baseName === null ? "" : `base_model: ${JSON.stringify(baseName)}\n`}tags:
- lora
- switchyard
---
# Low-rank adapter: ${own.domains.join(", ")}

Rank ${rank}, scale ${scale}, on the feed-forward matrices (gate, up, down) of every layer. Made by Switchyard from the base with key \`${own.base}\`.

\`\`\`python
from peft import PeftModel
from transformers import AutoModelForCausalLM
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("…/base"), "…/adapter")
\`\`\`
`

/** Writes the files into an existing folder. Fails: SafetensorsError, FileError, WeightsError. */
export const write = (folder: string, adapter: { readonly rank: number; readonly scale: number; readonly own: typeof Own.Type; readonly weights: Weights.Weights }, baseName: string | null) => Effect.gen(function*() {
  const { own, rank, scale, weights } = adapter, list = tensors(own.model, rank)
  const names = new Map(list.map(({ file, name }) => [file, name]))
  yield* Safetensors.write(join(folder, weightsFile), list.map(({ file, shape }) => ({ name: file, shape, dtype: "F32" as const })), (file) => weights.read(names.get(file)!))
  yield* File.writeJson(join(folder, ownFile), Schema.encodeSync(Own)(own))
  yield* File.write(join(folder, "README.md"), card(own, rank, scale, baseName))
  yield* File.writeJson(join(folder, configFile), config(rank, scale, baseName))
})

/** Settings that change the sum, with the only values this reader gives the right answer for. */
const only: Readonly<Record<string, (value: unknown) => boolean>> = {
  peft_type: (value) => value === "LORA",
  bias: (value) => value === undefined || value === "none",
  use_dora: (value) => value === undefined || value === false,
  fan_in_fan_out: (value) => value === undefined || value === false,
  lora_bias: (value) => value === undefined || value === false,
  rank_pattern: (value) => isEmpty(value),
  alpha_pattern: (value) => isEmpty(value),
  modules_to_save: (value) => isEmpty(value),
  target_parameters: (value) => isEmpty(value),
  layers_to_transform: (value) => isEmpty(value)
}
const isEmpty = (value: unknown): boolean => value === undefined || value === null || typeof value === "object" && Object.keys(value).length === 0

/** Reads `adapter_config.json` and, where there is one, `switchyard.json`. Fails: FileError; AdapterError naming the setting. */
export const readSettings = (folder: string): Effect.Effect<Settings, AdapterError | File.FileError> => Effect.gen(function*() {
  const at = join(folder, configFile)
  const settings = yield* readObject(at)
  if (settings === undefined) return yield* new AdapterError({ at, key: "the file", problem: "it is missing", remedy: "give the folder of a peft adapter" })
  for (const [key, fits] of Object.entries(only)) {
    if (!fits(settings[key])) return yield* new AdapterError({ at, key, problem: `${JSON.stringify(settings[key])} is not supported`, remedy: "merge the adapter into its base with peft and load the whole model" })
  }
  const { lora_alpha: alpha = 8, r: rank = 8, use_rslora: rooted = false } = settings
  if (!(Number.isInteger(rank) && (rank as number) > 0)) return yield* new AdapterError({ at, key: "r", problem: `${JSON.stringify(rank)} is no rank`, remedy: "give a positive integer" })
  if (!Number.isFinite(alpha)) return yield* new AdapterError({ at, key: "lora_alpha", problem: `${JSON.stringify(alpha)} is no number`, remedy: "give a finite number" })
  const said = yield* readObject(join(folder, ownFile))
  const own = said === undefined ? undefined : yield* Effect.mapError(Schema.decodeUnknownEffect(Own)(said),
    (error) => new AdapterError({ at: join(folder, ownFile), key: "contents", problem: error.message, remedy: "write the adapter again, or remove this file and say the base when opening" }))
  return { rank: rank as number, scale: (alpha as number) / (rooted === true ? Math.sqrt(rank as number) : rank as number), own }
})

const readObject = (path: string): Effect.Effect<Readonly<Record<string, unknown>> | undefined, AdapterError | File.FileError> => Effect.gen(function*() {
  const value = yield* File.readJson(path)
  if (value === undefined || typeof value === "object" && value !== null && !Array.isArray(value)) return value as Readonly<Record<string, unknown>> | undefined
  return yield* new AdapterError({ at: path, key: "contents", problem: "it is no JSON object", remedy: "replace the file" })
})

/** The weights of the folder under our names, lazily. Fails: AdapterError naming every key that is unknown, missing or of another shape; SafetensorsError. */
export const readWeights = (folder: string, model: Model.Model, rank: number): Effect.Effect<Weights.Weights, AdapterError | Safetensors.SafetensorsError> => Effect.gen(function*() {
  const at = join(folder, weightsFile)
  const weights = yield* Weights.fromFile(at), list = tensors(model, rank), known = new Set(list.map(({ file }) => file))
  const left = [...weights.infos.keys()].filter((key) => !known.has(key))
  if (left.length > 0) {
    return yield* new AdapterError({ at, key: left.join(", "), problem: `${left.length === 1 ? "this key is" : "these keys are"} not a low-rank change of a feed-forward matrix of a model with ${model.layers} layers`, remedy: "give an adapter that targets gate_proj, up_proj and down_proj only, of this base" })
  }
  const missing = list.filter(({ file }) => !weights.infos.has(file)).map(({ file }) => file)
  if (missing.length > 0) return yield* new AdapterError({ at, key: missing.join(", "), problem: "missing", remedy: "give an adapter that targets gate_proj, up_proj and down_proj of every layer" })
  for (const { file, shape } of list) {
    const found = weights.infos.get(file)!.shape
    if (found.join() !== shape.join()) return yield* new AdapterError({ at, key: file, problem: `shape [${found.join(", ")}] instead of [${shape.join(", ")}]`, remedy: "give an adapter of this base and of the rank its configuration says" })
  }
  return Weights.rename(weights, new Map(list.map(({ file, name }) => [name, file])))
})
