/**
 * A convolution with fixed random output weights, alone or as experts that choose patches, as recorded programs. Several independent networks (one
 * for each seed) stand beside each other in one program, their weights one under the other in one table.
 *
 * Each expert scores the patches of a sample by its router, keeps the `kept` best, weighs them by the softmax of their scores (joint training) or
 * alike (separate training), and sees only those. Output: the mean over the patches seen of Σ a · ReLU⟨w, patch⟩, summed over experts.
 */
import { Op, Tensor } from "@switchyard/gpu"
import { patterns } from "./samples.ts"

export const methods = ["convolution", "joint", "separate"] as const
export type Method = (typeof methods)[number]
export interface Network {
  readonly method: Method
  readonly patches: number
  /** Patches that an expert keeps. */
  readonly kept: number
  readonly experts: number
  /** Filters of one expert; a convolution alone has experts · filters. */
  readonly filters: number
}
/** Kept tensors of one replica: `networks` of the seeds, `samples` of each in a batch. */
export interface Inputs {
  readonly networks: number
  readonly samples: number
  /** u32 [networks · samples · patches]: rows of the tables. */
  readonly pattern: Tensor.Tensor
  readonly sign: Tensor.Tensor
  /** u32 [networks · samples] */
  readonly labels: Tensor.Tensor
  /** [networks · samples]: what each counts in its network's loss. */
  readonly shares: Tensor.Tensor
}
export interface Parameters {
  /** [networks · patterns, experts · filters] */
  readonly filters: Tensor.Tensor
  /** [networks · patterns, experts]; of separate training fixed. */
  readonly router: Tensor.Tensor | undefined
  /** [networks, outputs, experts · filters], fixed: an expert's own output weights, zero elsewhere; outputs are 1 without experts. */
  readonly output: Tensor.Tensor
}

const own = (label: string, shape: ReadonlyArray<number>, dtype: "f32" | "u32" = "f32") => Tensor.kept(shape, { sharded: true, label, dtype })
export const inputs = (patches: number, networks: number, samples: number): Inputs => {
  const rows = networks * samples
  return { networks, samples, pattern: own("pattern", [rows * patches], "u32"), sign: own("sign", [rows * patches]), labels: own("labels", [rows], "u32"), shares: own("shares", [rows]) }
}
export const parameters = ({ experts, filters, method }: Network, networks: number): Parameters => ({
  filters: own("filters", [networks * patterns, experts * filters]), router: method === "convolution" ? undefined : own("router", [networks * patterns, experts]),
  output: own("output", [networks, method === "convolution" ? 1 : experts, experts * filters])
})

/** Each network's answer for each of its samples [networks · samples], positive for label 1; `chosen`, of experts: the patches kept, u32 [networks · samples · experts, kept]. */
export const forward = (network: Network, given: Inputs, { filters, output, router }: Parameters): { readonly answer: Tensor.Tensor; readonly chosen: Tensor.Tensor | undefined } => {
  const { experts, kept, method, patches } = network, { networks, pattern, samples, sign } = given, rows = networks * samples
  const bent = Op.map(Op.scaleRows(Op.gatherRows(filters, pattern), sign), "relu") // [rows · patches, experts · filters]
  const spoken = Op.matmul(Op.view(bent, [networks, samples * patches, bent.shape[1]!]), output, { transposeB: true }) // [networks, samples · patches, outputs]
  if (router === undefined) return { answer: Op.sumColumns(Op.view(spoken, [rows, patches]), 1 / patches), chosen: undefined }
  const byExpert = (x: Tensor.Tensor) => Op.view(Op.permute(Op.view(x, [rows, patches, experts, 1])), [rows * experts, patches])
  const scores = byExpert(Op.scaleRows(Op.gatherRows(method === "joint" ? router : Op.stopGradient(router), pattern), sign)) // [rows · experts, patches]
  const chosen = Op.topK(Op.stopGradient(scores), kept)
  const heard = Op.gatherColumns(byExpert(spoken), chosen) // [rows · experts, kept]
  const weighed = method === "joint" ? Op.multiply(Op.softmax(Op.gatherColumns(scores, chosen)), heard) : heard
  return { answer: Op.sumColumns(Op.view(weighed, [rows, experts * kept]), 1 / kept), chosen }
}

/** The sum over networks of their logistic losses [1]: ln(1 + exp(−answer)) of label 1, ln(1 + exp(answer)) of label 0. */
export const lossOf = ({ labels, shares }: Inputs, answer: Tensor.Tensor): Tensor.Tensor => {
  const column = Op.view(answer, [answer.shape[0]!, 1]), zero = Op.affine(Op.stopGradient(column), { scale: 0 })
  return Op.sumAll(Op.multiply(Op.crossEntropy(Op.joinColumns([zero, column]), labels), shares))
}

/**
 * The loss that routers are trained with first in separate training: −y · the mean over patches of 16 ⟨first, patch⟩ − 16 ⟨second, patch⟩, which is
 * linear in the pair. Shapes: pair [networks · patterns, 2], outputs [1, 2] are 16 and −16; `shares` carry −y.
 */
export const routerLossOf = ({ networks, pattern, samples, shares, sign }: Inputs, pair: Tensor.Tensor, outputs: Tensor.Tensor, patches: number): Tensor.Tensor => {
  const spoken = Op.linear(Op.scaleRows(Op.gatherRows(pair, pattern), sign), outputs) // [networks · samples · patches, 1]
  return Op.sumAll(Op.multiply(Op.sumColumns(Op.view(spoken, [networks * samples, patches]), 1 / patches), shares))
}
