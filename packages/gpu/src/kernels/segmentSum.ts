/** out[bin] = Σ over i in offsets[bin] … offsets[bin + 1] − 1 of x[order[i]]: gradients of a gather, in a fixed order without atomics. One workgroup to a bin. */
import { make, perRow, reads, readsIndex, writes } from "../Kernel.ts"

export const segmentSum = make("segmentSum", {
  bindings: { x: reads, order: readsIndex, offsets: readsIndex, out: writes },
  params: { bins: "u32", columns: "u32", rows: "u32" },
  flops: ({ columns, rows }) => rows * columns,
  dispatch: ({ bins }) => perRow(bins),
  source: new URL("./segmentSum.wgsl", import.meta.url),
  run: ({ offsets, order, out, x }, { bins, columns }) => {
    for (let bin = 0; bin < bins; bin++) {
      out.fill(0, bin * columns, (bin + 1) * columns)
      for (let i = offsets[bin]!; i < offsets[bin + 1]!; i++) {
        const at = order[i]! * columns
        for (let c = 0; c < columns; c++) out[bin * columns + c]! += x[at + c]!
      }
    }
  }
})
