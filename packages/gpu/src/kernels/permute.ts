/** Swaps the middle axes: x [a, b, c, d] → out [a, c, b, d]; count = a · b · c · d. */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const permute = make("permute", {
  bindings: { x: reads, out: writes },
  params: { count: "u32", b: "u32", c: "u32", d: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./permute.wgsl", import.meta.url),
  run: ({ out, x }, { b, c, count, d }) => {
    const a = count / (b * c * d)
    let to = 0
    for (let i = 0; i < a; i++) for (let k = 0; k < c; k++) for (let j = 0; j < b; j++) {
      const from = ((i * b + j) * c + k) * d
      for (let l = 0; l < d; l++) out[to++] = x[from + l]!
    }
  }
})
