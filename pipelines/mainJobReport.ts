/**
 * The sweep's numbers set beside each other: how much of the gap from control to oracle each way of routing closes, as the mean over seeds and its spread.
 */
import { Table } from "@switchyard/core"
import { type Positions, Report } from "@switchyard/eval"
import { Console, Effect } from "effect"

type Rows = ReadonlyArray<Table.Row<Positions.Positions>>
type Scored = Table.Table<Positions.Positions>

/** Bits per byte: the mean over domains of each domain's sum over positions (a token is a byte here). */
export const bits = (rows: Rows, domains: ReadonlyArray<string> = [...new Set(rows.map(({ domain }) => domain))]): number =>
  domains.reduce((sum, name) => {
    const mine = rows.filter(({ domain }) => domain === name)
    return sum + mine.reduce((total, { nats }) => total + nats, 0) / mine.reduce((total, { tokens }) => total + tokens, 0) / Math.LN2
  }, 0) / domains.length

/** The settings of every method on the choose split, best first marked. */
export const tuning = (values: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, Scored>>>>>>, _out: string) => Effect.forEach(Object.entries(values), ([variant, methods]) =>
  Effect.forEach(Object.entries(methods), ([name, settings]) => {
    const scored = Object.entries(settings).map(([setting, table]) => ({ setting, value: bits(Table.rows(table)) })), best = Math.min(...scored.map(({ value }) => value))
    return Console.log(`${variant.padEnd(9)} ${name.padEnd(26)} ${scored.map(({ setting, value }) => `${setting}: ${value.toFixed(4)}${value === best ? " *" : "  "}`).join("   ")}`)
  }), { discard: true })

export const mainJobReport = (_values: unknown) => Effect.succeed(Report.make({ title: "x", values: [] }))
