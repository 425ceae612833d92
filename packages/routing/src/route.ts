/**
 * Records what a router decides for a batch of rows: pool → score → select → weigh → drop → sort by expert. No number is read back: every later
 * step takes its rows per expert from `offsets`, on the device.
 *
 * Shapes: x [rows, hidden], rows = batch · tokens; `scores` [rows, experts] are logits made elsewhere (likelihood routers).
 */
import { Op, type Tensor } from "@switchyard/gpu"
import { dropped } from "./capacity.ts"
import { choose, withinGroups } from "./choose.ts"
import type { Decision } from "./Decision.ts"
import { addUp, type Carried, pool } from "./pool.ts"
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
  /** The pools of a generation in progress. */
  readonly carried?: Carried | undefined
  /** u32 [rows]: what a table is looked up by. */
  readonly ids?: Tensor.Tensor
  readonly positions?: Tensor.Tensor
}

export const route = (router: Router.Router, x: Tensor.Tensor, options: RouteOptions): Decision => {
  const { experts: count, layer = 0 } = options
  const active = Router.active(router, count)
  if (active > count) throw new Error(`route: ${active} active experts of ${count} (axis experts)`)
  const { features, logits } = logitsOf(router, x, options)               // [rows, width], [rows, experts]
  const sigmoids = router.activation === "sigmoid" ? Op.map(logits, "sigmoid") : undefined // [rows, experts]
  const probabilities = sigmoids === undefined ? Op.softmax(logits) : Op.divideRows(sigmoids, Op.affine(Op.sumColumns(sigmoids), { shift: least })) // [rows, experts]
  const experts = choose(ranksOf(router, logits, sigmoids ?? probabilities, options), router.select) // u32 [rows, active]
  const wanted = weightsOf(router, logits, sigmoids, probabilities, experts) // [rows, active]
  const over = router.capacity === undefined ? undefined : dropped(router.capacity, experts, wanted, { ...options, experts: count }) // [rows, active]
  const weights = over === undefined ? wanted : Op.multiply(wanted, Op.affine(over, { scale: -1, shift: 1 })) // a dropped visit adds nothing; the others' weights stay
  return { layer, active, logits, probabilities, ...sigmoids === undefined ? {} : { activation: "sigmoid" as const }, experts, weights, ...sorted(experts, count), ...over === undefined ? {} : { dropped: over }, ...features === undefined ? {} : { features } }
}

/** Keeps a sum of sigmoids that all vanish from dividing by zero, as DeepSeek's code does. */
const least = 1e-20

/** What experts are chosen by: their logits, or, where a correction or groups compare sums, the probabilities. Shapes: → [rows, experts]. */
const ranksOf = (router: Router.Router, logits: Tensor.Tensor, probabilities: Tensor.Tensor, { experts, tensors }: RouteOptions): Tensor.Tensor => {
  if (router.correction === undefined && router.groups === undefined) return logits
  if (router.correction === true && tensors["correction"] === undefined) throw new Error("route: a router with a correction needs the tensor correction")
  const ranks = router.correction === undefined ? Op.stopGradient(probabilities) : Op.addRow(Op.stopGradient(probabilities), Op.stopGradient(tensors["correction"]!))
  const { groups } = router
  if (groups === undefined) return ranks
  if (experts % groups.count !== 0) throw new Error(`route: ${experts} experts in ${groups.count} groups (axis experts)`)
  return withinGroups(ranks, groups)
}

/** The weights of the chosen. Shapes: experts u32 [rows, active], the others [rows, experts] → [rows, active]. */
const weightsOf = ({ scale = 1, weight }: Router.Router, logits: Tensor.Tensor, sigmoids: Tensor.Tensor | undefined, probabilities: Tensor.Tensor, experts: Tensor.Tensor): Tensor.Tensor => {
  const scaled = (weights: Tensor.Tensor) => scale === 1 ? weights : Op.affine(weights, { scale })
  if (weight === "prob") return scaled(Op.gatherColumns(sigmoids ?? probabilities, experts))
  if (weight === "renorm" && sigmoids !== undefined) {
    const chosen = Op.gatherColumns(sigmoids, experts)
    return scaled(Op.divideRows(chosen, Op.affine(Op.sumColumns(chosen), { shift: least })))
  }
  // p / Σ p over the kept is the softmax of the kept logits: one form for both, which no underflow can divide by zero
  return scaled(Op.softmax(Op.gatherColumns(logits, experts)))
}

