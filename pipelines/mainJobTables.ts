/**
 * The sweep's numbers: bits per byte, how much of the gap from control to oracle each way of routing closes, as the mean over seeds and its spread; as Markdown for docs/main-job.md.
 */
import { Table, type Tables } from "@switchyard/core"
import type { Positions } from "@switchyard/eval"
import { joint, methods } from "./mainJob.ts"

export type Scored = Table.Table<Positions.Positions>
export type Rows = ReadonlyArray<Table.Row<Positions.Positions>>
/** What one seed gives for one kind of experts. */
export interface Found {
  readonly control: Scored
  readonly experts: Readonly<Record<string, Scored>>
  readonly methods: Readonly<Record<string, { readonly positions: Scored; readonly size: Positions.Size }>>
  readonly switch: Readonly<Record<string, Scored>>
}
export interface Values {
  readonly seed: Scored
  readonly seeds: Readonly<Record<string, Readonly<Record<string, Found>>>>
  readonly traces: Readonly<Record<string, Table.Table<Tables.Trace>>>
}

const domainsOf = (rows: Rows): ReadonlyArray<string> => [...new Set(rows.map(({ domain }) => domain))]
/** The mean over domains of Σ of `what` / Σ tokens. */
export const mean = (rows: Rows, what: (row: Rows[number]) => number): number => {
  const domains = domainsOf(rows)
  return domains.reduce((sum, name) => {
    const mine = rows.filter(({ domain }) => domain === name)
    return sum + mine.reduce((total, row) => total + what(row), 0) / mine.reduce((total, { tokens }) => total + tokens, 0)
  }, 0) / domains.length
}
/** Bits per byte, the mean over domains (a token is a byte here). */
export const bits = (rows: Rows): number => mean(rows, ({ nats }) => nats / Math.LN2)

export interface Spread { readonly mean: number; readonly spread: number; readonly count: number }
/** Mean and standard deviation (n − 1) over seeds. */
export const spread = (values: ReadonlyArray<number>): Spread => {
  const average = values.reduce((sum, value) => sum + value, 0) / values.length
  return { mean: average, count: values.length, spread: values.length < 2 ? 0 : Math.sqrt(values.reduce((sum, value) => sum + (value - average) ** 2, 0) / (values.length - 1)) }
}
/** 0 at the control, 1 at the oracle. */
export const closed = (method: number, control: number, oracle: number): number => (control - method) / (control - oracle)

/** The oracle's rows: each domain by its own expert. */
export const oracleOf = (experts: Found["experts"]): Rows => Object.entries(experts).flatMap(([domain, table]) => Table.rows(table).filter((row) => row.domain === domain))

export interface Line {
  readonly method: string
  readonly group: string
  readonly about: string
  readonly bits: Spread
  readonly closed: Spread
  /** Bits per byte above the control in the second half of contexts that change their domain in the middle; where it was measured. */
  readonly switched?: Spread
  readonly active: number
  readonly parameters: number
}
const secondHalf = (table: Scored): Rows => { const rows = Table.rows(table), last = Math.max(...rows.map(({ position }) => position)); return rows.filter(({ position }) => 2 * position > last) }
/** What every method is set against. */
export interface Ends { readonly control: Spread; readonly oracle: Spread; readonly gap: Spread }
const ends = (found: ReadonlyArray<Pick<Found, "control" | "experts">>) => {
  const controls = found.map(({ control }) => bits(Table.rows(control))), oracles = found.map(({ experts }) => bits(oracleOf(experts)))
  return { controls, oracles, summary: { control: spread(controls), oracle: spread(oracles), gap: spread(controls.map((control, at) => control - oracles[at]!)) } }
}
const against = (variant: string, seeds: number, { control, gap, oracle }: Ends): string =>
  `**${names[variant]}**, ${seeds} seeds: control ${number(control)}, oracle ${number(oracle)}, gap ${number(gap)} bits per byte, ${(gap.mean / gap.spread).toFixed(1)} times its spread`
