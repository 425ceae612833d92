/** Learning rates as data: a pure function of the step, so that a resumed run continues on the same curve. */
import { Schema } from "effect"

const Rate = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))
const Steps = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

/** `rate` is the peak; `warmup` steps rise linearly to it; linear and cosine then fall to `final` at step `steps`. */
export const Schedule = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("constant"), rate: Rate, warmup: Schema.optionalKey(Steps) }),
  Schema.Struct({ kind: Schema.Literals(["linear", "cosine"]), rate: Rate, steps: Schema.Int.check(Schema.isGreaterThan(0)), warmup: Schema.optionalKey(Steps), final: Schema.optionalKey(Rate) })
])
export type Schedule = typeof Schedule.Type

export const constant = (rate: number, options: { readonly warmup?: number } = {}): Schedule => ({ kind: "constant", rate, ...options })
export const linear = (rate: number, options: { readonly steps: number; readonly warmup?: number; readonly final?: number }): Schedule => ({ kind: "linear", rate, ...options })
/** Paper: Loshchilov & Hutter, SGDR, 2017 (one period, no restarts). */
export const cosine = (rate: number, options: { readonly steps: number; readonly warmup?: number; readonly final?: number }): Schedule => ({ kind: "cosine", rate, ...options })

/** The learning rate of step `step`; the first step is 1. */
export const at = (schedule: Schedule, step: number): number => {
  const { rate, warmup = 0 } = schedule
  if (step <= warmup) return rate * step / warmup
  if (schedule.kind === "constant") return rate
  const { final = 0 } = schedule
  const gone = schedule.steps <= warmup ? 1 : Math.min(1, (step - warmup) / (schedule.steps - warmup)) // 0 … 1
  return final + (rate - final) * (schedule.kind === "linear" ? 1 - gone : (1 + Math.cos(Math.PI * gone)) / 2)
}
