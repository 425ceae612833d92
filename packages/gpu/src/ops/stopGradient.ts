/** The same tensor, through which no gradient flows back. */
import type { Tensor } from "../Tensor.ts"

export const stopGradient = (x: Tensor): Tensor => ({ ...x, ...x.parts === undefined ? {} : { parts: x.parts.map(stopGradient) } })
