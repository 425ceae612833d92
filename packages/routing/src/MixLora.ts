/**
 * MixLoRA's adapters as mixtures: low-rank experts beside a dense model's feed-forwards, chosen for each token by a linear score (softmax, the best k,
 * divided by their sum), and low-rank terms on its attention, which are folded into it.
 *
 * Its folders hold `adapter_config.json` (peft_type MIXLORA) and weights named `mixlora.layers.{i}.…`. It saves a pickle, `adapter_model.bin`, which is never
 * opened here: the error says how to convert it. Matrices that are no targets get a change of zero.
 * Paper: Li et al., "MixLoRA: Enhancing Large Language Models Fine-Tuning with LoRA-based Mixture of Experts", 2024.
 */
import { Checkpoint, File, Model, type Safetensors, Stage, Weights } from "@switchyard/core"
import { Effect, Schema } from "effect"
import { existsSync } from "node:fs"
import { join } from "node:path"
import * as Adapter from "./Adapter.ts"
import { AdapterError, configFile, type Low, weightsFile } from "./peft.ts"
import { modulePaths } from "./peftTargets.ts"
import { readConfig } from "./readPeft.ts"
import * as Router from "./Router.ts"

/** What an `adapter_config.json` of MixLoRA says. `activation`: of the experts, left out the base's; `attention`, `expert`: rank and scale of the terms on attention and of the experts'. */
export interface Settings { readonly at: string; readonly activation: string | undefined; readonly attention: Low; readonly expert: Low; readonly experts: number; readonly active: number; readonly targets: ReadonlyArray<string> }

/** Keys that do not change what a trained model computes. */
const silent = new Set([
  "bias", "peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "lora_init", "target_modules", "use_rslora", "routing_strategy", "num_experts", "top_k", "act_fn", "expert_lora",
  "router_init_range", "jitter_noise", "router_aux_loss_coef", "router_loss", "router_z_loss_coef", "expert_capacity", "inference_mode", "revision", "peft_version"
])
const isNothing = (value: unknown): boolean => value === undefined || value === null || value === false || value === ""

/** Reads the settings of a folder. Fails: FileError; AdapterError naming the setting. */
export const readSettings = (folder: string): Effect.Effect<Settings, AdapterError | File.FileError> => Effect.gen(function*() {
  const at = join(folder, configFile), settings = yield* readConfig(folder)
  const refuse = (key: string, remedy: string) => new AdapterError({ at, key, problem: `${JSON.stringify(settings[key])?.slice(0, 100)} is not supported`, remedy })
  if (settings["peft_type"] !== "MIXLORA") return yield* refuse("peft_type", "open a plain peft folder with Adapter.load")
  if (settings["routing_strategy"] !== "mixlora") return yield* refuse("routing_strategy", "only mixlora, the best k of a softmax, is read")
  if (!isNothing(settings["bias"]) && settings["bias"] !== "none") return yield* refuse("bias", "only none is read")
  for (const key of Object.keys(settings)) if (!silent.has(key) && !isNothing(settings[key])) return yield* refuse(key, "remove it if it does not change what the model computes")
  const own = settings["expert_lora"], inner = typeof own === "object" && own !== null && !Array.isArray(own) ? { ...settings, ...own } : settings
  for (const [key, value] of Object.entries(inner)) {
    if (!silent.has(key) && !isNothing(value)) return yield* new AdapterError({ at, key: `expert_lora.${key}`, problem: `${JSON.stringify(value)?.slice(0, 100)} is not supported`, remedy: "remove it if it does not change what the model computes" })
  }
  const low = (from: Readonly<Record<string, unknown>>): Low | undefined => {
    const { lora_alpha: alpha, r: rank, use_rslora: rooted = false } = from
    return Number.isSafeInteger(rank) && (rank as number) > 0 && Number.isFinite(alpha) ? { rank: rank as number, scale: (alpha as number) / (rooted === true ? Math.sqrt(rank as number) : rank as number) } : undefined
  }
  const attention = low(settings), expert = low(inner), { num_experts: experts, target_modules: targets, top_k: active = 2 } = settings
  if (attention === undefined) return yield* refuse("r, lora_alpha", "give a positive rank and a number")
  if (expert === undefined) return yield* refuse("expert_lora", "give a positive rank and a number")
  if (!(Number.isSafeInteger(experts) && (experts as number) > 0)) return yield* refuse("num_experts", "give a positive number")
  if (!(Number.isSafeInteger(active) && (active as number) > 0 && (active as number) <= (experts as number))) return yield* refuse("top_k", "give at most num_experts")
  const list = Array.isArray(targets) ? targets : typeof targets === "object" && targets !== null ? Object.keys(targets).filter((name) => (targets as Readonly<Record<string, unknown>>)[name] === true) : undefined
  if (list === undefined || !list.every((name) => typeof name === "string")) return yield* refuse("target_modules", "give a list of names, or names with true and false")
  return { at, activation: isNothing(settings["act_fn"]) ? undefined : String(settings["act_fn"]), attention, expert, experts: experts as number, active: active as number, targets: list }
})

