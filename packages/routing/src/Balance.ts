/**
 * Auxiliary losses that keep experts in use, as data with their executor, and the same quantities to look at. `lossFree` is no loss: it moves the
 * corrections of a router that has them (correct.ts).
 *
 * Every loss is a mean over the rows that count, averaged over the layers that decide. A row counts by its share: shares add to one over the whole
 * batch, replicas together, and are zero where the target is left out. Each replica records its part; the parts add to the loss.
 * Papers: Fedus, Zoph, Shazeer, "Switch Transformers", 2021 (load balance); Zoph et al., "ST-MoE", 2022 (z-loss); Mustafa et al., "LIMoE", 2022 (entropies).
 */
import { Op, Recording, type Tensor } from "@switchyard/gpu"
import { Schema } from "effect"
import type { Decision } from "./Decision.ts"

const weight = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))
/** What is added to the text's loss. */
export const Loss = Schema.Union([Schema.Struct({ loss: Schema.Literal("switch"), weight }), Schema.Struct({ loss: Schema.Literal("z"), weight }), Schema.Struct({ loss: Schema.Literal("mutual"), weight })])
/** What moves a router's corrections by so much after each step, beside the gradient. */
export const Correction = Schema.Struct({ correction: Schema.Literal("sign"), rate: weight })
export const Balance = Schema.Union([Loss, Correction])
export type Loss = typeof Loss.Type
export type Correction = typeof Correction.Type
export type Balance = typeof Balance.Type

/** experts · Σ_e f_e · P_e: f the share of visits that expert e got (a constant), P its mean probability. 1 when all are used equally, up to `experts / active` when not. */
export const switchLoss = (options: { readonly weight: number }): Loss => ({ loss: "switch", weight: options.weight })
/** The mean of (log Σ_e exp logit_e)²: keeps logits small. */
export const zLoss = (options: { readonly weight: number }): Loss => ({ loss: "z", weight: options.weight })

/**
 * The mean entropy of rows' probabilities less the entropy of their mean: minus what a row tells about its expert. Lowest, −log experts, where each row is decided and
 * experts are used alike, however few decisions a batch of prefixes holds.
 */
export const mutualLoss = (options: { readonly weight: number }): Loss => ({ loss: "mutual", weight: options.weight })

/**
 * No loss: after each step an expert's correction goes up by `rate` where fewer rows than the mean chose it and down where more did, counted over the whole batch. For
 * routers with a correction (`Router.corrected`, `Router.sigmoid`). Options: rate 1e-3, as for sigmoids. Paper: Wang et al., 2024.
 */
export const lossFree = (options: { readonly rate?: number } = {}): Correction => ({ correction: "sign", rate: options.rate ?? 1e-3 })

/** Whether it is a loss, and not a correction. */
export const isLoss = (balance: Balance): balance is Loss => "loss" in balance

/** What a log calls it: a loss by its name, a correction by what it evens, the busiest expert's load over the mean. */
export const name = (balance: Balance): string => `balance.${isLoss(balance) ? balance.loss : "load"}`

/** Equal shares of all rows whose target is not left out (0xffffffff), over all replicas. Shapes: targets u32 [rows], like [any, any] a tensor with numbers → [rows]. */
export const shares = (targets: Tensor.Tensor, like: Tensor.Tensor): Tensor.Tensor => {
  const one = Op.affine(Op.sliceColumns(Op.sliceRows(Op.stopGradient(like), 0, 1), 0, 1), { scale: 0, shift: 1 }) // [1, 1]
  const counted = Op.gatherRows(one, targets, 2 ** 31) // [rows, 1]: one for every id, zero where there is none
  const total = Op.sumAll(counted) // [1]
  Recording.sumReplicas([total])
  const some = Op.affine(total, { shift: 1e-30 }) // no target at all: shares of zero, not of 0 / 0
  return Op.view(Op.divideRows(Op.view(counted, [1, targets.shape[0]!]), some), [targets.shape[0]!])
}

/** The unweighted loss [1] of one replica. Options: `shares` [rows], equal when left out. */
export const loss = (balance: Loss, decisions: ReadonlyArray<Decision>, options: { readonly shares?: Tensor.Tensor } = {}): Tensor.Tensor => {
  if (decisions.length === 0) throw new Error("Balance.loss: decisions must not be empty: a dense model has nothing to balance")
  const of = { switch: switchOf, z: zOf, mutual: mutualOf }[balance.loss]
  const each = decisions.filter(({ made }) => made === undefined).map((decision) => of(decision, options.shares)) // [1] of each layer
  return Op.affine(each.reduce((sum, next) => Op.add(sum, next)), { scale: 1 / each.length })
}

