/** out = scale · a · b. */
import { make, perElement, reads, writes } from "../Kernel.ts"

export const multiply = make("multiply", {
  bindings: { a: reads, b: reads, out: writes },
  params: { count: "u32", scale: "f32" },
  flops: ({ count }) => 2 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./multiply.wgsl", import.meta.url),
  run: ({ a, b, out }, { count, scale }) => { for (let i = 0; i < count; i++) out[i] = scale * a[i]! * b[i]! }
})