const logitsOf = (router: Router.Router, x: Tensor.Tensor, options: RouteOptions): { readonly logits: Tensor.Tensor; readonly features?: Tensor.Tensor } => {
  const { batch, experts, scores, tensors, tokens } = options
  const rows = x.shape[0]!
  if (rows !== batch * tokens) throw new Error(`route: x axis 0 (rows) expected batch ${batch} · tokens ${tokens}, got ${rows}`)
  if (scores !== undefined) return { logits: scores }
  if (!Router.scored(router, experts)) return { logits: columns(x, Array.from({ length: experts }, () => 0)) } // nothing depends on the scores
  if (router.score.by === "likelihood") throw new Error("route: a likelihood router's scores come from running the experts; give them as `scores`")
  if (router.score.by === "lookup") return { logits: lookup(router.score.key, options) }
  if (router.score.by === "ngram") {
    const each = ngrams(router.score, options)                            // [rows, experts]
    return { logits: router.unit.of === "prefix" && router.unit.pool === "evidence" ? addUp(each, router.unit, options) : each }
  }
  const features = pool(x, router.unit, options, tensors)                 // [rows, width]
  const logits = score(features, router.score, tensors)                   // [rows, experts]
  return { features, logits: router.unit.of === "prefix" && router.unit.pool === "evidence" ? addUp(logits, router.unit, options) : logits }
}

/** The table's column of each row's token or position. Shapes: table [experts, keys], keys u32 [rows] → [rows, experts]. */
const lookup = (key: "token" | "position", { ids, positions, tensors: { table } }: RouteOptions): Tensor.Tensor => {
  const keys = key === "token" ? ids : positions
  if (table === undefined || keys === undefined) throw new Error(`route: a router by lookup needs ${table === undefined ? "the tensor table" : `each row's ${key}: give ${key === "token" ? "ids" : "positions"}`}`)
  const [experts, length] = table.shape as readonly [number, number]
  return Op.gatherRows(Op.view(Op.permute(Op.view(table, [1, experts, length, 1])), [length, experts]), keys)
}

/** What each row's n-grams say for each expert, all orders together. Shapes: table [experts, orders · buckets], ids and positions u32 [rows] → [rows, experts]. */
const ngrams = ({ buckets, orders }: Extract<Router.Score, { readonly by: "ngram" }>, { carried, ids, positions, tensors: { table } }: RouteOptions): Tensor.Tensor => {
  if (table === undefined || ids === undefined || positions === undefined) throw new Error("route: a router by n-grams needs the tensor table, and each row's ids and positions")
  const [experts, length] = table.shape as readonly [number, number], rows = ids.shape[0]!
  const byKey = Op.stopGradient(Op.view(Op.permute(Op.view(table, [1, experts, length, 1])), [length, experts]))
  const keys = carried === undefined ? Op.ngramBuckets(ids, positions, { orders, buckets }) : orders === 1 ? Op.ngramBuckets(ids, carried.places, { orders, buckets }) : Op.cachedNgramBuckets(ids, carried.places, carried.held(orders - 1), { buckets })
  const found = Op.gatherRows(byKey, keys)                                 // [orders · rows, experts]
  return Array.from({ length: orders }, (_, order) => Op.sliceRows(found, order * rows, rows)).reduce((sum, each) => Op.add(sum, each))
}

/** The same numbers in every row. Shapes: like [rows, any] → [rows, values], a constant. */
export const columns = (like: Tensor.Tensor, values: ReadonlyArray<number>): Tensor.Tensor => {
  const first = Op.sliceColumns(Op.stopGradient(like), 0, 1), each = values.map((shift) => Op.affine(first, { scale: 0, shift })) // [rows, 1]
  return each.length === 1 ? each[0]! : Op.joinColumns(each)
}

/** The decision of a layer that is told which experts every row visits, and with which weights. Its logits are zeros: nothing was scored. Shapes: x [rows, hidden]. */
export const told = (x: Tensor.Tensor, { experts: chosen, weights }: { readonly experts: ReadonlyArray<number>; readonly weights: ReadonlyArray<number> }, options: { readonly experts: number; readonly layer: number }): Decision => {
  const logits = columns(x, Array.from({ length: options.experts }, () => 0))
  const experts = choose(logits, { fixed: chosen })                       // u32 [rows, chosen]
  return { layer: options.layer, active: chosen.length, made: "told", logits, probabilities: Op.softmax(logits), experts, weights: columns(x, weights), ...sorted(experts, options.experts) }
}

/** The decision of rows that belong to an expert each, with weight one. Shapes: x [rows, hidden], labels u32 [rows]. */
export const belonging = (x: Tensor.Tensor, labels: Tensor.Tensor, options: { readonly experts: number; readonly layer: number }): Decision => {
  const rows = x.shape[0]!, experts = Op.view(labels, [rows, 1]), logits = columns(x, Array.from({ length: options.experts }, () => 0))
  return { layer: options.layer, active: 1, made: "told", logits, probabilities: Op.softmax(logits), experts, weights: columns(x, [1]), ...sorted(experts, options.experts) }
}

const sorted = (experts: Tensor.Tensor, count: number): Pick<Decision, "order" | "offsets" | "places" | "load"> => {
  const { offsets, order } = Op.countingSort(experts, count)              // u32 [experts + 1], u32 [slots]
  return { order, offsets, places: Op.invert(order), load: Op.segmentLengths(offsets) }
}
