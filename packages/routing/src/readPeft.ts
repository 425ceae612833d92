/**
 * Reading a peft folder, strictly: every key of the weights is used or named in an error, every target has its weights, and every setting that would
 * change the sum is understood or refused by name. peft ignores what it does not find; a fine-tune that is silently half there is worse than none.
 *
 * Experts come one by one under transformers 4's names, or fused as peft keeps what it trained on transformers 5 (`target_parameters`): for all E experts of a
 * layer a is [rank · E, in], expert by expert, and b [out, rank · E], where expert e has every E-th column from e on.
 */
import { File, Model, type Safetensors, Weights } from "@switchyard/core"
import { Effect, Schema } from "effect"
import { join } from "node:path"
import { AdapterError, configFile, foreign, type Low, type Matrices, Own, ownFile, tensors, weightsFile } from "./peft.ts"
import * as Targets from "./peftTargets.ts"

/** A folder's settings. `parameters`: fused parameters that are targets, by suffix. */
export interface Settings extends Targets.Said {
  readonly at: string
  readonly rank: number
  readonly alpha: number
  readonly rooted: boolean
  readonly rankPattern: Readonly<Record<string, number>>
  readonly alphaPattern: Readonly<Record<string, number>>
  readonly parameters: ReadonlyArray<string>
  readonly own: typeof Own.Type | undefined
}

const merged = "merge the adapter into its base with peft (merge_and_unload) and load the whole model"
const isEmpty = (value: unknown): boolean => value === undefined || value === null || value === false || typeof value === "object" && Object.keys(value).length === 0

/** Keys that say where an adapter comes from or how it was trained, or that only matter beside another which is refused. */
const silent = new Set([
  "peft_version", "auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode", "lora_dropout", "megatron_core", "qalora_group_size",
  "eva_config", "corda_config", "lora_ga_config", "loftq_config", "velora_config", "runtime_config", "ensure_weight_tying", "use_rslora", "r", "lora_alpha", "rank_pattern", "alpha_pattern",
  "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "target_parameters"
])
/** First values that leave the base as it is. The others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) take them out of it before training: the change is of what is left. */
const harmless: ReadonlyArray<unknown> = [true, "gaussian", "eva", "orthogonal", "mica"]

const readObject = (path: string): Effect.Effect<Readonly<Record<string, unknown>> | undefined, AdapterError | File.FileError> => Effect.gen(function*() {
  const value = yield* File.readJson(path)
  if (value === undefined || typeof value === "object" && value !== null && !Array.isArray(value)) return value as Readonly<Record<string, unknown>> | undefined
  return yield* new AdapterError({ at: path, key: "contents", problem: "it is no JSON object", remedy: "replace the file" })
}).pipe(Effect.catchDefect((defect) => defect instanceof SyntaxError ? Effect.fail(new AdapterError({ at: path, key: "contents", problem: "it is no JSON", remedy: "replace the file" })) : Effect.die(defect)))

/** The object in `adapter_config.json`. Fails: FileError; AdapterError where there is none. */
export const readConfig = (folder: string) => Effect.flatMap(readObject(join(folder, configFile)), (settings) => settings === undefined
  ? Effect.fail(new AdapterError({ at: join(folder, configFile), key: "the file", problem: "it is missing", remedy: "give the folder of a peft adapter" })) : Effect.succeed(settings))

