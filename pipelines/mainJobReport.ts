/**
 * The sweep's report: ways of routing set beside each other, by position in the context, where a context changes its domain, and by load.
 */
import { File, Table } from "@switchyard/core"
import { Diagnostics, Plot, Report } from "@switchyard/eval"
import { Console, Effect } from "effect"
import { join } from "node:path"
import { ways } from "./mainJob.ts"
import { bits, lines, mean, names, number, oracleOf, type Rows, type Spread, tables, type Values } from "./mainJobTables.ts"

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

const byGroup: Readonly<Record<string, ReadonlyArray<string>>> = Object.fromEntries([...new Set(Object.values(ways).map(({ group }) => group))].map((group) => [group, Object.keys(ways).filter((name) => ways[name]!.group === group)]))
const sections = (values: Values): ReadonlyArray<Report.Section> => Object.keys(names).flatMap((variant) => {
  const found = Object.values(values.seeds).map((seed) => seed[variant]!), title = names[variant]!
  const rows = (name: string) => pooled(found.map(({ methods }) => Table.rows(methods[name]!.positions))), control = pooled(found.map((one) => Table.rows(one.control)))
  const above = (mine: Rows, base: Rows) => { const from = binned(base, loss); return binned(mine, loss).map(({ position, value }, at) => ({ position, value: value - from[at]!.value })) }
  const switched = (name: string) => pooled(found.map((one) => Table.rows(one.switch[name]!)))
  const figure = (points: ReadonlyArray<{ readonly series: string; readonly position: number; readonly value: number }>, quantity: string, alt: string, howToRead: string, format?: string): Report.Figure =>
    ({ spec: Plot.byPosition(points, { quantity, ...format === undefined ? {} : { format } }) as never, alt, howToRead })
  const limits = [...series("oracle", above(pooled(found.map(({ experts }) => oracleOf(experts))), control)), ...series("all experts", above(rows("all experts"), control))]
  /** The best of each group beside each other, then each group. */
  const best = Object.values(byGroup).map((group) => [...group].sort((a, b) => bits(rows(a)) - bits(rows(b)))[0]!)
  const shown = Object.entries({ "the best of each group": best, ...byGroup })
  return [{
    title: `By position: ${title}`, figures: shown.flatMap(([group, of]) => [
      figure([...of.flatMap((name) => series(name, above(rows(name), control))), ...limits], "bits per byte above the control", `Bits per byte above the control by position in the context: ${group}`,
        `${sentence(group)}. Zero is the control; lower is better. The first bytes of a context tell little about its domain.`),
      figure(of.flatMap((name) => series(name, binned(rows(name), ({ chosen }) => chosen))), "first choices of the own expert", `Choice accuracy by position: ${group}`, `${sentence(group)}. One: every layer chooses the domain's own expert first. A quarter is chance.`, ".0%")
    ])
  }, {
    title: `A switch of domain: ${title}`, text: "Contexts of which the first half is of one domain and the second of another.", figures: shown.flatMap(([group, of]) => [
      figure(of.flatMap((name) => series(name, above(switched(name), switched("control")))), "bits per byte above the control", `Bits per byte above the control across a switch of domain in mid-context: ${group}`,
        `${sentence(group)}. The domain changes at the middle. A router that trusts all of the past equally pays after it.`),
      figure(of.flatMap((name) => series(name, binned(switched(name), ({ weight }) => weight))), "weight of the second domain's expert", `Weight of the second domain's expert across the switch: ${group}`, `${sentence(group)}. Good is near zero before the middle and near one soon after it.`, ".0%")
    ])
  }]
})
const sentence = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

/** What each expert has to do in each layer, a row for each router; and which domain asks which expert, for two of them. */
const loads = (traces: Values["traces"]): ReadonlyArray<Report.Section> => {
  const layersOf = Object.entries(traces).map(([name, trace]) => ({ name, layers: Diagnostics.layers(trace) }))
  const byLayer = new Map<number, Record<string, ReadonlyArray<number>>>()
  for (const { layers, name } of layersOf) for (const { layer, load } of layers) byLayer.set(layer, { ...byLayer.get(layer), [name]: load })
  return [{
    title: "Load by layer", figures: [{
      spec: Plot.domainHeat([...byLayer].sort(([a], [b]) => a - b).map(([layer, byDomain]) => ({ layer, load: Object.values(byDomain)[0]!, byDomain }))) as never, alt: "Expert load by layer under each router",
      howToRead: "A panel is a layer, a row a router: its cells add up to 100 %, a quarter each where the load is even. Low-rank experts, seed 0."
    }]
  }, ...["token, renorm, top 2", "n-grams"].flatMap((name): ReadonlyArray<Report.Section> => layersOf.filter((one) => one.name === name).map(({ layers }) => ({
    title: `Expert by domain: ${name}`, figures: [{ spec: Plot.domainHeat(layers) as never, alt: `Expert by domain under ${name}`, howToRead: "A row is a domain, its cells add up to 100 %. Rows alike mean that routing ignores the domain." }]
  })))]
}

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
    sections: [...sections(values), ...loads(values.traces)]
  })
  yield* Report.write(report, out)
  const text = tables(values)
  yield* File.write(join(out, "tables.md"), text)
  yield* Console.log(text)
})
