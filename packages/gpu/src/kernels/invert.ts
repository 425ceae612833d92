/** out[order[i]] = i: the inverse of a permutation. */
import { make, perElement, readsIndex, writesIndex } from "../Kernel.ts"

export const invert = make("invert", {
  bindings: { order: readsIndex, out: writesIndex },
  params: { count: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./invert.wgsl", import.meta.url),
  run: ({ order, out }, { count }) => { for (let i = 0; i < count; i++) out[order[i]!] = i }
})
