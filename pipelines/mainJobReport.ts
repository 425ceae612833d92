/**
 * The sweep's numbers set beside each other: how much of the gap from control to oracle each way of routing closes, as the mean over seeds and its spread; by position in the
 * context; and what happens where a context changes its domain.
 */
import { File, Table, type Tables } from "@switchyard/core"
import { Diagnostics, Plot, type Positions, Report } from "@switchyard/eval"
import { Console, Effect } from "effect"
import { join } from "node:path"
import { methods } from "./mainJob.ts"

type Scored = Table.Table<Positions.Positions>
type Rows = ReadonlyArray<Table.Row<Positions.Positions>>
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
const mean = (rows: Rows, what: (row: Rows[number]) => number): number => {
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
const oracleOf = (experts: Found["experts"]): Rows => Object.entries(experts).flatMap(([domain, table]) => Table.rows(table).filter((row) => row.domain === domain))

export interface Line { readonly method: string; readonly group: string; readonly about: string; readonly bits: Spread; readonly closed: Spread; readonly active: number; readonly parameters: number }
/** The table of one kind of experts, best first. */
export const lines = (found: ReadonlyArray<Found>): { readonly control: Spread; readonly oracle: Spread; readonly gap: Spread; readonly methods: ReadonlyArray<Line> } => {
  const controls = found.map(({ control }) => bits(Table.rows(control))), oracles = found.map(({ experts }) => bits(oracleOf(experts)))
  return {
    control: spread(controls), oracle: spread(oracles), gap: spread(controls.map((control, at) => control - oracles[at]!)),
    methods: Object.keys(found[0]!.methods).map((method): Line => {
      const each = found.map((one) => bits(Table.rows(one.methods[method]!.positions))), { activeParameters, parameters } = found[0]!.methods[method]!.size
      const { about, group } = methods[method] ?? { about: "posterior under all experts: all are run for every token", group: "ceiling" }
      return { method, group, about, bits: spread(each), closed: spread(each.map((value, at) => closed(value, controls[at]!, oracles[at]!))), active: activeParameters, parameters }
    }).sort((a, b) => a.bits.mean - b.bits.mean)
  }
}

const edges = [0, 4, 8, 16, 32, 64, 96, 128, 160, 192, 256]
/** By bins of positions: the middle of each, and the value there. */
const binned = (rows: Rows, what: (row: Rows[number]) => number) => edges.slice(1).flatMap((to, at) => {
  const mine = rows.filter(({ position }) => position >= edges[at]! && position < to)
  return mine.length === 0 ? [] : [{ position: (edges[at]! + to) / 2, value: mean(mine, what) }]
})
const series = (name: string, points: ReadonlyArray<{ readonly position: number; readonly value: number }>) => points.map((point) => ({ series: name, ...point }))
const loss = ({ nats }: Rows[number]): number => nats / Math.LN2
/** All seeds' rows together: sums of sums. */
const pooled = (tables: ReadonlyArray<Rows>): Rows => tables.flat()

const number = ({ mean, spread }: Spread, digits = 4): string => `${mean.toFixed(digits)} ± ${spread.toFixed(digits)}`
const percent = ({ mean, spread }: Spread): string => `${(100 * mean).toFixed(0)} ± ${(100 * spread).toFixed(0)} %`

const names: Readonly<Record<string, string>> = { lowRank: "low-rank experts", full: "full experts" }
/** The tables as Markdown, for docs/main-job.md. */
export const tables = (values: Values): string => Object.keys(names).map((variant) => {
  const found = Object.values(values.seeds).map((seed) => seed[variant]!), { control, gap, methods: each, oracle } = lines(found)
  const row = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`
  return [
    `**${names[variant]}**, ${found.length} seeds: seed model ${bits(Table.rows(values.seed)).toFixed(4)}, control ${number(control)}, oracle ${number(oracle)}, gap ${number(gap)} bits per byte`, "",
    row(["routing", "what it is", "bits per byte", "gap closed", "weights active per token"]), row(["---", "---", "---", "---", "---"]),
    ...each.map((line) => row([line.group === "ceiling" ? `*${line.method}*` : line.method, line.about, number(line.bits), percent(line.closed), Math.round(line.active).toLocaleString("en-US")])), ""
  ].join("\n")
}).join("\n")

const sections = (values: Values): ReadonlyArray<Report.Section> => Object.keys(names).flatMap((variant) => {
  const found = Object.values(values.seeds).map((seed) => seed[variant]!), title = names[variant]!, shown = Object.keys(found[0]!.switch).filter((name) => name !== "control")
  const rows = (name: string) => pooled(found.map(({ methods }) => Table.rows(methods[name]!.positions))), control = pooled(found.map((one) => Table.rows(one.control)))
  const above = (mine: Rows, base: Rows) => { const from = binned(base, loss); return binned(mine, loss).map(({ position, value }, at) => ({ position, value: value - from[at]!.value })) }
  const switched = (name: string) => pooled(found.map((one) => Table.rows(one.switch[name]!)))
  const figure = (points: ReadonlyArray<{ readonly series: string; readonly position: number; readonly value: number }>, quantity: string, alt: string, howToRead: string, format?: string): Report.Figure =>
    ({ spec: Plot.byPosition(points, { quantity, ...format === undefined ? {} : { format } }) as never, alt, howToRead })
  return [{
    title: `By position: ${title}`, figures: [
      figure([...[...shown, "all experts"].flatMap((name) => series(name, above(rows(name), control))), ...series("oracle", above(pooled(found.map(({ experts }) => oracleOf(experts))), control))],
        "bits per byte above the control", "Bits per byte above the control by position in the context", "Zero is the control; lower is better. The first bytes of a context tell little about its domain."),
      figure(shown.flatMap((name) => series(name, binned(rows(name), ({ chosen }) => chosen))), "first choices of the own expert", "Choice accuracy by position", "One: every layer chooses the domain's own expert first. A quarter is chance.", ".0%")
    ]
  }, {
    title: `A switch of domain: ${title}`, text: "Contexts of which the first half is of one domain and the second of another.", figures: [
      figure(shown.flatMap((name) => series(name, above(switched(name), switched("control")))), "bits per byte above the control", "Bits per byte above the control across a switch of domain in mid-context", "The domain changes at the middle. A router that trusts all of the past equally pays after it."),
      figure(shown.flatMap((name) => series(name, binned(switched(name), ({ weight }) => weight))), "weight of the second domain's expert", "Weight of the second domain's expert across the switch", "Good is near zero before the middle and near one soon after it.", ".0%")
    ]
  }]
})

/** The report over all seeds, with its tables as Markdown beside it. */
export const mainJobReport = (values: Values, out: string) => Effect.gen(function*() {
  const count = Object.keys(values.seeds).length, summaries = Object.keys(names).map((variant) => ({ variant, ...lines(Object.values(values.seeds).map((seed) => seed[variant]!)) }))
  const measured = summaries.flatMap(({ control, methods: each, oracle, variant }) => {
    const value = (model: string, metric: string, unit: string, { mean, spread }: Spread): Report.Value => ({ model, task: names[variant]!, metric, unit, value: mean, count, standardError: count < 2 ? null : spread / Math.sqrt(count) })
    return [
      value("control", "bitsPerByte", "bits/byte", control), value("oracle", "bitsPerByte", "bits/byte", oracle),
      ...each.flatMap((line) => [value(line.method, "bitsPerByte", "bits/byte", line.bits), value(line.method, "gapClosed", "of the gap", line.closed), value(line.method, "activeParameters", "weights", { mean: line.active, spread: 0, count })])
    ]
  })
  const report = Report.make({
    title: "Which routing makes experts worth having", values: measured, over: "seeds", split: "report",
    notes: [
      "control: one dense rival trained on all domains for as many tokens as experts and router saw together (a low-rank adapter of rank 16, the active size of two experts of rank 8; or one full feed-forward).",
      "oracle: each document by its own domain's expert alone. gapClosed: 0 at the control, 1 at the oracle, per seed. all experts: a ceiling, for all experts run for every token; not entered.",
      "Settings were chosen on the choose split, seed 0, as many for every method as for the control; the report split was read once for each seed.",
      ...summaries.map(({ gap, variant }) => `${names[variant]}: control minus oracle is ${number(gap)} over seeds, ${(gap.mean / gap.spread).toFixed(0)} times its spread.`)
    ],
    sections: [...sections(values), ...Object.entries(values.traces).map(([name, trace]): Report.Section => ({
      title: `Load by layer: ${name}`, figures: [
        { spec: Plot.expertLoad(Diagnostics.layers(trace)) as never, alt: `Expert load by layer under ${name}`, howToRead: "A row is a layer; its cells add up to 100 %." },
        { spec: Plot.domainHeat(Diagnostics.layers(trace)) as never, alt: `Expert by domain under ${name}`, howToRead: "A row is a domain, its cells add up to 100 %. Rows alike mean that routing ignores the domain." }
      ]
    }))]
  })
  yield* Report.write(report, out)
  const text = tables(values)
  yield* File.write(join(out, "tables.md"), text)
  yield* Console.log(text)
})

/** The settings of every method on the choose split; the best is marked. */
export const tuning = (values: Readonly<Record<string, Readonly<Record<string, Scored>>>>) => Effect.forEach(Object.entries(values), ([name, settings]) => {
  const scored = Object.entries(settings).map(([setting, table]) => ({ setting, value: bits(Table.rows(table)) })), best = Math.min(...scored.map(({ value }) => value))
  return Console.log(`${name.padEnd(26)} ${scored.map(({ setting, value }) => `${setting}: ${value.toFixed(4)}${value === best ? " *" : "  "}`).join("   ")}`)
}, { discard: true })
