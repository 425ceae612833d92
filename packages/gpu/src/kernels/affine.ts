/** out = scale · x + shift. */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const affine = make("affine", {
  bindings: { x: reads, out: writes },
  params: { count: "u32", scale: "f32", shift: "f32" },
  flops: ({ count }) => 2 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./affine.wgsl", import.meta.url),
  run: ({ out, x }, { count, scale, shift }) => { for (let i = 0; i < count; i++) out[i] = scale * x[i]! + shift }
})