const strings = (value: unknown): value is ReadonlyArray<string> => Array.isArray(value) && value.every((one) => typeof one === "string")
const count = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** Reads `adapter_config.json` and, where there is one, `switchyard.json`. Fails: FileError; AdapterError naming the setting. */
export const readSettings = (folder: string): Effect.Effect<Settings, AdapterError | File.FileError> => Effect.gen(function*() {
  const at = join(folder, configFile), settings = yield* readConfig(folder)
  const refuse = (key: string, problem: string, remedy = merged) => new AdapterError({ at, key, problem, remedy })
  const shown = (key: string) => JSON.stringify(settings[key])?.slice(0, 100)
  if (settings["peft_type"] !== "LORA") return yield* refuse("peft_type", `${shown("peft_type")} is not supported`, settings["peft_type"] === "MIXLORA" ? "open it with MixLora.load, as a mixture" : merged)
  if (!isEmpty(settings["bias"]) && settings["bias"] !== "none") return yield* refuse("bias", `${shown("bias")} is not supported`)
  for (const key of Object.keys(settings)) {
    if (key !== "peft_type" && key !== "bias" && key !== "init_lora_weights" && !silent.has(key) && !isEmpty(settings[key])) return yield* refuse(key, `${shown(key)} is not supported`)
  }
  const { init_lora_weights: first } = settings
  if (!isEmpty(first) && !harmless.includes(typeof first === "string" ? first.toLowerCase() : first)) {
    return yield* refuse("init_lora_weights", `${shown("init_lora_weights")} takes the first values out of the base's matrices, and the change is of what is left of them`, `save it with peft's save_pretrained(…, path_initial_model_for_weight_conversion=…), or ${merged}`)
  }
  const { alpha_pattern: alphaPattern = {}, exclude_modules: without = null, layers_pattern: pattern = null, layers_to_transform: layers = null, lora_alpha: alpha = 8, r: rank = 8, rank_pattern: rankPattern = {},
    target_modules: modules = null, target_parameters: parameters, use_rslora: rooted = false } = settings
  if (!(count(rank) && rank > 0)) return yield* refuse("r", `${shown("r")} is no rank`, "give a positive integer")
  if (!Number.isFinite(alpha)) return yield* refuse("lora_alpha", `${shown("lora_alpha")} is no number`, "give a finite number")
  if (typeof rooted !== "boolean") return yield* refuse("use_rslora", `${shown("use_rslora")} is not true or false`, "correct it")
  const tables = { rank_pattern: rankPattern ?? {}, alpha_pattern: alphaPattern ?? {} }
  for (const [key, table] of Object.entries(tables)) {
    const fits = typeof table === "object" && !Array.isArray(table) && Object.values(table).every((value) => key === "rank_pattern" ? count(value) && value > 0 : Number.isFinite(value))
    if (!fits) return yield* refuse(key, `${shown(key)} is no table of numbers`, "correct it")
  }
  for (const [key, value] of [["target_modules", modules], ["exclude_modules", without], ["layers_pattern", pattern]] as const) {
    if (!(value === null || typeof value === "string" || strings(value))) return yield* refuse(key, `${shown(key)} is neither a list of names nor an expression`, "correct it")
  }
  if (!(layers === null || count(layers) || Array.isArray(layers) && layers.every(count))) return yield* refuse("layers_to_transform", `${shown("layers_to_transform")} is no list of layers`, "correct it")
  if (!(isEmpty(parameters) || strings(parameters))) return yield* refuse("target_parameters", `${shown("target_parameters")} is no list of names`, "correct it")
  const said = yield* readObject(join(folder, ownFile))
  const own = said === undefined ? undefined : yield* Effect.mapError(Schema.decodeUnknownEffect(Own)(said),
    (error) => new AdapterError({ at: join(folder, ownFile), key: "contents", problem: error.message, remedy: "write the adapter again, or remove this file and say the base when opening" }))
  return {
    at, rank, alpha: alpha as number, rooted, rankPattern: tables.rank_pattern as Record<string, number>, alphaPattern: tables.alpha_pattern as Record<string, number>, own,
    target_modules: modules as Settings["target_modules"], exclude_modules: isEmpty(without) ? null : without as Settings["exclude_modules"], layers_to_transform: layers as Settings["layers_to_transform"],
    layers_pattern: isEmpty(pattern) ? null : pattern as Settings["layers_pattern"], parameters: isEmpty(parameters) ? [] : parameters as ReadonlyArray<string>
  }
})

/** A fused parameter that is a target: where its two tensors stand, and the rank of each expert. */
interface Place extends Targets.Fused { readonly a: string; readonly b: string; readonly low: Low }

/** What the settings mean on a model: the matrices that are targets, and the fused parameters. Fails: throws an Error whose message says what is wrong with a pattern. */
const meant = (settings: Settings, model: Model.Model, keys: ReadonlySet<string>): { readonly matrices: Matrices; readonly fused: ReadonlyArray<Place> } => {
  const paths = Targets.modulePaths(model), names = [...paths.keys()], list = [...paths.values()]
  const fused = Targets.fusedParameters(model).filter(({ path }) => settings.parameters.some((suffix) => path === suffix || path.endsWith(`.${suffix}`)))
  const chosen = Targets.targets(settings, list)
  // transformers 5 has no linear layers for routers and experts: "all-linear" means them only where they are in the file
  const isHere = (i: number) => !(Targets.isAllLinear(settings.target_modules) && /\.(router|experts)\./.test(names[i]!)) || keys.has(foreign(list[i]!, "a"))
  const all = [...list, ...fused.map(({ path }) => path)], ranks = Targets.byPattern(settings.rankPattern, all), alphas = Targets.byPattern(settings.alphaPattern, all)
  const lowOf = (i: number): Low => {
    const rank = ranks[i] ?? settings.rank
    return { rank, scale: (alphas[i] ?? settings.alpha) / (settings.rooted ? Math.sqrt(rank) : rank) }
  }
  const matrices = new Map<string, Low>()
  for (const [i, name] of names.entries()) if (chosen[i]! && isHere(i)) matrices.set(name, lowOf(i))
  const places = fused.map((parameter, i): Place => {
    // peft wraps a layer's experts once for each target, the first one innermost
    const layer = fused.filter((other) => other.layer === parameter.layer), outer = layer.length - 1 - layer.indexOf(parameter)
    const at = `${parameter.path.slice(0, parameter.path.lastIndexOf("."))}${".base_layer".repeat(outer)}`, low = lowOf(list.length + i)
    return { ...parameter, a: foreign(at, "a"), b: foreign(at, "b"), low }
  })
  for (const { layer, low, matrices: of } of places) {
    const form = model.feedForward
    for (let expert = 0; expert < (form.kind === "mixture" ? form.experts : 0); expert++) for (const matrix of of) matrices.set(`layers.${layer}.experts.${expert}.${matrix}`, low)
  }
  return { matrices, fused: places }
}

