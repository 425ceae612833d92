/**
 * The two products that a weight takes part in: with rows going forward, with gradients coming back. A weight that lies on the device in another
 * format is widened inside them. Steps only, without gradients: the ops that use them give those.
 */
import type { Kernel } from "../Kernel.ts"
import { matmulNN } from "../kernels/matmulNN.ts"
import { matmulNT } from "../kernels/matmulNT.ts"
import { storedMatmulNN } from "../kernels/storedMatmulNN.ts"
import { storedMatmulNT } from "../kernels/storedMatmulNT.ts"
import * as Recording from "../Recording.ts"
import { formatOf, isStorage } from "../Storage.ts"
import { size, type Tensor } from "../Tensor.ts"

/** How kernels are told of a stored tensor: how many numbers, in which format. */
export const storedAs = (weight: Tensor): { readonly total: number; readonly format: number } => {
  if (!isStorage(weight.dtype)) throw new Error(`${weight.slot.label || "weight"} is ${weight.dtype}, not stored`)
  return { total: size(weight.shape), format: formatOf(weight.dtype) }
}
/** Refuses to train what is stored. */
export const refuseTraining = (op: string, weight: Tensor): never => {
  throw new Error(`${op}: ${weight.slot.label || "weight"} is stored as ${weight.dtype} and has no gradient: what is trained must be f32`)
}

const single = { batch: 1, strideA: 0, strideB: 0, alpha: 1, accumulate: 0 }
const product = (dense: typeof matmulNT, stored: Kernel<(typeof storedMatmulNT)["bindings"], (typeof storedMatmulNT)["params"]>) => (x: Tensor, weight: Tensor, columns: number): Tensor => {
  const [rows, inner] = x.shape as readonly [number, number], out = Recording.scratch([rows, columns])
  if (isStorage(weight.dtype)) Recording.step(stored, { x, weight, out }, { rows, columns, inner, ...storedAs(weight) })
  else Recording.step(dense, { a: x, b: weight, out }, { ...single, rows, columns, inner })
  return out
}
/** x weightᵀ. Shapes: x [rows, in], weight [out, in] → [rows, out]. */
export const timesTransposed = (x: Tensor, weight: Tensor): Tensor => product(matmulNT, storedMatmulNT)(x, weight, weight.shape[0]!)
/** gradient weight. Shapes: gradient [rows, out], weight [out, in] → [rows, in]. */
export const times = (gradient: Tensor, weight: Tensor): Tensor => product(matmulNN, storedMatmulNN)(gradient, weight, weight.shape[1]!)
