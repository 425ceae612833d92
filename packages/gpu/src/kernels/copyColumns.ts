/** out[row, outOffset + c] = x[row, inputOffset + c] for c < columns: slices and joins columns (rows are the case of one row); count = rows · columns. */
import { make, perElement, reads, updates } from "../Kernel.ts"

export const copyColumns = make("copyColumns", {
  bindings: { x: reads, out: updates },
  params: { count: "u32", columns: "u32", inputStride: "u32", inputOffset: "u32", outStride: "u32", outOffset: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./copyColumns.wgsl", import.meta.url),
  run: ({ out, x }, { columns, count, inputOffset, inputStride, outOffset, outStride }) => {
    const rows = count / columns
    for (let row = 0; row < rows; row++) for (let c = 0; c < columns; c++) out[row * outStride + outOffset + c] = x[row * inputStride + inputOffset + c]!
  }
})
