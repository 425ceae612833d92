/**
 * How well each expert, running alone, predicted the text so far: the logits of likelihood routers (Branch-Train-Merge's ensemble with a
 * prior over the prefix; Li et al. 2022, reconstructed for routing inside one model).
 *
 * At position t the text so far is ids[0 … t]; the token to be predicted, ids[t + 1], is never looked at. Each token counts decay^(its
 * distance). With a `trial` every expert is run over the first `trial` tokens of a sequence only; what is known at the last of them is what
 * all later tokens are routed by, and no loser is run for them. No gradient: experts are not trained through their own election.
 * Shapes: ids u32 [rows], rows = batch · tokens → [rows, experts]; the first position of each sequence has zeros.
 */
import { Op, type Tensor } from "@switchyard/gpu"

/** The beginning of every sequence: ids and positions u32 [batch · tokens]. */
export interface Part { readonly ids: Tensor.Tensor; readonly positions: Tensor.Tensor; readonly tokens: number }
export interface LikelihoodOptions {
  readonly batch: number
  readonly tokens: number
  readonly experts: number
  readonly decay: number
  readonly temperature: number
  /** Of the first `trial` tokens of each sequence; all when left out. */
  readonly trial?: number
  /** u32 [rows] */
  readonly positions: Tensor.Tensor
  /** The logits [batch · tokens of the part, vocabulary] of the model with this expert alone. */
  readonly predict: (expert: number, part: Part) => Tensor.Tensor
}

export const likelihoods = (ids: Tensor.Tensor, options: LikelihoodOptions): Tensor.Tensor => {
  const { batch, decay, experts, positions, predict, temperature, tokens: all } = options
  const tokens = Math.min(options.trial ?? all, all), rows = batch * tokens, beginning = (of: Tensor.Tensor) => Op.view(Op.sliceIndices(Op.view(of, [batch, all]), 0, tokens), [rows])
  const part: Part = tokens === all ? { ids, positions, tokens } : { ids: beginning(ids), positions: beginning(positions), tokens }
  const columns = Array.from({ length: experts }, (_, expert) => {
    const logits = Op.stopGradient(predict(expert, part)) // [rows, vocabulary]
    if (tokens === 1) return after(Op.affine(Op.sliceColumns(logits, 0, 1), { scale: 0 }), ids, options)
    // row t gets the prediction made at t − 1, whose target is ids[t]; the first row of a sequence is cleared below
    const earlier = Op.joinRows([Op.sliceRows(logits, 0, 1), Op.sliceRows(logits, 0, rows - 1)]) // [rows, vocabulary]
    const losses = Op.view(Op.crossEntropy(earlier, part.ids), [batch, tokens])
    const first = Op.affine(Op.sliceColumns(losses, 0, 1), { scale: 0 }) // [batch, 1]
    const known = Op.joinColumns([first, Op.sliceColumns(losses, 1, tokens - 1)]) // [batch, tokens]
    const sums = Op.prefixPool(Op.view(known, [batch, tokens, 1]), { decay }) // [batch, tokens, 1]
    return after(Op.affine(Op.view(sums, [batch, tokens]), { scale: -1 / temperature }), ids, options)
  })
  return Op.stopGradient(experts === 1 ? columns[0]! : Op.joinColumns(columns)) // [rows, experts]
}

/** One expert's column: what is known along the beginning, then its last for the rest. Shapes: known [batch, tokens of the beginning] → [batch · tokens, 1]. */
const after = (known: Tensor.Tensor, ids: Tensor.Tensor, { batch, tokens }: LikelihoodOptions): Tensor.Tensor => {
  const beginning = known.shape[1]!, rest = tokens - beginning
  if (rest === 0) return Op.view(known, [batch * tokens, 1])
  const one = Op.affine(Op.view(Op.sliceColumns(known, 0, 1), [batch, 1]), { scale: 0, shift: 1 }) // [batch, 1]
  const ones = Op.view(Op.sliceRows(Op.gatherRows(Op.sliceRows(one, 0, 1), ids, 2 ** 31), 0, batch * rest), [batch, rest]) // a one for every id
  const tail = Op.scaleRows(ones, Op.view(Op.sliceColumns(known, beginning - 1, 1), [batch])) // [batch, rest]
  return Op.view(Op.joinColumns([known, tail]), [batch * tokens, 1])
}
