/**
 * Model families as data: how each names its tensors and its config.json keys. A new family is a new row; the code that reads rows is in
 * `Family.ts`. Hugging Face's words stay in this file.
 *
 * In patterns, {l} stands for a layer's number and {e} for an expert's. Names as of transformers 4, which every tool reads; what
 * transformers 5 writes instead (fused experts, `rope_parameters`, `dtype`) is read as well.
 */
import type { Plain } from "./StrictJson.ts"

/** A number of the model: its keys in config.json, the first of which is written; and what a missing key means: a number, another number, or the quotient of two. */
export interface Size {
  readonly field: Field
  readonly keys: readonly [string, ...Array<string>]
  readonly missing?: number | Field | readonly [Field, Field]
}
export type Field =
  | "vocabulary" | "hidden" | "layers" | "heads" | "keyValueHeads" | "headSize" | "contextLength" | "normEpsilon" | "ropeTheta" | "inner" | "experts" | "active"

/** Another place where a tensor may stand: whole, or as one of several equal blocks of rows of one expert's slice in [experts, parts · rows, columns]. */
export interface Alternative {
  readonly canonical: string
  readonly file: string
  readonly part?: number
  readonly parts?: number
}

export interface Family {
  /** `model_type` */
  readonly name: string
  readonly architecture: string
  readonly feedForward: "dense" | "mixture"
  /** canonical pattern → file pattern */
  readonly names: ReadonlyArray<readonly [string, string]>
  readonly alternatives: ReadonlyArray<Alternative>
  /** Tensors that old files carry although they follow from the config. */
  readonly recomputed: ReadonlyArray<string>
  readonly sizes: ReadonlyArray<Size>
  /** Keys that change what the model computes, with the only value that our decoder computes; a missing key means that value. */
  readonly fixed: Readonly<Record<string, Plain>>
  /** What keeps the family from expressing a router, one reason each; and the router that a file of the family has. */
  readonly router?: {
    readonly obstacles: (router: Plain, active: number, experts: number) => ReadonlyArray<string>
    readonly make: (active: number) => Plain
    readonly tensors: (experts: number, hidden: number) => Readonly<Record<string, ReadonlyArray<number>>>
  }
}

const attention: Family["names"] = [
  ["embedding", "model.embed_tokens.weight"],
  ["norm", "model.norm.weight"],
  ["head", "lm_head.weight"],
  ["layers.{l}.attention.norm", "model.layers.{l}.input_layernorm.weight"],
  ["layers.{l}.attention.query", "model.layers.{l}.self_attn.q_proj.weight"],
  ["layers.{l}.attention.key", "model.layers.{l}.self_attn.k_proj.weight"],
  ["layers.{l}.attention.value", "model.layers.{l}.self_attn.v_proj.weight"],
  ["layers.{l}.attention.output", "model.layers.{l}.self_attn.o_proj.weight"],
  ["layers.{l}.feedForward.norm", "model.layers.{l}.post_attention_layernorm.weight"]
]

const decoder: ReadonlyArray<Size> = [
  { field: "vocabulary", keys: ["vocab_size"] },
  { field: "hidden", keys: ["hidden_size"] },
  { field: "layers", keys: ["num_hidden_layers"] },
  { field: "heads", keys: ["num_attention_heads"] },
  { field: "headSize", keys: ["head_dim"], missing: ["hidden", "heads"] },
  { field: "inner", keys: ["intermediate_size"] }
]

const llama: Family = {
  name: "llama",
  architecture: "LlamaForCausalLM",
  feedForward: "dense",
  names: [
    ...attention,
    ["layers.{l}.feedForward.gate", "model.layers.{l}.mlp.gate_proj.weight"],
    ["layers.{l}.feedForward.up", "model.layers.{l}.mlp.up_proj.weight"],
    ["layers.{l}.feedForward.down", "model.layers.{l}.mlp.down_proj.weight"]
  ],
  alternatives: [],
  recomputed: ["model.layers.{l}.self_attn.rotary_emb.inv_freq"],
  sizes: [
    ...decoder,
    { field: "keyValueHeads", keys: ["num_key_value_heads"], missing: "heads" },
    { field: "contextLength", keys: ["max_position_embeddings"], missing: 2048 },
    { field: "normEpsilon", keys: ["rms_norm_eps"], missing: 1e-6 },
    { field: "ropeTheta", keys: ["rope_theta"], missing: 10_000 }
  ],
  fixed: { hidden_act: "silu", attention_bias: false, mlp_bias: false, partial_rotary_factor: 1 }
}

