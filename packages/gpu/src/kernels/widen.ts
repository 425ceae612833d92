/** out = numbers from … from + count − 1 of a stored tensor of `total` numbers, as f32. */
import { make, perElement, readsStored, writes } from "../Kernel.ts"
import { widened } from "../Storage.ts"

export const widen = make("widen", {
  bindings: { weight: readsStored, out: writes },
  params: { count: "u32", from: "u32", total: "u32", format: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./widen.wgsl", import.meta.url),
  run: ({ out, weight }, { count, format, from, total }) => { out.set(widened(format, weight, total, from, count)) }
})
