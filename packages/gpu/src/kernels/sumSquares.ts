/** out[at] = Σ x²: one number of a vector of norms. */
import { make, reads, updates } from "../Kernel.ts"

export const sumSquares = make("sumSquares", {
  bindings: { x: reads, out: updates },
  params: { count: "u32", at: "u32" },
  flops: ({ count }) => 2 * count,
  dispatch: () => [1, 1, 1],
  source: new URL("./sumSquares.wgsl", import.meta.url),
  run: ({ out, x }, { at, count }) => {
    let sum = 0
    for (let i = 0; i < count; i++) sum += x[i]! * x[i]!
    out[at] = sum
  }
})
