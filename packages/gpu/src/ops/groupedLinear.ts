/**
 * Each contiguous group of rows through its own linear layer: out[row] = alpha · x[row] weight[group]ᵀ.
 *
 * Shapes: x [slots, in], weight [groups, out, in] f32 or stored, offsets u32 [groups + 1] (group g owns rows offsets[g] … offsets[g + 1] − 1, every row owned) → [slots, out]. A sharded weight, and `join`, as in `linear`.
 */
import * as Gradient from "../Gradient.ts"
import { groupedMatmulNN } from "../kernels/groupedMatmulNN.ts"
import { groupedMatmulNT } from "../kernels/groupedMatmulNT.ts"
import { groupedMatmulTN } from "../kernels/groupedMatmulTN.ts"
import { storedGroupedMatmulNN } from "../kernels/storedGroupedMatmulNN.ts"
import { storedGroupedMatmulNT } from "../kernels/storedGroupedMatmulNT.ts"
import * as Recording from "../Recording.ts"
import { isStorage } from "../Storage.ts"
import { expectShape, partsOf, type Tensor } from "../Tensor.ts"
import { idsWithin } from "./idsWithin.ts"
import { refuseTraining, storedAs } from "./weightProducts.ts"

export const groupedLinear = (x: Tensor, weight: Tensor, offsets: Tensor, alpha = 1, { join = true }: { readonly join?: boolean } = {}): Tensor => {
  expectShape("groupedLinear", "x", x, [undefined, undefined])
  const [slots, inner] = x.shape as readonly [number, number]
  expectShape("groupedLinear", "weight", weight, [undefined, undefined, inner], "weight")
  const [groups, columns] = weight.shape as readonly [number, number, number]
  expectShape("groupedLinear", "offsets", offsets, [groups + 1], "u32")
  const out = Recording.scratch([slots, columns]), shares = sharesOf(weight, offsets, groups)
  const forward = { rows: slots, columns, inner, alpha }, backward = { rows: slots, columns: inner, inner: columns, alpha }
  for (const { count, part, share, starts } of shares) {
    if (isStorage(part.dtype)) Recording.step(storedGroupedMatmulNT, { x, weight: part, offsets: starts, out }, { ...forward, groups: count, ...storedAs(part) }, share)
    else Recording.step(groupedMatmulNT, { x, weight: part, offsets: starts, out }, { ...forward, groups: count }, share)
  }
  if (weight.slot.sharded) return join ? Recording.joinReplicas(out) : out
  return Gradient.derive(out, [x, ...shares.map(({ part }) => part)], (gradient, [needsX = false, ...needs]) => {
    const back = needsX ? Recording.scratch(x.shape) : undefined
    if (back !== undefined) for (const { count, part, share, starts } of shares) {
      if (isStorage(part.dtype)) Recording.step(storedGroupedMatmulNN, { x: gradient, weight: part, offsets: starts, out: back }, { ...backward, groups: count, ...storedAs(part) }, share)
      else Recording.step(groupedMatmulNN, { x: gradient, weight: part, offsets: starts, out: back }, { ...backward, groups: count }, share)
    }
    return [back, ...shares.map(({ count, part, share, starts }, at) => {
      if (!needs[at]) return undefined
      if (isStorage(part.dtype)) return refuseTraining("groupedLinear", part)
      const weightBack = Recording.scratch(part.shape)
      Recording.step(groupedMatmulTN, { a: gradient, b: x, offsets: starts, out: weightBack }, { total: slots, rows: columns, columns: inner, groups: count, alpha }, share)
      return weightBack
    })]
  })
}

/** The parts that the weights lie in: the groups of each, and where their rows begin. Each part's steps write the rows of its own groups. */
const sharesOf = (weight: Tensor, offsets: Tensor, groups: number) => {
  let first = 0
  return partsOf(weight).map((part) => {
    const count = part.shape[0]!, starts = weight.parts === undefined ? offsets : idsWithin(offsets, { start: first, count: count + 1 })
    first += count
    return { part, count, starts, share: count / groups }
  })
}
