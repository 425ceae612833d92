/** What a row of `ggufArchitectures.ts` may say, and the names of tensors that most of them share. llama.cpp's words stay in these files. */
import type { Family } from "./families.ts"
import type { Value } from "./GgufHeader.ts"
import type { Plain } from "./StrictJson.ts"

/** A file's metadata being read. Keys are those after the architecture's name and a dot. */
export interface Reading {
  /** The keys of config.json so far. */
  readonly config: Readonly<Record<string, Plain>>
  readonly value: (key: string) => Value | undefined
  /** A positive number, as it was meant in decimals; undefined where the key is missing. */
  readonly number: (key: string) => number | undefined
  readonly fail: (key: string, problem: string, remedy: string) => never
}

export interface Architecture {
  /** `general.architecture` */
  readonly name: string
  /** The family of a file without experts, and of one with them. */
  readonly dense?: string
  readonly mixture?: string
  /** Rows of query and key are stored with the two halves of every head interleaved, as the first Llama rotated them. */
  readonly interleaved: boolean
  readonly names: Family["names"]
  readonly alternatives: Family["alternatives"]
  /** Key, after the architecture's name and a dot → key of config.json. */
  readonly keys: Readonly<Record<string, string>>
  /** Keys whose value is already told by another; it must be that one's. */
  readonly repeated: Readonly<Record<string, string>>
  /** Several tensors of ours in one, rows after rows. */
  readonly packed?: Family["packed"]
  /** The key of config.json for the part of a head that rotates, where `rope.dimension_count` says it in numbers. */
  readonly rotated?: string
  /** What every file of the architecture means without saying it, as keys of config.json. */
  readonly meant?: Readonly<Record<string, Plain>>
  /** Further keys that are understood, and the keys of config.json that follow from them and from what was read so far. */
  readonly further?: { readonly keys: ReadonlyArray<string>; readonly config: (reading: Reading) => Readonly<Record<string, Plain>> }
  /** What the architecture's yarn says beyond factor, original context and turns, as keys of config.json's `rope_scaling`. */
  readonly yarn?: (reading: Reading) => Readonly<Record<string, Plain>>
  /** Gains of norms are stored with one added. */
  readonly raised?: true
}

export const decoder: Family["names"] = [
  ["embedding", "token_embd.weight"],
  ["norm", "output_norm.weight"],
  ["head", "output.weight"],
  ["layers.{l}.attention.norm", "blk.{l}.attn_norm.weight"],
  ["layers.{l}.attention.query", "blk.{l}.attn_q.weight"],
  ["layers.{l}.attention.key", "blk.{l}.attn_k.weight"],
  ["layers.{l}.attention.value", "blk.{l}.attn_v.weight"],
  ["layers.{l}.attention.output", "blk.{l}.attn_output.weight"],
  ["layers.{l}.feedForward.norm", "blk.{l}.ffn_norm.weight"],
  ["layers.{l}.feedForward.gate", "blk.{l}.ffn_gate.weight"],
  ["layers.{l}.feedForward.up", "blk.{l}.ffn_up.weight"],
  ["layers.{l}.feedForward.down", "blk.{l}.ffn_down.weight"]
]
/** The first files of Mixtral held one tensor for each expert. */
export const experts: Family["names"] = [
  ["layers.{l}.router.weight", "blk.{l}.ffn_gate_inp.weight"],
  ["layers.{l}.experts.{e}.gate", "blk.{l}.ffn_gate.{e}.weight"],
  ["layers.{l}.experts.{e}.up", "blk.{l}.ffn_up.{e}.weight"],
  ["layers.{l}.experts.{e}.down", "blk.{l}.ffn_down.{e}.weight"]
]
/** All experts of a layer in one tensor, [experts, out, in]. */
export const stacked: Family["alternatives"] = [
  { canonical: "layers.{l}.experts.{e}.gate", file: "blk.{l}.ffn_gate_exps.weight", part: 0, parts: 1 },
  { canonical: "layers.{l}.experts.{e}.up", file: "blk.{l}.ffn_up_exps.weight", part: 0, parts: 1 },
  { canonical: "layers.{l}.experts.{e}.down", file: "blk.{l}.ffn_down_exps.weight", part: 0, parts: 1 }
]
/** Gate and up in one, [experts, gate's rows and then up's, in], where the converter was asked for it. */
export const fusedFile = "blk.{l}.ffn_gate_up_exps.weight"
export const fused: Family["alternatives"] = [
  { canonical: "layers.{l}.experts.{e}.gate", file: fusedFile, part: 0, parts: 2 },
  { canonical: "layers.{l}.experts.{e}.up", file: fusedFile, part: 1, parts: 2 }
]
export const biases: Family["names"] = [
  ["layers.{l}.attention.queryBias", "blk.{l}.attn_q.bias"],
  ["layers.{l}.attention.keyBias", "blk.{l}.attn_k.bias"],
  ["layers.{l}.attention.valueBias", "blk.{l}.attn_v.bias"]
]
export const norms: Family["names"] = [
  ["layers.{l}.attention.queryNorm", "blk.{l}.attn_q_norm.weight"],
  ["layers.{l}.attention.keyNorm", "blk.{l}.attn_k_norm.weight"]
]
export const sharedExpert: Family["names"] = [
  ["layers.{l}.shared.gate", "blk.{l}.ffn_gate_shexp.weight"],
  ["layers.{l}.shared.up", "blk.{l}.ffn_up_shexp.weight"],
  ["layers.{l}.shared.down", "blk.{l}.ffn_down_shexp.weight"]
]

/** The keys of every decoder without experts. */
export const denseKeys: Architecture["keys"] = {
  "context_length": "max_position_embeddings", "embedding_length": "hidden_size", "block_count": "num_hidden_layers", "feed_forward_length": "intermediate_size",
  "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads", "attention.key_length": "head_dim",
  "attention.layer_norm_rms_epsilon": "rms_norm_eps", "rope.freq_base": "rope_theta"
}
export const repeated: Architecture["repeated"] = { "vocab_size": "vocab_size", "rope.dimension_count": "head_dim", "attention.value_length": "head_dim" }

/**
 * Which layers see the last tokens only, where a file says it: a number p, of which every p-th layer sees everything (1: all do, 0: none does), or true and
 * false for each layer. The key is `attention.sliding_window_pattern`.
 */
export const windows = ({ config, fail, value }: Reading): Readonly<Record<string, Plain>> => {
  const key = "attention.sliding_window_pattern", given = value(key), layers = config["num_hidden_layers"] as number
  if (given === undefined) return {}
  const list = ArrayBuffer.isView(given) ? Array.from(given as Uint8Array, Number) : undefined
  if (list !== undefined ? list.length !== layers : !(typeof given === "number" && Number.isSafeInteger(given) && given >= 0)) fail(key, `it is neither a whole number nor a list for each of ${layers} layers`, "convert the model again")
  const sees = (layer: number) => list === undefined ? given !== 0 && (layer + 1) % (given as number) === 0 : list[layer] === 0
  return { layer_types: Array.from({ length: layers }, (_, layer) => sees(layer) ? "full_attention" : "sliding_attention") }
}