/** Whether the gap stands out of its spread, for each kind of experts. */
export const gaps = (seeds: Readonly<Record<string, Readonly<Record<string, Pick<Found, "control" | "experts">>>>>): string => Object.keys(names).map((variant) => {
  const found = Object.values(seeds).map((seed) => seed[variant]!)
  return against(variant, found.length, ends(found).summary)
}).join("\n")

/** The table of one kind of experts, best first. */
export const lines = (found: ReadonlyArray<Found>): Ends & { readonly methods: ReadonlyArray<Line> } => {
  const { controls, oracles, summary } = ends(found)
  return {
    ...summary,
    methods: Object.keys(found[0]!.methods).map((method): Line => {
      const each = found.map((one) => bits(Table.rows(one.methods[method]!.positions))), { activeParameters, parameters } = found[0]!.methods[method]!.size
      const { about, group } = methods[method] ?? { about: "posterior under all experts: all are run for every token", group: "ceiling" }
      const switched = found.every((one) => method in one.switch) ? { switched: spread(found.map((one) => bits(secondHalf(one.switch[method]!)) - bits(secondHalf(one.switch["control"]!)))) } : {}
      return { method, group, about, bits: spread(each), closed: spread(each.map((value, at) => closed(value, controls[at]!, oracles[at]!))), ...switched, active: activeParameters, parameters }
    }).sort((a, b) => a.bits.mean - b.bits.mean)
  }
}

export const number = ({ mean, spread }: Spread, digits = 4): string => `${mean.toFixed(digits)} ± ${spread.toFixed(digits)}`
const percent = ({ mean, spread }: Spread): string => `${(100 * mean).toFixed(0)} ± ${(100 * spread).toFixed(0)} %`

export const names: Readonly<Record<string, string>> = { lowRank: "low-rank experts", full: "full experts" }
/** The tables as Markdown, for docs/main-job.md: a row for each way of routing, best first; beside it the same with its experts trained on. */
export const tables = (values: Values): string => Object.keys(names).map((variant) => {
  const found = Object.values(values.seeds).map((seed) => seed[variant]!), { methods: each, ...summary } = lines(found)
  const row = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`, trained = new Map(each.filter(({ group }) => group === "jointly").map((line) => [line.method, line]))
  const numbers = (line: Line | undefined) => line === undefined ? ["", ""] : [number(line.bits), percent(line.closed)]
  return [
    `${against(variant, found.length, summary)}; seed model ${bits(Table.rows(values.seed)).toFixed(4)}`, "",
    row(["routing", "what it is", "bits per byte", "gap closed", "experts trained on", "gap closed", "after a switch of domain", "weights active per token"]), row(Array.from({ length: 8 }, () => "---")),
    ...each.filter(({ group }) => group !== "jointly").map((line) => row([
      line.group === "ceiling" ? `*${line.method}*` : line.method, line.about, ...numbers(line), ...numbers(trained.get(joint(line.method))), line.switched === undefined ? "" : `${line.switched.mean < 0 ? "−" : "+"}${number({ ...line.switched, mean: Math.abs(line.switched.mean) }, 3)}`, Math.round(line.active).toLocaleString("en-US")
    ])), ""
  ].join("\n")
}).join("\n")

/** The settings of every method on the choose split as Markdown, for docs/main-job.md; the best one is bold. */
export const tuning = (values: Readonly<Record<string, Readonly<Record<string, Scored>>>>): string => ["| routing | settings | |", "| --- | --- | --- |", ...Object.entries(values).map(([name, settings]) => {
  const scored = Object.entries(settings).map(([setting, table]) => ({ setting, value: bits(Table.rows(table)) })), best = Math.min(...scored.map(({ value }) => value))
  const cells = scored.map(({ setting, value }) => value === best ? `**${setting}: ${value.toFixed(4)}**` : `${setting}: ${value.toFixed(4)}`)
  return `| ${name} | ${cells.length === 1 ? `${cells[0]!.replaceAll("*", "")} | ` : cells.join(" | ")} |`
})].join("\n")
