/**
 * Which visits find their expert full. Those asked for by earlier rows come first, so that rows that stand before another can take its place:
 * over a batch a stranger's rows decide about one's own (Hayes et al., "Buffer overflow in mixture of experts", 2024; `eval:isolation` shows it).
 *
 * A visit's place is the number of earlier rows that ask for the same expert: exclusive running sums of one column per expert, exact in f32.
 * Papers: Lepikhin et al., "GShard", 2020; Fedus, Zoph, Shazeer, "Switch Transformers", 2021.
 */
import { Op, type Tensor } from "@switchyard/gpu"
import type { Capacity } from "./Router.ts"

export interface CapacityOptions { readonly batch: number; readonly tokens: number; readonly experts: number }

/** How many visits an expert takes of one window: the whole batch (of one replica), or one sequence. */
export const roomOf = ({ perExpert, scope }: Capacity, active: number, { batch, experts, tokens }: CapacityOptions): number =>
  Math.ceil(perExpert * (scope === "batch" ? batch * tokens : tokens) * active / experts)

/** One where a visit is dropped, zero where it is kept. Shapes: choices u32 and weights [rows, active], rows = batch · tokens → [rows, active], a constant. */
export const dropped = (capacity: Capacity, choices: Tensor.Tensor, weights: Tensor.Tensor, options: CapacityOptions): Tensor.Tensor => {
  const { batch, experts, tokens } = options, [rows, active] = choices.shape as readonly [number, number]
  const ones = Op.affine(Op.stopGradient(weights), { scale: 0, shift: 1 })                   // [rows, active]
  const asked = Op.scatterColumns(ones, choices, experts)                                    // [rows, experts]: 1 where the row asks
  const windows = Op.view(asked, capacity.scope === "batch" ? [1, rows, experts] : [batch, tokens, experts])
  const earlier = Op.prefixPool(windows, { exclusive: true })                                // rows before it that ask for the same
  const place = Op.gatherColumns(Op.view(earlier, [rows, experts]), choices)                 // [rows, active], whole numbers
  const over = (by: number) => Op.map(Op.affine(place, { shift: -by }), "relu"), room = roomOf(capacity, active, options)
  return Op.stopGradient(Op.add(over(room - 1), over(room), -1))                             // max(p − room + 1, 0) − max(p − room, 0): 0 below room, 1 from there on
}
