/** out[at + part] = Σ x² over each `chunk` of x: numbers of a vector of norms, one workgroup to a part. */
import { groups, make, reads, updates } from "../Kernel.ts"

/** Numbers to a part, as optimizers ask for. */
export const chunkLength = 65_536

export const sumSquares = make("sumSquares", {
  bindings: { x: reads, out: updates },
  params: { count: "u32", at: "u32", chunk: "u32" },
  flops: ({ count }) => 2 * count,
  dispatch: ({ chunk, count }) => groups(Math.ceil(count / chunk)),
  source: new URL("./sumSquares.wgsl", import.meta.url),
  run: ({ out, x }, { at, chunk, count }) => {
    for (let from = 0, part = at; from < count; from += chunk, part++) {
      let sum = 0
      for (let i = from; i < Math.min(from + chunk, count); i++) sum += x[i]! * x[i]!
      out[part] = sum
    }
  }
})
