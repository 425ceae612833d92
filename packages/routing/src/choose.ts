/**
 * The experts that a selection keeps for each row: fixed ones first, in their order, then the best of the others, ties to the lowest number.
 *
 * Shapes: logits [rows, experts] → u32 [rows, active]. A choice has no gradient.
 */
import { Op, type Tensor } from "@switchyard/gpu"
import { type Groups, kept, type Select } from "./Router.ts"

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

/**
 * What experts are ranked by, those outside a row's best groups far below all others. Ties between groups go to the lowest.
 *
 * Shapes: ranks [rows, experts] → the same; experts of a group stand side by side. No gradient.
 */
export const withinGroups = (ranks: Tensor.Tensor, { by, count, keep }: Groups): Tensor.Tensor => {
  const [rows, experts] = ranks.shape as readonly [number, number], each = experts / count, ranked = Op.stopGradient(ranks)
  const members = Op.view(ranked, [rows * count, each]), best = Op.gatherColumns(members, Op.topK(members, by === "max" ? 1 : 2)) // [rows · groups, 1 or 2]
  const kept = Op.topK(Op.view(Op.sumColumns(best), [rows, count]), keep) // u32 [rows, keep]
  const ones = Op.affine(Op.sliceColumns(ranked, 0, keep), { scale: 0, shift: 1 }) // [rows, keep]
  const open = Op.view(Op.scatterColumns(ones, kept, count), [rows * count, 1]) // one where the group is kept
  const mask = Op.view(each === 1 ? open : Op.joinColumns(Array.from({ length: each }, () => open)), [rows, experts])
  return Op.add(Op.multiply(ranked, mask), Op.affine(mask, { scale: lift, shift: -lift })) // exact: x + 0, or 0 − lift
}
