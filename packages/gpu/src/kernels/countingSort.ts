/** Stable sort of small keys: order lists the places of x by (key, place); offsets[key] … offsets[key + 1] − 1 are the places in order of that key. Keys at or above `bins` stand at the end. rows is 1. */
import { make, perRow, readsIndex, writesIndex } from "../Kernel.ts"

export const countingSort = make("countingSort", {
  bindings: { keys: readsIndex, order: writesIndex, offsets: writesIndex },
  params: { rows: "u32", count: "u32", bins: "u32" },
  flops: () => 0,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./countingSort.wgsl", import.meta.url),
  run: ({ keys, offsets, order }, { bins, count }) => {
    const next = new Uint32Array(bins + 2)
    for (let i = 0; i < count; i++) next[Math.min(keys[i]!, bins) + 1]!++
    for (let bin = 0; bin <= bins; bin++) { next[bin + 1]! += next[bin]!; offsets[bin] = next[bin]! }
    for (let i = 0; i < count; i++) order[next[Math.min(keys[i]!, bins)]!++] = i
  }
})
