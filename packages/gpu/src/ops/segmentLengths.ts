/** How many places each key has: offsets[bin + 1] − offsets[bin], as real numbers. Shapes: offsets u32 [bins + 1] → [bins]. No gradient. */
import { segmentLengths as kernel } from "../kernels/segmentLengths.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const segmentLengths = (offsets: Tensor): Tensor => {
  expectShape("segmentLengths", "offsets", offsets, [undefined], "u32")
  const bins = offsets.shape[0]! - 1
  const out = Recording.scratch([bins])
  Recording.step(kernel, { offsets, out }, { count: bins })
  return out
}
