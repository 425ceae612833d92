/**
 * Each contiguous group of rows through its own linear layer: out[row] = alpha · x[row] weight[group]ᵀ.
 *
 * Shapes: x [slots, in], weight [groups, out, in] f32 or stored, offsets u32 [groups + 1] (group g owns rows offsets[g] … offsets[g + 1] − 1, every row owned) → [slots, out]. A sharded weight as in `linear`.
 */
import * as Gradient from "../Gradient.ts"
import { groupedMatmulNN } from "../kernels/groupedMatmulNN.ts"
import { groupedMatmulNT } from "../kernels/groupedMatmulNT.ts"
import { groupedMatmulTN } from "../kernels/groupedMatmulTN.ts"
import { storedGroupedMatmulNN } from "../kernels/storedGroupedMatmulNN.ts"
import { storedGroupedMatmulNT } from "../kernels/storedGroupedMatmulNT.ts"
import * as Recording from "../Recording.ts"
import { isStorage } from "../Storage.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { refuseTraining, storedAs } from "./weightProducts.ts"

export const groupedLinear = (x: Tensor, weight: Tensor, offsets: Tensor, alpha = 1): Tensor => {
  expectShape("groupedLinear", "x", x, [undefined, undefined])
  const [slots, inner] = x.shape as readonly [number, number]
  expectShape("groupedLinear", "weight", weight, [undefined, undefined, inner], "weight")
  const [groups, columns] = weight.shape as readonly [number, number, number]
  expectShape("groupedLinear", "offsets", offsets, [groups + 1], "u32")
  const out = Recording.scratch([slots, columns])
  const isStored = isStorage(weight.dtype), forward = { rows: slots, columns, inner, groups, alpha }, backward = { rows: slots, columns: inner, inner: columns, groups, alpha }
  if (isStored) Recording.step(storedGroupedMatmulNT, { x, weight, offsets, out }, { ...forward, ...storedAs(weight) })
  else Recording.step(groupedMatmulNT, { x, weight, offsets, out }, forward)
  if (weight.slot.sharded) return Recording.joinReplicas(out)
  return Gradient.derive(out, [x, weight], (gradient, needs) => {
    if (isStored && needs[1]) refuseTraining("groupedLinear", weight)
    const back = needs[0] ? Recording.scratch(x.shape) : undefined, weightBack = needs[1] ? Recording.scratch(weight.shape) : undefined
    if (back !== undefined && isStored) Recording.step(storedGroupedMatmulNN, { x: gradient, weight, offsets, out: back }, { ...backward, ...storedAs(weight) })
    else if (back !== undefined) Recording.step(groupedMatmulNN, { x: gradient, weight, offsets, out: back }, backward)
    if (weightBack !== undefined) Recording.step(groupedMatmulTN, { a: gradient, b: x, offsets, out: weightBack }, { total: slots, rows: columns, columns: inner, groups, alpha })
    return [back, weightBack]
  })
}