const conversion = (folder: string) => `python3 -c "import torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in torch.load('${folder}/adapter_model.bin', weights_only=True, map_location='cpu').items()}, '${folder}/${weightsFile}')"`

/** What transformers calls the base's activation. */
const activationOf = ({ activation }: Model.Model): string => activation === undefined ? "silu" : activation.kind === "geluTanh" ? "gelu_pytorch_tanh" : activation.kind

/** The mixture that a folder makes of a dense base: its description and its weights, lazily. Fails: AdapterError naming every key that is unknown, missing or of another shape; FileError, SafetensorsError, RouterError. */
export const open = (folder: string, { model, weights }: Pick<Checkpoint.Checkpoint<"dense">, "model" | "weights">): Effect.Effect<{ readonly model: Model.Model & { readonly feedForward: Model.Mixture }; readonly weights: Weights.Weights; readonly settings: Settings }, AdapterError | File.FileError | Safetensors.SafetensorsError | Router.RouterError> => Effect.gen(function*() {
  const settings = yield* readSettings(folder), { active, attention, expert, experts, targets } = settings, at = join(folder, weightsFile)
  if (!existsSync(at) && existsSync(join(folder, "adapter_model.bin"))) {
    return yield* new AdapterError({ at: join(folder, "adapter_model.bin"), key: "the file", problem: "it is a pickle, which can run code and is never opened", remedy: `convert it where you trust it: ${conversion(folder)}` })
  }
  if (settings.activation !== undefined && settings.activation !== activationOf(model)) {
    return yield* new AdapterError({ at: settings.at, key: "act_fn", problem: `${JSON.stringify(settings.activation)} is not supported on this base, whose experts compute ${activationOf(model)}`, remedy: "give the base that it was trained on; only the base's own activation is computed" })
  }
  const stored = yield* Weights.fromFile(at), router = yield* Router.check(Router.topK({ active, weight: "renorm" }), experts)
  const mixture: Model.Model & { readonly feedForward: Model.Mixture } = {
    ...model,
    feedForward: { kind: "mixture", inner: model.feedForward.inner, experts, active, expert: { kind: "lowRank", ...expert }, router: router as never, routerTensors: Router.tensors(router, { experts, hidden: model.hidden }) }
  }
  // canonical name → the file's, with its shape
  const names = new Map<string, { readonly file: string; readonly shape: ReadonlyArray<number> }>(), attentions = new Map<string, Low>()
  const shapes = new Map(Model.tensors(model).map(({ name, shape }) => [name, shape]))
  const pair = (name: string, file: string, [out, input]: ReadonlyArray<number>, { rank }: Low) => {
    names.set(`${name}.a`, { file: `${file}.lora_A.weight`, shape: [rank, input!] })
    names.set(`${name}.b`, { file: `${file}.lora_B.weight`, shape: [out!, rank] })
  }
  for (const [name, path] of modulePaths(model)) {
    const [, layer, block, module] = /^model\.layers\.(\d+)\.(self_attn|mlp)\.(\w+)$/.exec(path) ?? [], file = `mixlora.layers.${layer}.${block}.${module}`
    if (module === undefined || !targets.includes(module)) continue
    if (block === "self_attn") { attentions.set(name, attention); pair(name, file, shapes.get(name)!, attention) }
    else for (let one = 0; one < experts; one++) pair(name.replace(".feedForward.", `.experts.${one}.`), `${file}.experts.${one}`, shapes.get(name)!, expert)
  }
  for (let layer = 0; layer < model.layers; layer++) names.set(`layers.${layer}.router.weight`, { file: `mixlora.layers.${layer}.mlp.moe_gate.weight`, shape: [experts, model.hidden] })
  const known = new Set([...names.values()].map(({ file }) => file)), left = [...stored.infos.keys()].filter((key) => !known.has(key)), missing = [...known].filter((key) => !stored.infos.has(key))
  if (left.length > 0 || missing.length > 0) {
    return yield* new AdapterError({ at, key: (left.length > 0 ? left : missing).slice(0, 20).join(", "), problem: left.length > 0 ? "no target of this base has this key" : "missing", remedy: "give an adapter of this base, whose file holds what its configuration names" })
  }
  for (const { file, shape } of names.values()) {
    const found = stored.infos.get(file)!.shape
    if (found.join() !== shape.join()) return yield* new AdapterError({ at, key: file, problem: `shape [${found.join(", ")}] instead of [${shape.join(", ")}]`, remedy: "give an adapter of this base and of the rank its configuration says" })
  }
  const low = Weights.rename(stored, new Map([...names].map(([name, { file }]) => [name, file])))
  const absent = Model.tensors(mixture).filter(({ name }) => name.includes(".experts.") && !names.has(name)) // matrices that are no targets
  const zeros = Weights.make(new Map(absent.map(({ name, shape }) => [name, { dtype: "F32", shape }])), (_, rows, { shape }) => Effect.sync(() => new Float32Array((rows.to - rows.from) * Weights.rowLength(shape))))
  const folded = attentions.size === 0 ? weights : Adapter.fold(weights, { kind: "adapter", header: { base: "", ...attention, domains: [], model, matrices: Object.fromEntries(attentions) }, weights: low })
  return { settings, model: mixture, weights: Weights.overlay(folded, Weights.overlay(Weights.select(low, (name) => !attentions.has(name.slice(0, -2))), zeros)) }
})

/** Stage: a MixLoRA folder on its dense base, as a mixture. Options: `at: file("adapters/mixlora")`. Fails: as `open`, before any work. */
export const load = Stage.make("mixLora/load", {
  version: 1,
  inputs: [Stage.one("base", Checkpoint.Dense)],
  options: Schema.Struct({ at: File.File }),
  output: Checkpoint.Mixture,
  *describe({ base }, { at }) {
    const zeros = Weights.make(new Map(Model.tensors(base.model).map(({ name, shape }) => [name, { dtype: "F32", shape }])), () => Effect.die("headers have no values"))
    const { model, weights } = yield* open(at.path, { model: base.model, weights: zeros }), added = Checkpoint.storedBytes(weights) - 4 * Model.parameters(base.model)
    return { header: Checkpoint.headerOf(model, base.tokenizer, base.bytes + added), cost: { bytesRead: base.bytes + added, bytesWritten: base.bytes + added } }
  },
  *run({ base }, { at }, context) {
    const { model, settings, weights } = yield* open(at.path, base)
    return Checkpoint.derive(base, { model, weights, step: { stage: "mixLora/load", key: context.key, inputs: context.keys, facts: { experts: settings.experts, active: settings.active, rank: settings.expert.rank } } })
  }
})
