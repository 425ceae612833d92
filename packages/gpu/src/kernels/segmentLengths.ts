/** out[bin] = offsets[bin + 1] − offsets[bin], as a real number. */
import { make, perElement, readsIndex, writes } from "../Kernel.ts"

export const segmentLengths = make("segmentLengths", {
  bindings: { offsets: readsIndex, out: writes },
  params: { count: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./segmentLengths.wgsl", import.meta.url),
  run: ({ offsets, out }, { count }) => { for (let i = 0; i < count; i++) out[i] = offsets[i + 1]! - offsets[i]! }
})