/** The matrices that a folder changes, and their tensors under our names, lazily. Fails: AdapterError naming every key that is unknown, missing or of another shape; SafetensorsError. */
export const readWeights = (folder: string, settings: Settings, model: Model.Model): Effect.Effect<{ readonly matrices: Matrices; readonly weights: Weights.Weights }, AdapterError | Safetensors.SafetensorsError> => Effect.gen(function*() {
  const at = join(folder, weightsFile), stored = yield* Weights.fromFile(at), keys = new Set(stored.infos.keys())
  const { fused, matrices } = yield* Effect.try({
    try: () => meant(settings, model, keys),
    catch: (error) => new AdapterError({ at: settings.at, key: "target_modules, rank_pattern, alpha_pattern", problem: (error as Error).message, remedy: "write them as suffixes of module names" })
  })
  const form = model.feedForward, experts = form.kind === "mixture" ? form.experts : 0
  const inFused = new Set(fused.flatMap(({ layer, matrices: of }) => Array.from({ length: experts }, (_, expert) => of.map((matrix) => `layers.${layer}.experts.${expert}.${matrix}`)).flat()))
  const single = tensors(model, new Map([...matrices].filter(([name]) => !inFused.has(name))))
  const stacks = fused.flatMap(({ a, b, low: { rank }, matrices: of }) => {
    const { hidden, feedForward: { inner } } = model, down = of[0] === "down"
    return [{ file: a, shape: [rank * experts, down ? inner : hidden] }, { file: b, shape: [down ? hidden : of.length * inner, rank * experts] }]
  })
  const list = [...single, ...stacks], known = new Set(list.map(({ file }) => file)), left = [...keys].filter((key) => !known.has(key))
  if (left.length > 0) {
    return yield* new AdapterError({
      at, key: left.slice(0, 20).join(", "), problem: `${left.length === 1 ? "this key is" : `these ${left.length} keys are`} not a low-rank change of a matrix that is a target in a ${model.family} model with ${model.layers} layers`,
      remedy: "give an adapter of this base, whose configuration names what its file holds; what else it trained (embeddings, whole modules, biases, magnitudes) must be merged with peft first"
    })
  }
  const missing = list.filter(({ file }) => !keys.has(file)).map(({ file }) => file)
  if (missing.length > 0 || list.length === 0) {
    return yield* new AdapterError({ at, key: missing.slice(0, 20).join(", ") || "target_modules", problem: list.length === 0 ? "no matrix of this model is a target" : "missing", remedy: "give an adapter of this base, whose file holds what its configuration names" })
  }
  for (const { file, shape } of list) {
    const found = stored.infos.get(file)!.shape
    if (found.join() !== shape.join()) return yield* new AdapterError({ at, key: file, problem: `shape [${found.join(", ")}] instead of [${shape.join(", ")}]`, remedy: "give an adapter of this base and of the rank its configuration says" })
  }
  const plain = Weights.rename(stored, new Map(single.map(({ file, name }) => [name, file])))
  return { matrices, weights: fused.length === 0 ? plain : Weights.overlay(plain, unfused(stored, fused, model, experts)) }
})

/** The a and b of single experts, from fused tensors. */
const unfused = (stored: Weights.Weights, fused: ReadonlyArray<Place>, model: Model.Model, experts: number): Weights.Weights => {
  const { hidden, feedForward: { inner } } = model
  const places = new Map<string, { readonly of: Place; readonly expert: number; readonly part: number; readonly half: "a" | "b" }>(), infos = new Map<string, Weights.TensorInfo>()
  for (const of of fused) for (let expert = 0; expert < experts; expert++) for (const [part, matrix] of of.matrices.entries()) for (const half of ["a", "b"] as const) {
    const name = `layers.${of.layer}.experts.${expert}.${matrix}.${half}`, [out, input] = matrix === "down" ? [hidden, inner] : [inner, hidden]
    places.set(name, { of, expert, part, half })
    infos.set(name, { dtype: stored.infos.get(of[half])!.dtype, shape: half === "a" ? [of.low.rank, input] : [out, of.low.rank] })
  }
  return Weights.make(infos, (name, { from, to }, { shape }) => Effect.gen(function*() {
    const { expert, half, of, part } = places.get(name)!, { rank } = of.low
    if (half === "a") return yield* stored.read(of.a, { from: expert * rank + from, to: expert * rank + to })
    const first = part * shape[0]!, all = yield* stored.read(of.b, { from: first + from, to: first + to }) // [rows, rank · experts]
    return Float32Array.from({ length: (to - from) * rank }, (_, i) => all[Math.floor(i / rank) * rank * experts + i % rank * experts + expert]!)
  }))
}
