/** loss[row] = logNormalizer[row] − logits[row, target]; logNormalizer is the log of the sum of exponentials. A target of 0xffffffff is left out: its loss is 0. */
import { make, perRow, reads, readsIndex, writes } from "../Kernel.ts"

export const crossEntropy = make("crossEntropy", {
  bindings: { logits: reads, targets: readsIndex, loss: writes, logNormalizer: writes },
  params: { rows: "u32", columns: "u32" },
  flops: ({ columns, rows }) => 10 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./crossEntropy.wgsl", import.meta.url),
  run: ({ logNormalizer, logits, loss, targets }, { columns, rows }) => {
    for (let row = 0; row < rows; row++) {
      const at = row * columns
      let largest = -Infinity, sum = 0
      for (let c = at; c < at + columns; c++) largest = Math.max(largest, logits[c]!)
      for (let c = at; c < at + columns; c++) sum += Math.exp(logits[c]! - largest)
      logNormalizer[row] = largest + Math.log(sum)
      loss[row] = targets[row] === 0xffffffff ? 0 : logNormalizer[row]! - logits[at + targets[row]!]!
    }
  }
})
