/**
 * A GGUF file as a model with canonical weights and a tokenizer: its metadata is put into the words of config.json, read by the row of its family,
 * and its tensors are found by the row of its architecture (`ggufArchitectures.ts`). Every key and every tensor is understood, or refused by name.
 */
import { Effect } from "effect"
import { bindTensors, type TensorMismatch } from "./bindTensors.ts"
import * as Family from "./Family.ts"
import { type Architecture, architectures } from "./ggufArchitectures.ts"
import { GgufError, type Header } from "./GgufHeader.ts"
import * as ggufPieces from "./ggufPieces.ts"
import { ropeScalingOf } from "./ggufRope.ts"
import { ggufTokenizer } from "./ggufTokenizer.ts"
import type * as Model from "./Model.ts"
import type { Plain } from "./StrictJson.ts"
import type * as Tokenizer from "./Tokenizer.ts"
import * as Weights from "./Weights.ts"

export interface GgufModel {
  readonly model: Model.Model
  readonly weights: Weights.Weights
  readonly tokenizer: Tokenizer.Tokenizer
}

/** The decimal number that was meant by an f32: the shortest that rounds to it. */
const shortest = (value: number): number => {
  for (let digits = 1; digits <= 9; digits++) {
    const candidate = Number(value.toPrecision(digits))
    if (Math.fround(candidate) === value) return candidate
  }
  return value
}

/** config.json's keys of a file's metadata. Fails: throws GgufError naming the key that is missing, not understood, or contradicts another. */
const configOf = (file: string, { metadata, tensors }: Header): readonly [Architecture, Readonly<Record<string, Plain>>] => {
  const fail = (key: string, problem: string, remedy: string): never => { throw new GgufError({ file, key, problem, remedy }) }
  const name = metadata.get("general.architecture")
  if (typeof name !== "string") return fail("general.architecture", "it is missing or not a string", "convert the model again with llama.cpp's convert_hf_to_gguf.py")
  const row = architectures.find((one) => one.name === name)
  if (row === undefined) {
    return fail("general.architecture", `${JSON.stringify(name.slice(0, 60))} is not known; the nearest is ${Weights.nearest(name.slice(0, 60), architectures.map((one) => one.name))}`, "open the model's folder from the Hub, or add a row to ggufArchitectures.ts")
  }
  const embedding = tensors.get("token_embd.weight")
  if (embedding === undefined) return fail("tensor \"token_embd.weight\"", `it is missing${tensors.size === 0 ? ": the file holds a vocabulary only" : ""}`, "use a file that holds the whole model")

  const number = (key: string): number => {
    const given = metadata.get(key), all = ArrayBuffer.isView(given) ? [...new Set(given as Uint32Array)] : [given]
    const one = typeof all[0] === "bigint" ? Number(all[0]) : all[0]
    if (all.length > 1) return fail(key, `it differs from layer to layer (${all.slice(0, 4).join(", ")})`, "only models whose layers are alike are read")
    return typeof one === "number" && one > 0 ? shortest(one) : fail(key, `${JSON.stringify(String(one).slice(0, 60))} is not a positive number`, "convert the model again")
  }
  const mixture = metadata.has(`${name}.expert_count`) && metadata.get(`${name}.expert_count`) !== 0, family = mixture ? row.mixture : row.dense
  if (family === undefined) return fail(`${name}.expert_count`, `files of ${name} have ${mixture ? "no" : ""} experts`, "convert the model again")
  const config: Record<string, Plain> = { model_type: family, vocab_size: embedding.shape[0]!, tie_word_embeddings: !tensors.has("output.weight"), ...row.meant }
  for (const key of metadata.keys()) {
    if (!key.startsWith(`${name}.`)) continue
    const short = key.slice(name.length + 1), meaning = Object.hasOwn(row.keys, short) ? row.keys[short] : undefined
    if (meaning !== undefined) { if (mixture || !short.startsWith("expert_")) config[meaning] = number(key) }
    else if (short === "rope.scaling.type" || short === "rope.scaling.factor" || (row.rotated !== undefined && short === "rope.dimension_count")) continue
    else if (!Object.hasOwn(row.repeated, short)) fail(key, "it is not understood, and may change what the model computes", `open the model's folder from the Hub; understood are ${Object.keys(row.keys).join(", ")}`)
  }
  for (const key of ["embedding_length", "block_count", "attention.head_count", "attention.layer_norm_rms_epsilon"]) number(`${name}.${key}`)
  config["num_key_value_heads"] ??= config["num_attention_heads"]! // what llama.cpp takes missing keys to mean
  config["rope_theta"] ??= 10_000
  config["head_dim"] ??= (config["hidden_size"] as number) / (config["num_attention_heads"] as number)
  if (row.rotated !== undefined && metadata.has(`${name}.rope.dimension_count`)) config[row.rotated] = number(`${name}.rope.dimension_count`) / (config["head_dim"] as number)
  for (const [short, key] of Object.entries(row.repeated)) {
    const given = metadata.has(`${name}.${short}`) ? number(`${name}.${short}`) : undefined
    if (given !== undefined && given !== config[key]) fail(`${name}.${short}`, `${given} contradicts ${String(config[key])}, the ${key.replace("_", " ")} that the rest of the file gives`, "convert the model again")
  }
  const scaling = metadata.get(`${name}.rope.scaling.type`)
  if (scaling === "linear") config["rope_scaling"] = { rope_type: "linear", factor: number(`${name}.rope.scaling.factor`) }
  else if (scaling !== undefined && scaling !== "none") fail(`${name}.rope.scaling.type`, `${JSON.stringify(String(scaling).slice(0, 60))} is not computed by our decoder, only linear is`, "use a model without it")
  for (const end of ["bos", "eos"]) {
    const id = metadata.get(`tokenizer.ggml.${end}_token_id`)
    if (typeof id === "number") config[`${end}_token_id`] = id
  }
  return [row, config]
}

