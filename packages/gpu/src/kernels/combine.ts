/** out[token] = Σ over rank of weights[token, rank] · y[places[token · active + rank]], in rank order; weights count as one unless `weighted`. count = tokens · columns. */
import { make, perElement, reads, readsIndex, writes } from "../Kernel.ts"

export const combine = make("combine", {
  bindings: { y: reads, places: readsIndex, weights: reads, out: writes },
  params: { count: "u32", columns: "u32", active: "u32", weighted: "u32" },
  flops: ({ count }) => 4 * count,
  dispatch: ({ count }) => perElement(Math.ceil(count / 4)),
  source: new URL("./combine.wgsl", import.meta.url),
  run: ({ out, places, weights, y }, { active, columns, count, weighted }) => {
    for (let i = 0; i < count; i++) {
      const token = Math.floor(i / columns), c = i % columns
      let sum = 0
      for (let rank = token * active; rank < (token + 1) * active; rank++) sum += (weighted ? weights[rank]! : 1) * y[places[rank]! * columns + c]!
      out[i] = sum
    }
  }
})
