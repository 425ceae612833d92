/** −log softmax(logits)[target], row by row, in nats. Shapes: logits [rows, columns], targets u32 [rows] → [rows]. A target of 0xffffffff gives 0 and no gradient. */
import * as Gradient from "../Gradient.ts"
import { crossEntropy as kernel } from "../kernels/crossEntropy.ts"
import { crossEntropyGradient } from "../kernels/crossEntropyGradient.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"
import { idsWithin } from "./idsWithin.ts"
import { joinRows } from "./joinRows.ts"

/** The target that a row without one carries. */
export const noTarget = 0xffffffff

export const crossEntropy = (logits: Tensor, targets: Tensor): Tensor => {
  expectShape("crossEntropy", "logits", logits, [undefined, undefined])
  const [rows, columns] = logits.shape as readonly [number, number]
  expectShape("crossEntropy", "targets", targets, [rows], "u32")
  if (logits.parts !== undefined) {
    let start = 0
    return joinRows(logits.parts.map((part) => crossEntropy(part, idsWithin(targets, { start: (start += part.shape[0]!) - part.shape[0]!, count: part.shape[0]! }))))
  }
  const loss = Recording.scratch([rows]), logNormalizer = Recording.scratch([rows])
  Recording.step(kernel, { logits, targets, loss, logNormalizer }, { rows, columns })
  return Gradient.derive(loss, [logits], (gradient) => {
    const back = Recording.scratch(logits.shape)
    Recording.step(crossEntropyGradient, { logits, targets, logNormalizer, gradient, out: back }, { rows, columns })
    return [back]
  })
}
