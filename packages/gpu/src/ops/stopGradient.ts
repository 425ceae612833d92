/** The same tensor, through which no gradient flows back. */
import type { Tensor } from "../Tensor.ts"

export const stopGradient = (x: Tensor): Tensor => ({ shape: x.shape, dtype: x.dtype, slot: x.slot })
