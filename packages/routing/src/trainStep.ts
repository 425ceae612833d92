/**
 * One training step as a program: forward, loss, auxiliary losses, gradients, the sum over replicas, clipping, AdamW; then the routers' corrections.
 *
 * The loss is Σ over all replicas of share[row] · cross-entropy[row], with shares that add to one over the whole batch: loss and gradient do not
 * depend on how many replicas share the batch, nor on how many rows stand in for missing ones (their share is zero).
 */
import type { Device } from "@switchyard/gpu"
import { AdamW, Gradient, Op, Recording, Tensor } from "@switchyard/gpu"
import * as Balance from "./Balance.ts"
import { correct } from "./correct.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as Router from "./Router.ts"
import type { Options } from "./Training.ts"

/**
 * What beside the text is trained for: balance losses, and each position's expert where domains have one (`labels`: expert of each domain, by index).
 * `generalist`: part of the target, all of it at the first token of a sequence, none from token `until` on, evenly less between. `detach`: what the router reads counts as given.
 */
export interface Supervise { readonly weight: number; readonly labels: ReadonlyArray<number>; readonly detach?: boolean | undefined; readonly generalist?: { readonly expert: number; readonly until: number } | undefined }
export interface Aims {
  readonly balance: ReadonlyArray<Balance.Balance>
  readonly supervise?: Supervise | undefined
  /** Every sequence is run by the expert of its domain alone, as far open as its gate says: what trains gates (`Phatgoose.fit`). */
  readonly gated?: { readonly labels: ReadonlyArray<number> } | undefined
}
export interface TrainStep {
  readonly program: Recording.Program
  /** u32 [rows], each replica its own. */
  readonly ids: Tensor.Tensor
  readonly targets: Tensor.Tensor
  /** [rows]: what each row's cross-entropy counts. */
  readonly shares: Tensor.Tensor
  /** u32 [rows]: the expert of each row's domain; undefined when nothing is supervised or gated. */
  readonly labels: Tensor.Tensor | undefined
  /** Where a generalist is part of the target: it, u32 [rows], and what of each row's share is its, [rows]. */
  readonly general: { readonly labels: Tensor.Tensor; readonly shares: Tensor.Tensor } | undefined
  readonly optimizer: AdamW.State
  /** What moves outside the optimizer, by name. */
  readonly corrections: ReadonlyMap<string, Tensor.Tensor>
  /** [1] each, by name: `loss`, then each auxiliary loss before its weight, then how uneven the load is that corrections even. */
  readonly metrics: ReadonlyMap<string, Tensor.Tensor>
  /** [2]: what scaled the gradient, and its norm before that. */
  readonly clipped: Tensor.Tensor
}

/** Rows of one replica: the batch shared out, rounded up. */
export const sequencesOf = (batch: number, replicas: number): number => Math.ceil(batch / replicas)

/** The names of the corrections that a step moves: those of the layers that decide, where the aims ask for it. */
export const corrected = ({ model, parameters, router }: LanguageModel.LanguageModel, { balance }: Pick<Aims, "balance">): ReadonlyArray<string> =>
  router?.correction !== true || balance.every(Balance.isLoss) ? [] : Router.deciding(router, model.layers).map(correctionOf).filter((name) => parameters.has(name))
const correctionOf = (layer: number): string => `layers.${layer}.router.correction`

/** Records the step. `names` are the parameters that learn; all others stay as they are. */
export const trainStep = (self: LanguageModel.LanguageModel, names: ReadonlyArray<string>, options: Pick<Options, "clip">, aims: Aims, device: Pick<Device.Service, "replicas">): TrainStep => {
  const rows = self.batch * self.tokens
  const index = (label: string) => Tensor.kept([rows], { dtype: "u32", sharded: true, label })
  const ids = index("ids"), targets = index("targets"), labels = aims.supervise === undefined && aims.gated === undefined ? undefined : index("labels")
  const shares = Tensor.kept([rows], { sharded: true, label: "shares" })
  const general = aims.supervise?.generalist === undefined ? undefined : { labels: index("generalist"), shares: Tensor.kept([rows], { sharded: true, label: "generalist's shares" }) }
  const trainable = names.map((name) => self.parameters.get(name)!)
  const optimizer = AdamW.make(trainable, { clip: options.clip })
  const corrections = new Map(corrected(self, aims).map((name) => [name, self.parameters.get(name)!]))
  const program = Recording.record(() => {
    const { decisions, logits } = LanguageModel.forward(self, ids, aims.gated === undefined ? {} : { gated: labels })
    const share = (losses: Tensor.Tensor) => Op.sumAll(Op.multiply(losses, shares)) // [rows] → [1], this replica's part
    const terms = new Map<string, { readonly value: Tensor.Tensor; readonly weight: number }>([["loss", { value: share(Op.crossEntropy(logits, targets)), weight: 1 }]])
    for (const balance of aims.balance.filter(Balance.isLoss)) terms.set(Balance.name(balance), { value: Balance.loss(balance, decisions, { shares }), weight: balance.weight })
    if (labels !== undefined && aims.supervise !== undefined) {
      const domains = general === undefined ? shares : Op.add(shares, general.shares, -1) // [rows]
      const { detach = false } = aims.supervise
      const each = decisions.filter(({ made }) => made === undefined).map((decision) => {
        const logits = detach ? LanguageModel.detached(self, decision) : decision.logits // [rows, experts]
        const own = Op.sumAll(Op.multiply(Op.crossEntropy(logits, labels), domains)) // [1]
        return general === undefined ? own : Op.add(own, Op.sumAll(Op.multiply(Op.crossEntropy(logits, general.labels), general.shares)))
      })
      terms.set("balance.supervise", { value: Op.affine(each.reduce((sum, next) => Op.add(sum, next)), { scale: 1 / each.length }), weight: aims.supervise.weight })
    }
    const total = [...terms.values()].map(({ value, weight }) => weight === 1 ? value : Op.affine(value, { scale: weight })).reduce((sum, next) => Op.add(sum, next)) // [1]
    const gradients = Gradient.of(total, trainable)
    const clipped = AdamW.update(optimizer, gradients) // [clip factor, norm]; sums the gradients over replicas
    const metrics = new Map([...terms].map(([name, { value }]) => [name, Op.keep(value, name)]))
    Recording.sumReplicas([...metrics.values()])
    for (const balance of aims.balance) {
      if (Balance.isLoss(balance) || self.router === undefined) continue
      const layers = decisions.filter(({ made }) => made === undefined).map((decision) => ({ decision, correction: corrections.get(correctionOf(decision.layer))! }))
      metrics.set(Balance.name(balance), Op.keep(correct(layers, { router: self.router, rate: balance.rate, shares }), Balance.name(balance))) // the same on every replica
    }
    return { metrics, clipped: Op.keep(clipped, "clipped") }
  }, { replicas: device.replicas })
  return { program, ids, targets, shares, labels, general, optimizer, corrections, ...program.outputs }
}
