/**
 * A feed-forward made of experts, whatever the router: decide, copy each row to its experts in the experts' order, run each expert on its
 * contiguous rows, let each row gather what came back. Nothing is read back; what a capacity drops comes back with weight zero.
 *
 * Low-rank experts share the dense products of their base: gate and up once per row; down once per row on the mixed inner activations,
 * because Σ w·(W h) = W·(Σ w·h). Only the low-rank terms run per visit.
 * Papers: Shazeer et al. 2017 (mixture layers); Gale et al., "MegaBlocks", 2022 (dropless); Hu et al., "LoRA", 2021.
 */
import { Decoder, Op, type Tensor } from "@switchyard/gpu"
import type { Decision } from "./Decision.ts"
import type { Experts, Matrix, Shared } from "./Expert.ts"
import { route } from "./route.ts"
import type { Router } from "./Router.ts"

export interface Options {
  readonly layer: number
  readonly batch: number
  readonly tokens: number
  readonly router: Router
  readonly experts: Experts
  /** The layer's router tensors. */
  readonly tensors: Readonly<Record<string, Tensor.Tensor>>
  /** Logits [rows, experts] of a router that scores outside the layer. */
  readonly scores?: Tensor.Tensor
}

/** The mixture's output [rows, hidden] and what the router decided. Shapes: x [rows, hidden], rows = batch · tokens. */
export const forward = (x: Tensor.Tensor, options: Options): { readonly output: Tensor.Tensor; readonly decision: Decision } => {
  const { experts, router } = options
  const decision = route(router, x, { ...options, experts: experts.count })
  return { decision, output: mix(x, decision, experts) }
}

/**
 * The experts' outputs mixed as decided. Options: `opening` [rows] scales what low-rank experts add to their base, in each matrix; full ones have no base, so it
 * scales what they give. Shapes: x [rows, hidden] → [rows, hidden].
 */
export const mix = (x: Tensor.Tensor, decision: Decision, experts: Experts, options: { readonly opening?: Tensor.Tensor | undefined } = {}): Tensor.Tensor => {
  const { opening } = options
  const { active, offsets, places, weights } = decision, { activation } = experts
  const visits = Op.dispatch(x, decision, active) // [slots, hidden]
  if (experts.kind === "full") {
    const { down, gate, up } = experts.stack
    const biased = (product: Tensor.Tensor, matrix: Matrix) => experts.bias === undefined ? product : Op.add(product, ofVisits(experts.bias[matrix], decision)) // [slots, out]
    const inner = experts.bias === undefined ? Decoder.activateSplit({ gate, up }, (weight, join) => Op.groupedLinear(visits, weight, offsets, 1, join), activation)
      : Decoder.activate(biased(Op.groupedLinear(visits, gate, offsets), "gate"), biased(Op.groupedLinear(visits, up, offsets), "up"), activation) // [slots, inner]
    const mixed = Op.combine(biased(Op.groupedLinear(inner, down, offsets), "down"), places, weights)
    return opening === undefined ? mixed : Op.scaleRows(mixed, opening)
  }
  const { base, scale, stack } = experts
  const open = opening === undefined ? undefined : Op.view(Op.dispatch(Op.view(opening, [x.shape[0]!, 1]), decision, active), [visits.shape[0]!]) // [slots]
  const change = (rows: Tensor.Tensor, matrix: Matrix) => {
    const whole = Op.groupedLinear(Op.groupedLinear(rows, stack[matrix].a, offsets), stack[matrix].b, offsets, scale) // [slots, out]
    return open === undefined ? whole : Op.scaleRows(whole, open)
  }
  const through = (matrix: "gate" | "up") => Op.add(Op.dispatch(Op.linear(x, base[matrix]), decision, active), change(visits, matrix)) // [slots, inner]
  const inner = Decoder.activate(through("gate"), through("up"), activation) // [slots, inner]
  return Op.add(Op.linear(Op.combine(inner, places, weights), base.down), Op.combine(change(inner, "down"), places, weights))
}

/** The row of each visit's expert, in the experts' order. Shapes: table [experts, columns] → [slots, columns]. */
const ofVisits = (table: Tensor.Tensor, { experts, order, places }: Decision): Tensor.Tensor =>
  Op.dispatch(Op.gatherRows(table, Op.view(experts, [order.shape[0]!])), { order, places }, 1)

/** The shared expert on every row, times sigmoid(x · router) where it has a gate. Shapes: x [rows, hidden] → [rows, hidden]. */
export const shared = (x: Tensor.Tensor, { activation, feedForward: { down, gate, up }, router }: Shared): Tensor.Tensor => {
  const output = Op.linear(Decoder.activateSplit({ gate, up }, (weight, join) => Op.linear(x, weight, undefined, join), activation), down) // [rows, hidden]
  return router === undefined ? output : Op.scaleRows(output, Op.view(Op.map(Op.linear(x, router), "sigmoid"), [x.shape[0]!]))
}

/** One expert on every row, without a router: no sort, no copies of rows. Shapes: x [rows, hidden] → [rows, hidden]. */
export const alone = (x: Tensor.Tensor, experts: Experts, expert: number): Tensor.Tensor => {
  if (!(Number.isInteger(expert) && expert >= 0 && expert < experts.count)) throw new Error(`Mixture.alone: there is no expert ${expert} among ${experts.count} (axis experts)`)
  const own = (stack: Tensor.Tensor) => Op.view(Op.sliceRows(stack, expert, 1), stack.shape.slice(1)) // [out, in]
  const through = (rows: Tensor.Tensor, matrix: Matrix) => experts.kind === "full" ? Op.linear(rows, own(experts.stack[matrix]), experts.bias === undefined ? undefined : own(experts.bias[matrix]))
    : Op.adaptedLinear(rows, experts.base[matrix], { a: own(experts.stack[matrix].a), b: own(experts.stack[matrix].b), scale: experts.scale })
  return through(Decoder.activate(through(x, "gate"), through(x, "up"), experts.activation), "down")
}