/**
 * What keeps Mixtral's layer from computing a router: it takes the softmax of a linear score of each token, the best k, and weights that sum to one.
 * Keeping all experts is the best k of k. `losses` matter in training only.
 */
const mixtralObstacles = (router: Plain, active: number, experts: number): ReadonlyArray<string> => {
  if (typeof router !== "object" || router === null || Array.isArray(router)) return ["a router that is not an object"]
  const { unit, score, select, weight, capacity, losses: _, ...others } = router as Readonly<Record<string, Plain>>
  const all = same(select, { keep: "all" }) && active === experts
  const fits = {
    unit: unit === undefined || same(unit, { of: "token" }),
    score: same(score, { by: "linear" }),
    select: all || same(select, { keep: "top", active }),
    weight: weight === "softmaxKept" || weight === "renorm" || (weight === "prob" && active === experts),
    capacity: capacity === undefined || capacity === null || capacity === "unlimited"
  }
  return [
    ...Object.entries(fits).filter(([, fit]) => !fit).map(([key]) => `router.${key} = ${JSON.stringify((router as Record<string, Plain>)[key]) ?? "missing"}`),
    ...Object.keys(others).map((key) => `router.${key}`)
  ]
}

const same = (a: Plain | undefined, b: Plain): boolean => {
  if (typeof a !== "object" || a === null || typeof b !== "object" || b === null) return a === b
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same((a as Record<string, Plain>)[key], (b as Record<string, Plain>)[key]!))
}

const mixtral: Family = {
  name: "mixtral",
  architecture: "MixtralForCausalLM",
  feedForward: "mixture",
  names: [
    ...attention,
    ["layers.{l}.router.weight", "model.layers.{l}.block_sparse_moe.gate.weight"],
    ["layers.{l}.experts.{e}.gate", "model.layers.{l}.block_sparse_moe.experts.{e}.w1.weight"],
    ["layers.{l}.experts.{e}.down", "model.layers.{l}.block_sparse_moe.experts.{e}.w2.weight"],
    ["layers.{l}.experts.{e}.up", "model.layers.{l}.block_sparse_moe.experts.{e}.w3.weight"]
  ],
  alternatives: [
    { canonical: "layers.{l}.router.weight", file: "model.layers.{l}.mlp.gate.weight" },
    { canonical: "layers.{l}.experts.{e}.gate", file: "model.layers.{l}.mlp.experts.gate_up_proj", part: 0, parts: 2 },
    { canonical: "layers.{l}.experts.{e}.up", file: "model.layers.{l}.mlp.experts.gate_up_proj", part: 1, parts: 2 },
    { canonical: "layers.{l}.experts.{e}.down", file: "model.layers.{l}.mlp.experts.down_proj", part: 0, parts: 1 }
  ],
  recomputed: ["model.layers.{l}.self_attn.rotary_emb.inv_freq"],
  sizes: [
    ...decoder,
    { field: "keyValueHeads", keys: ["num_key_value_heads"], missing: 8 },
    { field: "contextLength", keys: ["max_position_embeddings"], missing: 131_072 },
    { field: "normEpsilon", keys: ["rms_norm_eps"], missing: 1e-5 },
    { field: "ropeTheta", keys: ["rope_theta"], missing: 1_000_000 },
    { field: "experts", keys: ["num_local_experts", "num_experts"] },
    { field: "active", keys: ["num_experts_per_tok"] }
  ],
  fixed: { hidden_act: "silu", partial_rotary_factor: 1 },
  router: {
    obstacles: mixtralObstacles,
    make: (active) => ({ unit: { of: "token" }, score: { by: "linear" }, select: { keep: "top", active }, weight: "softmaxKept" }),
    tensors: (experts, hidden) => ({ weight: [experts, hidden] })
  }
}

/** Every family of Hugging Face's that is read and written, the simplest first. */
export const families: ReadonlyArray<Family> = [llama, mixtral]

/** `model_type` of our own layout: config.json holds the Model itself, tensors have their canonical names. It expresses everything. */
export const own = "switchyard"
