/** out[slot] = gradient[floor(slot / active)] · y[places[slot]]: the gradient of combine with respect to its weights; rows = tokens · active. */
import { make, perRow, reads, readsIndex, writes } from "../Kernel.ts"

export const combineWeightGradient = make("combineWeightGradient", {
  bindings: { y: reads, places: readsIndex, gradient: reads, out: writes },
  params: { rows: "u32", columns: "u32", active: "u32" },
  flops: ({ columns, rows }) => 2 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./combineWeightGradient.wgsl", import.meta.url),
  run: ({ gradient, out, places, y }, { active, columns, rows }) => {
    for (let slot = 0; slot < rows; slot++) {
      const token = Math.floor(slot / active) * columns, at = places[slot]! * columns
      let sum = 0
      for (let c = 0; c < columns; c++) sum += gradient[token + c]! * y[at + c]!
      out[slot] = sum
    }
  }
})
