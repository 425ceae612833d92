/** out[row] = gradient[row] · (softmax(logits[row]) − one-hot(target)); zero where the target is 0xffffffff, whatever the logits are. */
import { make, perRow, reads, readsIndex, writes } from "../Kernel.ts"

export const crossEntropyGradient = make("crossEntropyGradient", {
  bindings: { logits: reads, targets: readsIndex, logNormalizer: reads, gradient: reads, out: writes },
  params: { rows: "u32", columns: "u32" },
  flops: ({ columns, rows }) => 10 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./crossEntropyGradient.wgsl", import.meta.url),
  run: ({ gradient, logNormalizer, logits, out, targets }, { columns, rows }) => {
    for (let row = 0; row < rows; row++) {
      const at = row * columns, target = targets[row]!
      if (target === 0xffffffff) { out.fill(0, at, at + columns); continue }
      for (let c = 0; c < columns; c++) out[at + c] = gradient[row]! * (Math.exp(logits[at + c]! - logNormalizer[row]!) - (c === target ? 1 : 0))
    }
  }
})
