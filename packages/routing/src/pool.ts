/**
 * What a router reads: the states themselves, or one or several causal pools of them side by side, normalised where the unit says so.
 *
 * A running mean shrinks towards what all text has in common while tokens add up: "rms" divides each pool by its root mean square, so that the score
 * meets the same scale at every position; "whitened" subtracts each coordinate's mean over text and divides by its deviation (`Prototypes.standardize` fits
 * both), which leaves what distinguishes one text from another, at one scale.
 *
 * Shapes: x [rows, hidden], rows = batch · tokens; pool.mean, pool.deviation [width] → [rows, width], width = hidden · pools. Gradients: to all of them.
 */
import { Op, type Tensor } from "@switchyard/gpu"
import * as Router from "./Router.ts"

/** Keeps a state of zeros from being divided by zero. */
const epsilon = 1e-6

/**
 * Pools that go on from a kept state in place of beginning with the rows at hand: where each row stands (u32 [rows]), the state [2, batch, columns] of a pool, and the
 * last `count` ids of each text, u32 [batch, count].
 */
export interface Carried { readonly places: Tensor.Tensor; readonly state: (decay: number, columns: number) => Tensor.Tensor; readonly held: (count: number) => Tensor.Tensor }

export const pool = (x: Tensor.Tensor, unit: Router.Unit, size: { readonly batch: number; readonly tokens: number; readonly carried?: Carried | undefined }, tensors: Readonly<Record<string, Tensor.Tensor>> = {}): Tensor.Tensor => {
  if (unit.of === "token") return x
  const [rows, hidden] = x.shape as readonly [number, number], sequences = Op.view(x, [size.batch, size.tokens, hidden])
  const along = (decay: number) => size.carried === undefined ? Op.prefixPool(sequences, { mean: true, decay }) : Op.cachedPool(sequences, size.carried.places, size.carried.state(decay, hidden), { mean: true, decay })
  // one pool for each decay: a decay that stands twice in a bank has one kept state, which a second pool would find gone on already
  const decays = Router.decays(unit), each = new Map([...new Set(decays)].map((decay) => [decay, Op.view(along(decay), [rows, hidden])])) // [rows, hidden] each
  const pools = unit.pool === "evidence" ? [x] : decays.map((decay) => each.get(decay)!) // evidence adds up after the score
  const side = (parts: ReadonlyArray<Tensor.Tensor>) => parts.length === 1 ? parts[0]! : Op.joinColumns(parts) // [rows, width]
  if (unit.normalize === undefined) return side(pools)
  if (unit.normalize === "rms") return side(pools.map((each) => Op.divideRows(each, Op.map(Op.affine(Op.dotRows(each, each), { scale: 1 / hidden, shift: epsilon }), "sqrt"))))
  const [mean, deviation] = (["pool.mean", "pool.deviation"] as const).map((name) => {
    if (tensors[name] === undefined) throw new Error(`pool: a whitened unit needs the tensor ${name}, the layer has ${Object.keys(tensors).join(", ") || "none"}`)
    return tensors[name]
  }) as [Tensor.Tensor, Tensor.Tensor]
  const centred = Op.addRow(side(pools), Op.affine(mean, { scale: -1 })) // [rows, width]
  const precision = Op.addRow(Op.affine(Op.stopGradient(centred), { scale: 0 }), Op.map(deviation, "reciprocal")) // [rows, width]
  return Op.multiply(centred, precision)
}

/** Scores of single tokens added up over the text so far, each counting decay^distance. Shapes: scores [rows, experts] → [rows, experts]. */
export const addUp = (scores: Tensor.Tensor, { decay, temperature }: Extract<Router.Unit, { readonly pool: "evidence" }>, { batch, carried, tokens }: { readonly batch: number; readonly tokens: number; readonly carried?: Carried | undefined }): Tensor.Tensor => {
  const experts = scores.shape[1]!, sequences = Op.view(scores, [batch, tokens, experts])
  const sums = carried === undefined ? Op.prefixPool(sequences, { decay }) : Op.cachedPool(sequences, carried.places, carried.state(decay, experts), { decay }) // [batch, tokens, experts]
  return Op.affine(Op.view(sums, scores.shape), { scale: 1 / temperature })
}
