/** out[row, column] = Σ of x[row, rank] over the ranks with ids[row, rank] = column: the gradient of gatherColumns, and dense weights from chosen ones. count = rows · columns. */
import { make, perElement, reads, readsIndex, writes } from "../Kernel.ts"

export const scatterColumns = make("scatterColumns", {
  bindings: { x: reads, ids: readsIndex, out: writes },
  params: { count: "u32", columns: "u32", active: "u32" },
  flops: () => 0,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./scatterColumns.wgsl", import.meta.url),
  run: ({ ids, out, x }, { active, columns, count }) => {
    for (let i = 0; i < count; i++) {
      const row = Math.floor(i / columns), column = i % columns
      let sum = 0
      for (let rank = row * active; rank < (row + 1) * active; rank++) if (ids[rank] === column) sum += x[rank]!
      out[i] = sum
    }
  }
})
