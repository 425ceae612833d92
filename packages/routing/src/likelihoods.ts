/**
 * How well each expert, running alone, predicted the text so far: the logits of likelihood routers (Branch-Train-Merge's ensemble with a
 * prior over the prefix; Li et al. 2022, reconstructed for routing inside one model).
 *
 * At position t the text so far is ids[0 … t]; the token to be predicted, ids[t + 1], is never looked at. Each token counts decay^(its
 * distance). No gradient: experts are not trained through their own election.
 * Shapes: ids u32 [rows], rows = batch · tokens → [rows, experts]; the first position of each sequence has zeros.
 */
import { Op, type Tensor } from "@switchyard/gpu"

export interface LikelihoodOptions {
  readonly batch: number
  readonly tokens: number
  readonly experts: number
  readonly decay: number
  readonly temperature: number
  /** The logits [rows, vocabulary] of the model with this expert alone. */
  readonly predict: (expert: number) => Tensor.Tensor
}

export const likelihoods = (ids: Tensor.Tensor, options: LikelihoodOptions): Tensor.Tensor => {
  const { batch, decay, experts, predict, temperature, tokens } = options, rows = batch * tokens
  const columns = Array.from({ length: experts }, (_, expert) => {
    const logits = Op.stopGradient(predict(expert)) // [rows, vocabulary]
    if (tokens === 1) return Op.affine(Op.sliceColumns(logits, 0, 1), { scale: 0 })
    // row t gets the prediction made at t − 1, whose target is ids[t]; the first row of a sequence is cleared below
    const earlier = Op.joinRows([Op.sliceRows(logits, 0, 1), Op.sliceRows(logits, 0, rows - 1)]) // [rows, vocabulary]
    const losses = Op.view(Op.crossEntropy(earlier, ids), [batch, tokens])
    const first = Op.affine(Op.sliceColumns(losses, 0, 1), { scale: 0 }) // [batch, 1]
    const known = Op.joinColumns([first, Op.sliceColumns(losses, 1, tokens - 1)]) // [batch, tokens]
    const sums = Op.prefixPool(Op.view(known, [batch, tokens, 1]), { decay }) // [batch, tokens, 1]
    return Op.affine(Op.view(sums, [rows, 1]), { scale: -1 / temperature })
  })
  return Op.stopGradient(experts === 1 ? columns[0]! : Op.joinColumns(columns)) // [rows, experts]
}
