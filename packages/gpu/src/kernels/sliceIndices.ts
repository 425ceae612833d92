/** out[row, c] = x[row, offset + c] for c < columns, of whole numbers: ids cut to a part of each sequence; count = rows · columns. */
import { make, perElement, readsIndex, writesIndex } from "../Kernel.ts"

export const sliceIndices = make("sliceIndices", {
  bindings: { x: readsIndex, out: writesIndex },
  params: { count: "u32", columns: "u32", stride: "u32", offset: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./sliceIndices.wgsl", import.meta.url),
  run: ({ out, x }, { columns, count, offset, stride }) => {
    for (let i = 0; i < count; i++) out[i] = x[Math.floor(i / columns) * stride + offset + i % columns]!
  }
})
