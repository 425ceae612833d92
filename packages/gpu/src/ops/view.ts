/** The same numbers under another shape: free. Shapes: x [...] → shape, with as many elements. */
import * as Gradient from "../Gradient.ts"
import * as Recording from "../Recording.ts"
import { size, type Tensor } from "../Tensor.ts"

export const view = (x: Tensor, shape: ReadonlyArray<number>): Tensor => {
  if (size(shape) !== size(x.shape)) throw new Error(`view: x [${x.shape.join(", ")}] has ${size(x.shape)} elements, shape [${shape.join(", ")}] has ${size(shape)}`)
  if (x.parts !== undefined) throw Recording.inParts("view", x)
  const out: Tensor = { shape, dtype: x.dtype, slot: x.slot }
  return Gradient.derive(out, [x], (gradient) => [view(gradient, x.shape)])
}
