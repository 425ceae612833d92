/**
 * Each contiguous group of rows through its own linear layer: out[row] = alpha · x[row] weight[group]ᵀ.
 *
 * Shapes: x [slots, in], weight [groups, out, in], offsets u32 [groups + 1] (group g owns rows offsets[g] … offsets[g + 1] − 1, every row owned) → [slots, out].
 */
import * as Gradient from "../Gradient.ts"
import { groupedMatmulNN } from "../kernels/groupedMatmulNN.ts"
import { groupedMatmulNT } from "../kernels/groupedMatmulNT.ts"
import { groupedMatmulTN } from "../kernels/groupedMatmulTN.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const groupedLinear = (x: Tensor, weight: Tensor, offsets: Tensor, alpha = 1): Tensor => {
  expectShape("groupedLinear", "x", x, [undefined, undefined])
  const [slots, inner] = x.shape as readonly [number, number]
  expectShape("groupedLinear", "weight", weight, [undefined, undefined, inner])
  const [groups, columns] = weight.shape as readonly [number, number, number]
  expectShape("groupedLinear", "offsets", offsets, [groups + 1], "u32")
  const out = Recording.scratch([slots, columns])
  Recording.step(groupedMatmulNT, { x, weight, offsets, out }, { rows: slots, columns, inner, groups, alpha })
  return Gradient.derive(out, [x, weight], (gradient, needs) => {
    const back = needs[0] ? Recording.scratch(x.shape) : undefined, weightBack = needs[1] ? Recording.scratch(weight.shape) : undefined
    if (back !== undefined) Recording.step(groupedMatmulNN, { x: gradient, weight, offsets, out: back }, { rows: slots, columns: inner, inner: columns, groups, alpha })
    if (weightBack !== undefined) Recording.step(groupedMatmulTN, { a: gradient, b: x, offsets, out: weightBack }, { total: slots, rows: columns, columns: inner, groups, alpha })
    return [back, weightBack]
  })
}
