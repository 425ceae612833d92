/**
 * The experts that a selection keeps for each row: fixed ones first, in their order, then the best of the others, ties to the lowest number.
 *
 * Shapes: logits [rows, experts] → u32 [rows, active]. A choice has no gradient.
 */
import { Op, type Tensor } from "@switchyard/gpu"
import { kept, type Select } from "./Router.ts"

/** Far above any logit, and exact in f32: fixed experts are lifted by multiples of it, and one sort does the rest. */
const lift = 2 ** 100

export const choose = (logits: Tensor.Tensor, select: Select): Tensor.Tensor => {
  const experts = logits.shape[1]!, { first, top } = kept(select, experts)
  const ranked = Op.stopGradient(logits)
  if (first.length === 0) return Op.topK(ranked, top)
  const lifted = Array.from({ length: experts }, (_, expert) => {
    const rank = first.indexOf(expert), column = Op.sliceColumns(ranked, expert, 1) // [rows, 1]
    return rank < 0 ? column : Op.affine(column, { scale: 0, shift: (first.length - rank) * lift })
  })
  return Op.topK(Op.joinColumns(lifted), first.length + top)
}
