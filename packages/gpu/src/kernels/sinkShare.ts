/**
 * The share of a softmax that stays when one more score, a sink, takes its part: out[row] = Σ e^s / (Σ e^s + e^sink) = sigmoid(log Σ e^s − sink), s = scale · x[row] where
 * the row's probability is above zero. log Σ e^s is read off at the likeliest place: s − log probability. Row r belongs to head ⌊r / repeat⌋ mod heads.
 */
import { make, perRow, reads, writes } from "../Kernel.ts"

export const sinkShare = make("sinkShare", {
  bindings: { x: reads, probability: reads, sinks: reads, out: writes },
  params: { rows: "u32", columns: "u32", heads: "u32", repeat: "u32", scale: "f32" },
  flops: ({ columns, rows }) => 2 * rows * columns,
  dispatch: ({ rows }) => perRow(rows),
  source: new URL("./sinkShare.wgsl", import.meta.url),
  run: ({ out, probability, sinks, x }, { columns, heads, repeat, rows, scale }) => {
    for (let row = 0; row < rows; row++) {
      const from = row * columns
      let at = from
      for (let c = from; c < from + columns; c++) if (probability[c]! > probability[at]! || (probability[c] === probability[at] && x[c]! > x[at]!)) at = c
      out[row] = 1 / (1 + Math.exp(sinks[Math.floor(row / repeat) % heads]! + Math.log(probability[at]!) - scale * x[at]!))
    }
  }
})
