/** scale · (x aᵀ) bᵀ: a low-rank matrix applied without being formed. Shapes: x [rows, in], a [rank, in], b [out, rank] → [rows, out]. Paper: Hu et al., LoRA, 2021. */
import { expectShape, type Tensor } from "../Tensor.ts"
import { matmul } from "./matmul.ts"

export const lowRank = (x: Tensor, a: Tensor, b: Tensor, scale: number): Tensor => {
  expectShape("lowRank", "x", x, [undefined, undefined])
  expectShape("lowRank", "a", a, [undefined, x.shape[1]])
  expectShape("lowRank", "b", b, [undefined, a.shape[0]])
  const narrow = matmul(x, a, { transposeB: true }) // [rows, rank]
  return matmul(narrow, b, { transposeB: true, alpha: scale }) // [rows, out]
}
