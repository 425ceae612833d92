/** As countingSort, for few bins: a workgroup to each, and one for the keys at or above `bins`. */
import { make, perRow, readsIndex, writesIndex } from "../Kernel.ts"
import { countingSort } from "./countingSort.ts"

export const sortFew = make("sortFew", {
  bindings: { keys: readsIndex, order: writesIndex, offsets: writesIndex },
  params: { count: "u32", bins: "u32" },
  flops: () => 0,
  dispatch: ({ bins }) => perRow(bins + 1),
  source: new URL("./sortFew.wgsl", import.meta.url),
  run: (buffers, { bins, count }) => { countingSort.run(buffers, { rows: 1, bins, count }) }
})
