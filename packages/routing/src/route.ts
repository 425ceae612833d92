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
import { pool } from "./pool.ts"
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
  const { features, logits } = logitsOf(router, x, options)               // [rows, width], [rows, experts]
  const probabilities = Op.softmax(logits)                                // [rows, experts]
  const experts = choose(logits, router.select)                           // u32 [rows, active]
  // p / Σ p over the kept is the softmax of the kept logits: one form for both, which no underflow can divide by zero
  const wanted = router.weight === "prob" ? Op.gatherColumns(probabilities, experts) : Op.softmax(Op.gatherColumns(logits, experts)) // [rows, active]
  const over = router.capacity === undefined ? undefined : dropped(router.capacity, experts, wanted, { ...options, experts: count }) // [rows, active]
  const weights = over === undefined ? wanted : Op.multiply(wanted, Op.affine(over, { scale: -1, shift: 1 })) // a dropped visit adds nothing; the others' weights stay
  return { layer, active, logits, probabilities, experts, weights, ...sorted(experts, count), ...over === undefined ? {} : { dropped: over }, ...features === undefined ? {} : { features } }
}

const logitsOf = (router: Router.Router, x: Tensor.Tensor, options: RouteOptions): { readonly logits: Tensor.Tensor; readonly features?: Tensor.Tensor } => {
  const { batch, experts, scores, tensors, tokens } = options
  const rows = x.shape[0]!
  if (rows !== batch * tokens) throw new Error(`route: x axis 0 (rows) expected batch ${batch} · tokens ${tokens}, got ${rows}`)
  if (scores !== undefined) return { logits: scores }
  if (!Router.scored(router, experts)) return { logits: columns(x, Array.from({ length: experts }, () => 0)) } // nothing depends on the scores
  if (router.score.by === "likelihood") throw new Error("route: a likelihood router's scores come from running the experts; give them as `scores`")
  const features = pool(x, router.unit, options, tensors)                 // [rows, width]
  return { features, logits: score(features, router.score, tensors) }
}

/** The same numbers in every row. Shapes: like [rows, any] → [rows, values], a constant. */
const columns = (like: Tensor.Tensor, values: ReadonlyArray<number>): Tensor.Tensor => {
  const first = Op.sliceColumns(Op.stopGradient(like), 0, 1), each = values.map((shift) => Op.affine(first, { scale: 0, shift })) // [rows, 1]
  return each.length === 1 ? each[0]! : Op.joinColumns(each)
}

/** The decision of a layer that is told which experts every row visits, and with which weights. Its logits are zeros: nothing was scored. Shapes: x [rows, hidden]. */
export const told = (x: Tensor.Tensor, { experts: chosen, weights }: { readonly experts: ReadonlyArray<number>; readonly weights: ReadonlyArray<number> }, options: { readonly experts: number; readonly layer: number }): Decision => {
  const logits = columns(x, Array.from({ length: options.experts }, () => 0))
  const experts = choose(logits, { fixed: chosen })                       // u32 [rows, chosen]
  return { layer: options.layer, active: chosen.length, made: "told", logits, probabilities: Op.softmax(logits), experts, weights: columns(x, weights), ...sorted(experts, options.experts) }
}

const sorted = (experts: Tensor.Tensor, count: number): Pick<Decision, "order" | "offsets" | "places" | "load"> => {
  const { offsets, order } = Op.countingSort(experts, count)              // u32 [experts + 1], u32 [slots]
  return { order, offsets, places: Op.invert(order), load: Op.segmentLengths(offsets) }
}
