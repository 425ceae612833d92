/**
 * Records what a router decides for a batch of rows: pool → score → select → weigh → drop → sort by expert. No number is read back: every later
 * step takes its rows per expert from `offsets`, on the device.
 *
 * Shapes: x [rows, hidden], rows = batch · tokens; `scores` [rows, experts] are logits made elsewhere (likelihood routers).
 */
import { Op, type Tensor } from "@switchyard/gpu"
import { dropped } from "./capacity.ts"
import { choose } from "./choose.ts"
import type { Decision } from "./Decision.ts"
import * as Router from "./Router.ts"
import { score } from "./score.ts"

export interface RouteOptions {
  readonly batch: number
  readonly tokens: number
  readonly experts: number
  readonly layer?: number
  /** The layer's router tensors, as `Router.tensors` names them. */
  readonly tensors: Readonly<Record<string, Tensor.Tensor>>
  readonly scores?: Tensor.Tensor
}

export const route = (router: Router.Router, x: Tensor.Tensor, options: RouteOptions): Decision => {
  const { experts: count, layer = 0 } = options
  const active = Router.active(router, count)
  if (active > count) throw new Error(`route: ${active} active experts of ${count} (axis experts)`)
  const logits = logitsOf(router, x, options)                             // [rows, experts]
  const probabilities = Op.softmax(logits)                                // [rows, experts]
  const experts = choose(logits, router.select)                           // u32 [rows, active]
  // p / Σ p over the kept is the softmax of the kept logits: one form for both, which no underflow can divide by zero
  const wanted = router.weight === "prob" ? Op.gatherColumns(probabilities, experts) : Op.softmax(Op.gatherColumns(logits, experts)) // [rows, active]
  const over = router.capacity === undefined ? undefined : dropped(router.capacity, experts, wanted, { ...options, experts: count }) // [rows, active]
  const weights = over === undefined ? wanted : Op.multiply(wanted, Op.affine(over, { scale: -1, shift: 1 })) // a dropped visit adds nothing; the others' weights stay
  const { offsets, order } = Op.countingSort(experts, count)              // u32 [experts + 1], u32 [slots]
  return { layer, active, logits, probabilities, experts, weights, order, offsets, places: Op.invert(order), load: Op.segmentLengths(offsets), ...over === undefined ? {} : { dropped: over } }
}

const logitsOf = (router: Router.Router, x: Tensor.Tensor, options: RouteOptions): Tensor.Tensor => {
  const { batch, experts, scores, tensors, tokens } = options
  const [rows, hidden] = x.shape as readonly [number, number]
  if (rows !== batch * tokens) throw new Error(`route: x axis 0 (rows) expected batch ${batch} · tokens ${tokens}, got ${rows}`)
  if (scores !== undefined) return scores
  if (!Router.scored(router, experts)) { // nothing depends on the scores: zeros
    const none = Op.affine(Op.sliceColumns(Op.stopGradient(x), 0, 1), { scale: 0 }) // [rows, 1]
    return experts === 1 ? none : Op.joinColumns(Array.from({ length: experts }, () => none))
  }
  if (router.score.by === "likelihood") throw new Error("route: a likelihood router's scores come from running the experts; give them as `scores`")
  if (router.unit.of === "token") return score(x, router.score, tensors)
  const decay = router.unit.pool === "decay" ? router.unit.decay : 1
  const pooled = Op.prefixPool(Op.view(x, [batch, tokens, hidden]), { mean: true, decay }) // [batch, tokens, hidden]
  return score(Op.view(pooled, [rows, hidden]), router.score, tensors)
}