const ropeTensor = "rope_freqs.weight"
/** The model with the scaling of rotary positions that a file tells by the divisors of its frequencies, where it has any. Fails: GgufError when our decoder cannot compute them. */
const rescaled = (file: string, { tensors }: Header, stored: Weights.Weights, model: Model.Model): Effect.Effect<Model.Model, GgufError> => {
  const entry = tensors.get(ropeTensor), wrong = (problem: string) => Effect.fail(new GgufError({ file, key: `tensor "${ropeTensor}"`, problem, remedy: "use a model with plain rotary positions, or scaled ones of type linear or llama3" }))
  if (entry === undefined) return Effect.succeed(model)
  if (entry.shape.join() !== String(model.headSize / 2)) return wrong(`its shape is [${entry.shape.join(", ")}] instead of [${model.headSize / 2}]`)
  return Effect.flatMap(Effect.catchTag(stored.read(ropeTensor), "WeightsError", ({ message }) => wrong(message)), (divisors) => {
    const ropeScaling = ropeScalingOf(divisors, model.ropeTheta, model.contextLength)
    if (ropeScaling === undefined) return wrong("no scaling that our decoder computes gives its divisors")
    if (ropeScaling === "none") return Effect.succeed(model)
    return model.ropeScaling === undefined ? Effect.succeed({ ...model, ropeScaling }) : wrong("it stands beside rope.scaling.type")
  })
}

/**
 * Rows of query or key in the order of Hugging Face: the file has each head's first half and second half interleaved, so that row
 * 2i + j of a head in the file is row i + j · headSize / 2 of it.
 */
const parted = (stored: Weights.Weights, headSize: number, isRotated: (name: string) => boolean): Weights.Weights =>
  Weights.make(stored.infos, (name, rows, { shape }) => {
    if (!isRotated(name)) return stored.read(name, rows)
    const { from, to } = rows, columns = Weights.rowLength(shape), first = Math.floor(from / headSize) * headSize, last = Math.min(Math.ceil(to / headSize) * headSize, shape[0]!)
    return Effect.map(stored.read(name, { from: first, to: last }), (values) => {
      const out = new Float32Array((to - from) * columns) // [to − from, columns]
      for (let row = from; row < to; row++) {
        const within = row % headSize, half = headSize / 2, there = row - within + within % half * 2 + Math.floor(within / half) - first
        out.set(values.subarray(there * columns, (there + 1) * columns), (row - from) * columns)
      }
      return out
    })
  })

/** The direction of a shared expert's gate, [1, hidden] of ours, stands in some files as a vector. */
const asRow = (stored: Weights.Weights): Weights.Weights => {
  const isVector = (name: string, shape: ReadonlyArray<number>) => name.endsWith(".ffn_gate_inp_shexp.weight") && shape.length === 1
  if (![...stored.infos].some(([name, { shape }]) => isVector(name, shape))) return stored
  const infos = new Map([...stored.infos].map(([name, info]) => [name, isVector(name, info.shape) ? { ...info, shape: [1, ...info.shape] } : info]))
  return Weights.make(infos, (name, rows) => isVector(name, stored.infos.get(name)!.shape) ? Effect.map(stored.read(name), (values) => rows.from === rows.to ? values.subarray(0, 0) : values) : stored.read(name, rows))
}

const asGgufError = (file: string, { misshapen, missing, unexpected }: TensorMismatch): GgufError => {
  const list = (what: string, names: ReadonlyArray<string>) => names.length === 0 ? [] : [`${names.length} ${what}: ${names.slice(0, 6).join(", ")}${names.length > 6 ? ", …" : ""}`]
  return new GgufError({ file, key: "tensors", problem: [...list("missing", missing), ...list("unexpected", unexpected), ...list("misshapen", misshapen)].join("; "), remedy: "fetch or convert the file again; a tensor that this architecture should have needs a row in ggufArchitectures.ts" })
}

/**
 * The model of a file. Options: `families`, the table of known ones; `tokenizer`, instead of the file's. Fails: GgufError naming file, key or tensors, and remedy;
 * ConfigError and UnknownFamily as for a config.json; TokenizerError.
 */
export const ggufModel = (path: string, { families = Family.families, tokenizer: given }: { readonly families?: Family.Table; readonly tokenizer?: Tokenizer.Tokenizer | undefined } = {}): Effect.Effect<GgufModel, GgufError | Family.ConfigError | Family.UnknownFamily | Tokenizer.TokenizerError> =>
  Effect.gen(function*() {
    const { header, weights: stored } = yield* ggufPieces.open(path)
    const [row, config] = yield* Effect.try({ try: () => configOf(path, header), catch: (error) => { if (error instanceof GgufError) return error; throw error } })
    const read = yield* Family.readConfig(path, config, families), model = yield* rescaled(path, header, stored, read), family = Family.find(model.family, families)!
    const layout: Family.Family = { ...family, names: row.names, alternatives: row.alternatives, ...row.packed === undefined ? {} : { packed: row.packed }, recomputed: [ropeTensor] }
    const isRotated = (name: string) => row.interleaved && /^layers\.\d+\.attention\.(?:query|key)$/.test(Family.toCanonical(layout, name) ?? "")
    const weights = yield* Effect.catchTag(bindTensors(path, layout, model, parted(asRow(stored), model.headSize, isRotated)), "TensorMismatch", (mismatch) => Effect.fail(asGgufError(path, mismatch)))
    return { model, weights, tokenizer: given ?? (yield* ggufTokenizer(path, header)) }
  })
