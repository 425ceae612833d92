/**
 * x weightᵀ + bias. Shapes: x [rows, in], weight [out, in] f32 or stored (then without a gradient of its own), bias [out] → [rows, out].
 *
 * Of a sharded weight each replica holds some of the outputs: it computes those for the same rows, and they are put side by side (bits as without
 * sharding; no gradient). Options: `join` false leaves them apart, [rows, out of this replica]: for what treats every number alike and is joined after it.
 */
import * as Gradient from "../Gradient.ts"
import * as Recording from "../Recording.ts"
import { isStorage } from "../Storage.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { addRow } from "./addRow.ts"
import { joinColumns } from "./joinColumns.ts"
import { matmul } from "./matmul.ts"
import { refuseTraining, times, timesTransposed } from "./weightProducts.ts"

export const linear = (x: Tensor, weight: Tensor, bias?: Tensor, { join = true }: { readonly join?: boolean } = {}): Tensor => {
  expectShape("linear", "x", x, [undefined, undefined])
  expectShape("linear", "weight", weight, [undefined, x.shape[1]], "weight")
  const own = weight.parts !== undefined ? joinColumns(weight.parts.map((part) => linear(x, part))) : isStorage(weight.dtype) ? stored(x, weight) : matmul(x, weight, { transposeB: true })
  const product = weight.slot.sharded && join ? Recording.joinReplicas(own) : own
  if (bias === undefined) return product
  expectShape("linear", "bias", bias, [product.shape[1]])
  return addRow(product, bias)
}

const stored = (x: Tensor, weight: Tensor): Tensor => Gradient.derive(timesTransposed(x, weight), [x, weight], (gradient, needs) =>
  [needs[0] ? times(gradient, weight) : undefined, needs[1] ? refuseTraining("linear", weight) : undefined])
