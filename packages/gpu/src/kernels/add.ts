/** out = a + scale · b. */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const add = make("add", {
  bindings: { a: reads, b: reads, out: writes },
  params: { count: "u32", scale: "f32" },
  flops: ({ count }) => 2 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./add.wgsl", import.meta.url),
  run: ({ a, b, out }, { count, scale }) => { for (let i = 0; i < count; i++) out[i] = a[i]! + scale * b[i]! }
})
