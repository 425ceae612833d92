/** out[row] = gradient[row] · (softmax(logits[row]) − one-hot(target)); zero where the target is 0xffffffff. */
import { make, perRow, reads, readsIndex, writes } from "../Kernel.ts"

export const crossEntropyGradient = make("crossEntropyGradient", {
  bindings: { logits: reads, targets: readsIndex, logNormalizer: reads, gradient: reads, out: writes },
  params: { rows: "u32", columns: "u32" },
  flops: ({ columns, rows }) => 10 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./crossEntropyGradient.wgsl", import.meta.url),
  run: ({ gradient, logNormalizer, logits, out, targets }, { columns, rows }) => {
    for (let row = 0; row < rows; row++) {
      const at = row * columns, target = targets[row]!, scale = target === 0xffffffff ? 0 : gradient[row]!
      for (let c = 0; c < columns; c++) out[at + c] = scale * (Math.exp(logits[at + c]! - logNormalizer[row]!) - (c === target ? 1 : 0))
    }
  }
})
