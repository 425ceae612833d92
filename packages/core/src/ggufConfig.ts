/**
 * The metadata of a GGUF file in the words of config.json, by the row of its architecture (`ggufArchitectures.ts`). Every key is understood, or refused by
 * name.
 */
import { type Architecture, architectures } from "./ggufArchitectures.ts"
import { GgufError, type Header } from "./GgufHeader.ts"
import type { Reading } from "./ggufRows.ts"
import type { Plain } from "./StrictJson.ts"
import * as Weights from "./Weights.ts"

/** What yarn is told by, beside type and factor; `finetuned` says only how the model came about. */
const yarnKeys = ["rope.scaling.original_context_length", "rope.scaling.finetuned", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"]
/** More layers than any model has. */
const mostLayers = 1 << 20

/** The decimal number that was meant by an f32: the shortest that rounds to it. */
const shortest = (value: number): number => {
  for (let digits = 1; digits <= 9; digits++) {
    const candidate = Number(value.toPrecision(digits))
    if (Math.fround(candidate) === value) return candidate
  }
  return value
}

/** config.json's keys of a file's metadata, with the row of its architecture. Fails: throws GgufError naming the key that is missing, not understood, or contradicts another. */
export const configOf = (file: string, { metadata, tensors }: Header): readonly [Architecture, Readonly<Record<string, Plain>>] => {
  const fail = (key: string, problem: string, remedy: string): never => { throw new GgufError({ file, key, problem, remedy }) }
  const name = metadata.get("general.architecture")
  if (typeof name !== "string") return fail("general.architecture", "it is missing or not a string", "convert the model again with llama.cpp's convert_hf_to_gguf.py")
  const row = architectures.find((one) => one.name === name)
  if (row === undefined) {
    return fail("general.architecture", `${JSON.stringify(name.slice(0, 60))} is not known; the nearest is ${Weights.nearest(name.slice(0, 60), architectures.map((one) => one.name))}`, "open the model's folder from the Hub, or add a row to ggufArchitectures.ts")
  }
  const embedding = tensors.get("token_embd.weight")
  if (embedding === undefined) return fail("tensor \"token_embd.weight\"", `it is missing${tensors.size === 0 ? ": the file holds a vocabulary only" : ""}`, "use a file that holds the whole model")

  const value = (key: string) => metadata.get(`${name}.${key}`)
  const number = (short: string): number => {
    const key = `${name}.${short}`, given = metadata.get(key), all = ArrayBuffer.isView(given) ? [...new Set(given as Uint32Array)] : [given]
    const one = typeof all[0] === "bigint" ? Number(all[0]) : all[0]
    if (all.length > 1) return fail(key, `it differs from layer to layer (${all.slice(0, 4).join(", ")})`, "only models whose layers are alike are read")
    return typeof one === "number" && one > 0 ? shortest(one) : fail(key, `${JSON.stringify(String(one).slice(0, 60))} is not a positive number`, "convert the model again")
  }
  const maybe = (short: string) => metadata.has(`${name}.${short}`) ? number(short) : undefined

  const mixture = metadata.has(`${name}.expert_count`) && value("expert_count") !== 0, family = mixture ? row.mixture : row.dense
  if (family === undefined) return fail(`${name}.expert_count`, `files of ${name} have ${mixture ? "no experts" : "experts, and this one none"}`, "convert the model again")
  const config: Record<string, Plain> = { model_type: family, vocab_size: embedding.shape[0]!, tie_word_embeddings: !tensors.has("output.weight"), ...row.meant }
  const scaling = value("rope.scaling.type") ?? "none", apart = new Set([...row.further?.keys ?? [], "rope.scaling.type", "rope.scaling.factor", ...scaling === "yarn" ? yarnKeys : [], ...row.rotated === undefined ? [] : ["rope.dimension_count"]])
  for (const key of metadata.keys()) {
    if (!key.startsWith(`${name}.`)) continue
    const short = key.slice(name.length + 1), meaning = Object.hasOwn(row.keys, short) ? row.keys[short] : undefined
    if (meaning !== undefined) { if (mixture || !short.startsWith("expert_")) config[meaning] = number(short) }
    else if (!apart.has(short) && !Object.hasOwn(row.repeated, short)) fail(key, "it is not understood, and may change what the model computes", `open the model's folder from the Hub; understood are ${[...Object.keys(row.keys), ...row.further?.keys ?? []].join(", ")}`)
  }
  for (const key of ["embedding_length", "block_count", "attention.head_count", "attention.layer_norm_rms_epsilon"]) number(key)
  if ((config["num_hidden_layers"] as number) > mostLayers) fail(`${name}.block_count`, `${String(config["num_hidden_layers"])} layers`, "no such model exists: fetch the file again")
  const reading: Reading = { config, value, number: maybe, fail: (key, problem, remedy) => fail(`${name}.${key}`, problem, remedy) }
  Object.assign(config, row.further?.config(reading))
  config["num_key_value_heads"] ??= config["num_attention_heads"]! // what llama.cpp takes missing keys to mean
  config["rope_theta"] ??= 10_000
  config["head_dim"] ??= (config["hidden_size"] as number) / (config["num_attention_heads"] as number)
  if (row.rotated !== undefined && value("rope.dimension_count") !== undefined) config[row.rotated] = number("rope.dimension_count") / (config["head_dim"] as number)
  for (const [short, key] of Object.entries(row.repeated)) {
    const given = maybe(short)
    if (given !== undefined && given !== config[key]) fail(`${name}.${short}`, `${given} contradicts ${String(config[key])}, the ${key.replaceAll("_", " ")} that the rest of the file gives`, "convert the model again")
  }
  config["rope_scaling"] = { rope_type: "default" }
  if (scaling === "linear") config["rope_scaling"] = { rope_type: "linear", factor: number("rope.scaling.factor") }
  else if (scaling === "yarn") {
    const turns = { beta_fast: maybe("rope.scaling.yarn_beta_fast"), beta_slow: maybe("rope.scaling.yarn_beta_slow") }, given = Object.fromEntries(Object.entries(turns).filter(([, one]) => one !== undefined)) as Record<string, number>
    config["rope_scaling"] = { rope_type: "yarn", factor: number("rope.scaling.factor"), original_max_position_embeddings: number("rope.scaling.original_context_length"), ...given, ...row.yarn?.(reading) }
  }
  else if (scaling !== "none") fail(`${name}.rope.scaling.type`, `${JSON.stringify(String(scaling).slice(0, 60))} is not read from such files, only linear and yarn are`, "open the model's folder from the Hub")
  for (const end of ["bos", "eos"]) {
    const id = metadata.get(`tokenizer.ggml.${end}_token_id`)
    if (typeof id === "number") config[`${end}_token_id`] = id
  }
  return [row, config]
}
