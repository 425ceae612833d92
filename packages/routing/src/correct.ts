/**
 * Balance without a loss: after a step each expert's correction goes up by the rate where fewer rows than the mean chose it, and down where more did. No gradient and
 * no optimizer knows of it, and nothing is read back.
 *
 * Visits are whole numbers, which f32 adds exactly, so corrections get the same bits however many replicas share the batch.
 * Papers: Wang et al., "Auxiliary-loss-free load balancing strategy for mixture-of-experts", 2024; DeepSeek-AI, "DeepSeek-V3", 2024.
 */
import { Descent, Op, Recording, type Tensor } from "@switchyard/gpu"
import type { Decision } from "./Decision.ts"
import * as Router from "./Router.ts"
import { columns } from "./route.ts"

/** A layer's decision of this step, and the correction that it chose with: [experts], kept. */
export interface Corrected { readonly decision: Decision; readonly correction: Tensor.Tensor }

/**
 * Records correction += rate · sign(mean visits − visits) for each layer. Visits are those of the whole batch, all replicas together, dropped ones too; experts that the
 * router fixes are visited by every row and neither count nor move. Gives [1]: the busiest expert's visits over the mean, averaged over layers; 1 is even.
 *
 * Shapes: shares [rows], zero where a row does not count. Exact below 2²⁴ visits times experts; above, only loads that near the mean may be taken for equal.
 */
export const correct = (layers: ReadonlyArray<Corrected>, options: { readonly router: Router.Router; readonly rate: number; readonly shares: Tensor.Tensor }): Tensor.Tensor => {
  const [first] = layers
  if (first === undefined) throw new Error("correct: layers must not be empty: a dense model has nothing to balance")
  const experts = first.decision.probabilities.shape[1]!, fixed = Router.kept(options.router.select, experts).first, free = experts - fixed.length
  const counted = positive(Op.affine(options.shares, { scale: 2 ** 31 })) // [rows]: one where the row counts, else zero
  const visits = Op.joinRows(layers.map(({ decision }) => Op.view(visitsOf(decision, fixed.length, counted), [1, experts]))) // [layers, experts]
  Recording.sumReplicas([visits])
  const total = Op.sumColumns(visits) // [layers]
  const totals = Op.scaleRows(Op.affine(visits, { scale: 0, shift: 1 }), total) // [layers, experts]
  const over = Op.add(Op.affine(visits, { scale: free }), totals, -1) // [layers, experts]: how far above the mean, `free` times
  const sign = Op.add(positive(over), positive(Op.affine(over, { scale: -1 })), -1) // [layers, experts]
  const moves = fixed.length === 0 ? sign : Op.multiply(sign, columns(sign, Array.from({ length: experts }, (_, expert) => fixed.includes(expert) ? 0 : 1)))
  Descent.update(layers.map(({ correction }) => correction), layers.map((_, at) => Op.view(Op.sliceRows(moves, at, 1), [experts])), { rate: options.rate })
  const busiest = Op.gatherColumns(visits, Op.topK(visits, 1)) // [layers, 1]
  return Op.sumAll(Op.divideRows(busiest, Op.affine(total, { shift: 1e-30 })), free / layers.length) // no row at all: 0, not 0 / 0
}

/** How many counted rows of this replica chose each expert, those that the router fixes left out. Shapes: counted [rows] → [experts]. */
const visitsOf = ({ active, experts, probabilities, weights }: Decision, fixed: number, counted: Tensor.Tensor): Tensor.Tensor => {
  const chosen = fixed === 0 ? experts : Op.sliceIndices(experts, fixed, active - fixed) // u32 [rows, active − fixed]
  const ones = Op.affine(Op.sliceColumns(Op.stopGradient(weights), fixed, active - fixed), { scale: 0, shift: 1 })
  return Op.sumRows(Op.scatterColumns(Op.scaleRows(ones, counted), chosen, probabilities.shape[1]!))
}

/** One where x is at least 1, zero where it is at most 0; whole numbers have nothing between. Shapes: → x's. */
const positive = (x: Tensor.Tensor): Tensor.Tensor => Op.affine(Op.map(Op.affine(Op.map(x, "relu"), { scale: -1, shift: 1 }), "relu"), { scale: -1, shift: 1 })
