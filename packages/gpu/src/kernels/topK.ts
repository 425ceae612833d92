/** ids[row] = the places of the `active` largest of x[row], largest first, ties to the lowest place (NaN counts as lowest). One thread to a row. */
import { make, perElement, reads, writesIndex } from "../Kernel.ts"

export const topK = make("topK", {
  bindings: { x: reads, ids: writesIndex },
  params: { rows: "u32", columns: "u32", active: "u32" },
  flops: ({ columns, rows }) => rows * columns,
  dispatch: ({ rows }) => perElement(rows),
  source: new URL("./topK.wgsl", import.meta.url),
  run: ({ ids, x }, { active, columns, rows }) => {
    for (let row = 0; row < rows; row++) for (let rank = 0; rank < active; rank++) {
      let best = -1
      for (let c = 0; c < columns; c++) {
        let taken = false
        for (let before = 0; before < rank; before++) taken ||= ids[row * active + before] === c
        if (!taken && (best < 0 || x[row * columns + c]! > x[row * columns + best]! || Number.isNaN(x[row * columns + best]!) && !Number.isNaN(x[row * columns + c]!))) best = c
      }
      ids[row * active + rank] = best
    }
  }
})
