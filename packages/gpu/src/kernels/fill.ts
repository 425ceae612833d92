/** out = value. */
import { make, perElement, writes } from "../Kernel.ts"

export const fill = make("fill", {
  bindings: { out: writes },
  params: { count: "u32", value: "f32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./fill.wgsl", import.meta.url),
  run: ({ out }, { count, value }) => { out.fill(value, 0, count) }
})
