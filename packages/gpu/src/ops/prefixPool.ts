/**
 * Causal pooling along tokens: out[t] = Σ over s ≤ t of decay^(t − s) · x[s], over Σ decay^(t − s) when `mean`; s < t only when `exclusive`
 * (out[0] is then 0 and out[t] carries decay^(t − 1 − s)).
 *
 * Shapes: x [batch, tokens, columns] → the same. Options: decay in (0, 1], 1 unless said otherwise.
 */
import * as Gradient from "../Gradient.ts"
import { prefixPool as kernel } from "../kernels/prefixPool.ts"
import { prefixPoolGradient } from "../kernels/prefixPoolGradient.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const prefixPool = (x: Tensor, options: { readonly decay?: number; readonly mean?: boolean; readonly exclusive?: boolean } = {}): Tensor => {
  const { decay = 1, exclusive = false, mean = false } = options
  expectShape("prefixPool", "x", x, [undefined, undefined, undefined])
  if (!(decay > 0 && decay <= 1)) throw new Error(`prefixPool: decay must lie in (0, 1], got ${decay}`)
  const [batch, tokens, columns] = x.shape as readonly [number, number, number]
  const params = { count: batch * columns, tokens, columns, decay, mean: mean ? 1 : 0, exclusive: exclusive ? 1 : 0 }
  const out = Recording.scratch(x.shape)
  Recording.step(kernel, { x, out }, params)
  return Gradient.derive(out, [x], (gradient) => {
    const back = Recording.scratch(x.shape)
    Recording.step(prefixPoolGradient, { gradient, out: back }, params)
    return [back]
  })
}
