/**
 * What every rendering of a report says alike: which values stand in which table, how numbers are written, which is best.
 */
import type { StageCost, Value } from "./Report.ts"

/** A metric's values as a grid: a row for each model, a column for each task. */
export interface Grid {
  readonly metric: string
  readonly unit: string
  readonly better: "lower" | "higher" | undefined
  readonly tasks: ReadonlyArray<string>
  readonly rows: ReadonlyArray<{ readonly model: string; readonly cells: ReadonlyArray<{ readonly text: string; readonly best: boolean } | undefined> }>
}

/** Whether less or more of a unit is better; undefined where neither is. */
export const betterOf = (metric: string, unit: string): Grid["better"] =>
  /accuracy|exact/i.test(metric) ? "higher" : /^(bits|nats|milliseconds|seconds|perplexity)/.test(unit) ? "lower" : undefined

/** A grid for each metric, in the order of the values. */
export const grids = (values: ReadonlyArray<Value>): ReadonlyArray<Grid> => [...new Set(values.map(({ metric }) => metric))].map((metric) => {
  const mine = values.filter((value) => value.metric === metric)
  const unit = mine[0]!.unit, better = betterOf(metric, unit)
  const tasks = [...new Set(mine.map(({ task }) => task))], models = [...new Set(mine.map(({ model }) => model))]
  const best = new Map(tasks.map((task) => {
    const numbers = mine.filter((found) => found.task === task).map(({ value }) => value)
    return [task, numbers.length < 2 || better === undefined ? undefined : better === "lower" ? Math.min(...numbers) : Math.max(...numbers)]
  }))
  return {
    metric, unit, better, tasks,
    rows: models.map((model) => ({
      model,
      cells: tasks.map((task) => {
        const value = mine.find((value) => value.model === model && value.task === task)
        return value === undefined ? undefined : { text: withError(value), best: value.value === best.get(task) }
      })
    }))
  }
})

/** `1.234 ± 0.056`: as many decimals as the standard error deserves (two significant digits), three without one. */
export const withError = ({ value, standardError }: Pick<Value, "value" | "standardError">): string => {
  const sign = value < 0 ? "−" : ""
  if (standardError === null || standardError === 0) return `${sign}${Math.abs(value).toFixed(3)}`
  const decimals = Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(standardError))))
  return `${sign}${Math.abs(value).toFixed(decimals)} ± ${standardError.toFixed(decimals)}`
}

const scaled = (value: number, base: number, units: ReadonlyArray<string>): string => {
  let at = 0, left = value
  while (Math.abs(left) >= base && at < units.length - 1) { left /= base; at++ }
  return `${left >= 100 || at === 0 && Number.isInteger(left) ? left.toFixed(0) : left.toPrecision(3)} ${units[at]}`
}
/** `1.50 GB`. */
export const bytes = (value: number): string => scaled(value, 1000, ["B", "kB", "MB", "GB", "TB"])
/** `2.10 TFLOP`. */
export const operations = (value: number): string => scaled(value, 1000, ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"])

/** One quantity of one stage, planned and measured. */
export interface CostRow { /** Number of the stage's run, for stages that ran more than once. */ readonly run: number; readonly stage: string; readonly quantity: string; readonly planned: string; readonly actual: string; readonly difference: string }
const shown: ReadonlyArray<readonly [Exclude<keyof StageCost, "stage">, string, (value: number) => string]> = [
  ["seconds", "time", (value) => `${value.toPrecision(3)} s`], ["flops", "work", operations], ["deviceBytes", "device memory", bytes], ["hostBytes", "host memory", bytes],
  ["bytesRead", "read", bytes], ["bytesWritten", "written", bytes]
]

/** Plan beside actual, a row for each quantity that either knows. Stages of one name are matched in order. */
export const costs = (plan: ReadonlyArray<StageCost>, actual: ReadonlyArray<StageCost>): ReadonlyArray<CostRow> => {
  const left = [...actual]
  const pairs = plan.map((planned): readonly [StageCost, StageCost | undefined] => {
    const at = left.findIndex(({ stage }) => stage === planned.stage)
    return [planned, at < 0 ? undefined : left.splice(at, 1)[0]]
  })
  return [...pairs, ...left.map((measured) => [undefined, measured] as const)].flatMap(([planned, measured], run) => shown.flatMap(([quantity, name, write]) => {
    const before = planned?.[quantity], after = measured?.[quantity]
    if (before === undefined && after === undefined) return []
    const difference = before === undefined || after === undefined || before === 0 ? "" : signed(100 * (after / before - 1))
    return [{ run, stage: (planned ?? measured)!.stage, quantity: name, planned: before === undefined ? "" : write(before), actual: after === undefined ? "" : write(after), difference }]
  }))
}

const signed = (percent: number): string => `${Math.abs(percent) < 0.5 ? "" : percent < 0 ? "−" : "+"}${Math.abs(percent).toFixed(0)} %`

/** Facts of any JSON as lines of `name: value`, nested names joined by a point. */
export const facts = (value: unknown, name = ""): ReadonlyArray<readonly [string, string]> =>
  typeof value !== "object" || value === null ? [[name, typeof value === "number" ? value.toLocaleString("en") : String(value)]]
    : Array.isArray(value) && value.every((item) => typeof item !== "object") ? [[name, value.join(", ")]]
    : Object.entries(value).flatMap(([key, item]) => facts(item, name === "" ? key : `${name}.${key}`))
