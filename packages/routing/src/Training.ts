/**
 * What every training run shares: its options, its learning rate at each step, and the error of a run whose numbers left the finite.
 */
import { Stage } from "@switchyard/core"
import { Schedule, Storage } from "@switchyard/gpu"
import { Schema } from "effect"

const count = Schema.Int.check(Schema.isGreaterThan(0))
const whole = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const amount = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))
/** A part of what was that is kept: with all of it nothing new would ever count, and AdamW would divide by zero. */
const kept = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0), Schema.isLessThan(1))
const fraction = Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 }))

/**
 * Fields of a training stage's options.
 *
 * Units: `batch` in sequences, `tokens` per sequence; `warmup` and `saveEvery` in steps. `schedule` takes the rate from `learningRate`, after `warmup`
 * steps of linear rise, to `finalRate` of it at the last step. `clip` bounds the global norm of the gradient (0: no bound). `weightDecay` acts on
 * matrices only. `storage`: how matrices that are not trained lie on the device, f32 when left out. `saveEvery`: what a killed run loses at most.
 */
export const fields = {
  steps: count,
  batch: count.pipe(Stage.byDefault(8)),
  tokens: count.pipe(Stage.byDefault(256)),
  learningRate: amount.pipe(Stage.byDefault(2e-3)),
  schedule: Schema.Literals(["constant", "linear", "cosine"]).pipe(Stage.byDefault("cosine")),
  finalRate: fraction.pipe(Stage.byDefault(0.1)),
  warmup: whole.pipe(Stage.byDefault(0)),
  weightDecay: amount.pipe(Stage.byDefault(0)),
  clip: amount.pipe(Stage.byDefault(1)),
  beta1: kept.pipe(Stage.byDefault(0.9)),
  beta2: kept.pipe(Stage.byDefault(0.95)),
  epsilon: amount.pipe(Stage.byDefault(1e-8)),
  saveEvery: count.pipe(Stage.byDefault(10)),
  storage: Schema.optionalKey(Storage.Storage)
} as const
export const Options = Schema.Struct(fields)
export type Options = typeof Options.Type

/** The learning rate of step `step`; the first step is 1. */
export const rateAt = ({ finalRate, learningRate: rate, schedule, steps, warmup }: Pick<Options, "finalRate" | "learningRate" | "schedule" | "steps" | "warmup">, step: number): number =>
  Schedule.at(schedule === "constant" ? { kind: schedule, rate, warmup } : { kind: schedule, rate, steps, warmup, final: finalRate * rate }, step)

/** The loss or its gradient is not finite. The state before that step is kept: the same run would stop at the same step again. */
export class TrainingDiverged extends Schema.TaggedError<TrainingDiverged>()("TrainingDiverged", {
  step: Schema.Int,
  /** The first layer whose block gives a number that is not finite; absent when every block is finite. */
  layer: Schema.optionalKey(Schema.Int),
  loss: Schema.Number,
  gradientNorm: Schema.Number,
  learningRate: Schema.Number
}) {
  override get message() {
    const where = this.layer === undefined ? Number.isFinite(this.loss) ? "the gradient is not finite, though every layer's output is" : "every layer's output is finite, the loss is not" : `layer ${this.layer} is the first whose output is not finite`
    return `training diverged at step ${this.step}: loss ${this.loss}, gradient norm ${this.gradientNorm}; ${where}. The state before this step is kept. Remedy: a learning rate below ${this.learningRate}, more warm-up steps, or clip 1.`
  }
}

/** The two halves of a request contradict each other: which option, what is wrong, what to do. */
export class TrainingError extends Schema.TaggedError<TrainingError>()("TrainingError", { option: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `option ${this.option}: ${this.problem}. Remedy: ${this.remedy}.` }
}
