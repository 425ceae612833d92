/**
 * What a layer's router decided for every row of the batch, in memory: a structure of tensors. A slot is one visit of one row to one
 * expert; slots are numbered row · active + rank, and `order` lists them by (expert, row), so that each expert's rows lie together.
 */
import type { Tensor } from "@switchyard/gpu"

export interface Decision {
  readonly layer: number
  /** How many experts each row visits. */
  readonly active: number
  /** How it came about where the layer did not decide itself: taken over from the layer that did, or told by the router's description. */
  readonly made?: "carried" | "told"
  /** What made probabilities of the logits where it was not a softmax. */
  readonly activation?: "sigmoid"
  /** [rows, width]: what was scored, states pooled as the router's unit says; left out where no state was. */
  readonly features?: Tensor.Tensor
  /** [rows, experts] */
  readonly logits: Tensor.Tensor
  /** [rows, experts], the softmax of the logits; of sigmoids, each divided by their sum. */
  readonly probabilities: Tensor.Tensor
  /** u32 [rows, active]: fixed experts in their order, then the best first, ties to the lowest number. */
  readonly experts: Tensor.Tensor
  /** [rows, active], zero where dropped. */
  readonly weights: Tensor.Tensor
  /** [rows, active]: one where the expert had no room, else zero; only of a router with a capacity. Dropped visits keep their slots. */
  readonly dropped?: Tensor.Tensor
  /** u32 [slots]: the slots by expert. */
  readonly order: Tensor.Tensor
  /** u32 [experts + 1]: expert e has places offsets[e] … offsets[e + 1] − 1 of `order`. */
  readonly offsets: Tensor.Tensor
  /** u32 [slots]: where each slot stands in `order`. */
  readonly places: Tensor.Tensor
  /** [experts]: how many rows ask for each, dropped or not. */
  readonly load: Tensor.Tensor
}
