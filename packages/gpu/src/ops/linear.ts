/** x weightᵀ + bias. Shapes: x [rows, in], weight [out, in], bias [out] → [rows, out]. */
import { expectShape, type Tensor } from "../Tensor.ts"
import { addRow } from "./addRow.ts"
import { matmul } from "./matmul.ts"

export const linear = (x: Tensor, weight: Tensor, bias?: Tensor): Tensor => {
  expectShape("linear", "x", x, [undefined, undefined])
  expectShape("linear", "weight", weight, [undefined, x.shape[1]])
  const product = matmul(x, weight, { transposeB: true })
  if (bias === undefined) return product
  expectShape("linear", "bias", bias, [weight.shape[0]])
  return addRow(product, bias)
}
