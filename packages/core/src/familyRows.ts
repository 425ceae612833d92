/**
 * What a row of `families.ts` may say: names, sizes, and what a family's attention, block and router have beyond the plain ones. Whatever is left out here,
 * the family's files cannot say.
 */
import type { RopeScaling } from "./Model.ts"
import type { Plain } from "./StrictJson.ts"

/**
 * A number of the model: its keys in config.json, the first of which is written; and what a missing key means: a number, another number, the quotient of two, or
 * their sum or product. `zero`: it may be 0; `none`: it may be null, which is 0 here.
 */
export interface Size {
  readonly field: Field
  readonly keys: ReadonlyArray<string>
  readonly missing?: number | Field | readonly [Field, Field] | { readonly sum: readonly [Field, Field] } | { readonly product: readonly [Field, Field] }
  readonly zero?: "zero" | "none"
}
export type Field =
  | "vocabulary" | "hidden" | "layers" | "heads" | "keyValueHeads" | "headSize" | "contextLength" | "normEpsilon" | "ropeTheta" | "inner" | "experts" | "active" | "sharedInner"
  | "shared" | "dense" | "denseInner" | "rotated" | "still" | "valueSize" | "queryRank" | "keyValueRank"

/** Another place where a tensor may stand: whole, or as one of several equal blocks of rows of one expert's slice in [experts, parts · rows, columns]. */
export interface Alternative {
  readonly canonical: string
  readonly file: string
  readonly part?: number
  readonly parts?: number
}

/**
 * A tensor of the files that holds several canonical ones: the rows of the first, then those of the second, …, or by turns (`alternating`). With {e} in the
 * patterns, every expert's block stands along a first axis. `turned`: a block is [columns, rows]. Read and written.
 */
export interface Packed {
  readonly file: string
  readonly of: readonly [string, ...Array<string>]
  readonly alternating?: true
  readonly turned?: true
}

/** A key of config.json that is true or false, and what it means when it is missing. */
export interface Switch { readonly key: string; readonly missing: boolean }
/** A key of config.json with a positive number, and what it means when it is missing; null is none. */
export interface Quantity { readonly key: string; readonly missing: number | null }

/** What a family's attention has besides four matrices and rotary positions; what is left out here, its files cannot say. */
export interface AttentionRow {
  /** On query, key and value: always, or where the switch says so. */
  readonly bias?: true | Switch
  readonly norms?: "head" | "width"
  /**
   * How many tokens back attention sees, if the switch `when` (none: always) is on. Where `layer_types` does not list the layers: those before number `from` see
   * everything, and every `every`-th does.
   */
  readonly window?: Quantity & { readonly when?: Switch; readonly from?: { readonly key: string; readonly missing: number }; readonly every?: { readonly key?: string; readonly missing: number } }
  /** A list of 1 (rotates) and 0 (does not) for each layer; without it, every `interval`-th layer does not. */
  readonly noRope?: { readonly key: string; readonly interval: string; readonly missing: number }
  /** Which part of each head rotates, the first one. */
  readonly share?: { readonly key: string }
  /** Theta of the layers with a window, whose positions are not scaled. */
  readonly localTheta?: Quantity
  /** Scores are divided by the root of this number instead of the head size's. */
  readonly scale?: Quantity
  readonly softCap?: Quantity
  /** Where query, key and value have a bias, the output has one too. */
  readonly outputBias?: true
  readonly sinks?: true
  /** Keys and values from a smaller vector, queries too where `queryRank` is not 0. Whether rotated numbers stand in neighbouring pairs: always, or where the switch says so. */
  readonly latent?: { readonly interleaved: true | Switch; readonly epsilon: number }
}

export interface RouterRow {
  readonly normalised: boolean | Switch
  readonly shared?: { readonly gate: boolean }
  readonly bias?: true
  readonly expertBias?: true
  readonly sigmoid?: true
  readonly groups?: { readonly count: string; readonly keep: string; readonly by: "max" | "top2sum"; readonly method?: { readonly key: string; readonly without: string; readonly within: string } }
  readonly scale?: Quantity
}

export interface Family {
  /** `model_type` */
  readonly name: string
  readonly architecture: string
  readonly feedForward: "dense" | "mixture"
  /** canonical pattern → file pattern */
  readonly names: ReadonlyArray<readonly [string, string]>
  readonly alternatives: ReadonlyArray<Alternative>
  /** Canonical tensors that stand together in the files; they have no row in `names`. */
  readonly packed?: ReadonlyArray<Packed>
  /** Tensors that old files carry although they follow from the config. */
  readonly recomputed: ReadonlyArray<string>
  /** Layers behind the last one that predict further tokens: the key that says how many, and how their tensors' names begin. They are left out, aloud; none are written. */
  readonly further?: { readonly key: string; readonly names: string }
  readonly sizes: ReadonlyArray<Size>
  /** Keys that change what the model computes, with the only value that our decoder computes; a missing key means that value. */
  readonly fixed: Readonly<Record<string, Plain>>
  readonly attention?: AttentionRow
  /** The only kinds of scaled positions, if not all; the files' other words for a kind; the key beside them for the original context; and what saying nothing means. */
  readonly rope?: { readonly kinds?: ReadonlyArray<RopeScaling["kind"]>; readonly words?: Readonly<Record<string, RopeScaling["kind"]>>; readonly context?: string; readonly missing?: RopeScaling }
  /** The feed-forward's inner function; silu when left out. The key that names it belongs in `fixed`. */
  readonly activation?: { readonly kind: "geluTanh" } | { readonly kind: "clampedSilu"; readonly slope: Quantity; readonly limit: Quantity }
  /** A second norm behind attention and feed-forward; norms times 1 + gain; embeddings times √hidden. */
  readonly outputNorms?: true
  readonly shiftedGains?: true
  readonly scaledEmbeddings?: true
  readonly logitCap?: Quantity
  /** What a missing `tie_word_embeddings` means; false when left out. */
  readonly tied?: boolean
  /**
   * A mixture's layer takes the softmax of a linear score of each token, over all experts, and the best k. Their weights are divided by their sum:
   * always, or where the switch says so. `shared`: every token also passes a dense feed-forward (`sharedInner` wide), with a sigmoid gate or without. `bias`: of the
   * scores; `expertBias`: of every expert's products. `sigmoid`: instead of the softmax, with a correction for choosing; `groups`: of how many groups how many are chosen from,
   * where `method`, if there is one, names it; `scale`: what weights are multiplied by. The first `dense` layers have a dense feed-forward, `denseInner` wide.
   */
  readonly router?: RouterRow
}