const switchOf = (decision: Decision, shares?: Tensor.Tensor): Tensor.Tensor => {
  const used = visits(decision, shares) // [experts]
  Recording.sumReplicas([used])
  return Op.sumAll(Op.multiply(used, mean(decision.probabilities, shares)), used.shape[0]!)
}
const zOf = ({ logits }: Decision, shares?: Tensor.Tensor): Tensor.Tensor => {
  const normalizer = logNormalizer(logits) // [rows]
  return mean(Op.view(Op.multiply(normalizer, normalizer), [normalizer.shape[0]!, 1]), shares)
}

const mutualOf = (decision: Decision, shares?: Tensor.Tensor): Tensor.Tensor => {
  const whole = Op.stopGradient(mean(decision.probabilities, shares)) // [experts]
  Recording.sumReplicas([whole])
  const logs = Op.map(Op.affine(whole, { shift: 1e-30 }), "log")
  // Σ P log P, whose gradient is Σ log P · dP because Σ dP = 0: the logarithm may count as given, and replicas' parts add
  const spread = Op.sumAll(Op.multiply(logs, mean(decision.probabilities, shares))) // [1]
  const entropies = entropiesOf(decision) // [rows]
  return Op.add(spread, mean(Op.view(entropies, [entropies.shape[0]!, 1]), shares))
}
/** H(p) of each row = log Σ exp logit − Σ p · logit; of sigmoids' shares −Σ p log p. Shapes: → [rows]. */
const entropiesOf = ({ activation, logits, probabilities }: Pick<Decision, "activation" | "logits" | "probabilities">): Tensor.Tensor =>
  activation === undefined ? Op.add(logNormalizer(logits), Op.dotRows(probabilities, logits), -1)
    : Op.affine(Op.dotRows(probabilities, Op.map(Op.affine(probabilities, { shift: 1e-30 }), "log")), { scale: -1 })

/** Σ over rows of share · x[row]. Shapes: x [rows, columns] → [columns]. */
const mean = (x: Tensor.Tensor, shares?: Tensor.Tensor): Tensor.Tensor =>
  shares === undefined ? Op.sumRows(x, 1 / (x.shape[0]! * Recording.replicas())) : Op.sumRows(Op.scaleRows(x, shares))
/** The share of visits that each expert got in this replica. Shapes: → [experts], a constant. */
const visits = ({ active, experts, probabilities, weights }: Decision, shares?: Tensor.Tensor): Tensor.Tensor => {
  const visit = Op.affine(Op.stopGradient(weights), { scale: 0, shift: 1 / active }) // [rows, active]
  return Op.stopGradient(mean(Op.scatterColumns(visit, experts, probabilities.shape[1]!), shares))
}
/** log Σ_e exp logit_e, as the cross-entropy of the best expert plus its logit: no overflow. Shapes: [rows, experts] → [rows]. */
const logNormalizer = (logits: Tensor.Tensor): Tensor.Tensor => {
  const rows = logits.shape[0]!, best = Op.topK(logits, 1) // u32 [rows, 1]
  return Op.add(Op.crossEntropy(logits, Op.view(best, [rows])), Op.view(Op.gatherColumns(logits, best), [rows]))
}

/** What there is to see of one layer's balance. Units: entropies in nats. */
export interface Observation {
  /** [experts]: the share of visits each got; they add to one. */
  readonly load: Tensor.Tensor
  /** [1]: how undecided the router is about a row, on average. */
  readonly meanEntropy: Tensor.Tensor
  /** [1]: how evenly probability is spread over experts in all; log experts at most. */
  readonly entropyOfMean: Tensor.Tensor
}
/** Records load and entropies over all replicas' rows. Options: `shares` as in `loss`. No gradients. */
export const observe = (decision: Decision, options: { readonly shares?: Tensor.Tensor } = {}): Observation => {
  const { shares } = options, logits = Op.stopGradient(decision.logits), probabilities = Op.stopGradient(decision.probabilities)
  const load = visits(decision, shares), spread = mean(probabilities, shares) // [experts] each
  const entropies = entropiesOf({ ...decision, logits, probabilities }) // [rows]
  const meanEntropy = mean(Op.view(entropies, [entropies.shape[0]!, 1]), shares) // [1]
  Recording.sumReplicas([load, spread, meanEntropy])
  const entropyOfMean = Op.sumAll(Op.multiply(spread, Op.map(Op.affine(spread, { shift: 1e-30 }), "log")), -1) // [1]
  return { load, meanEntropy, entropyOfMean }
}
