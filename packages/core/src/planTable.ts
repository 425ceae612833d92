/**
 * A plan as text: a line per stage, the actual figures under the planned ones, and the places where the two disagree.
 */
import { compare, type Cost, quantities } from "./Cost.ts"
import type { Planned } from "./Plan.ts"

const units = ["", "k", "M", "G", "T", "P", "E", "Z"]
const short = (value: number | undefined): string => {
  if (value === undefined) return "·"
  const rounded = Number(value.toPrecision(3)) // first, so that 999,999 is 1.00M and not a thousand thousands
  const power = rounded < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(rounded) / 3))
  return `${power === 0 ? rounded : (rounded / 1000 ** power).toPrecision(3)}${units[power]}`
}
const parameters = (header: unknown): number | undefined => {
  const value = (header as { readonly parameters?: unknown } | null | undefined)?.parameters
  return typeof value === "number" ? value : undefined
}

const figures = (cost: Cost): ReadonlyArray<string> => quantities.map((quantity) => short(cost[quantity]))

/** The plan as a table; under a planned figure stands the actual one where the result is kept. */
export const table = (rows: ReadonlyArray<Planned>): string => {
  const heads = ["", "key", "stage", "parameters", "flops", "host bytes", "device bytes", "read", "written", "largest buffer", "seconds"]
  const lines = rows.flatMap((row) => [
    [row.status, row.key.slice(0, 8), row.stage, short(parameters(row.header)), ...figures(row.cost), ""],
    ...row.actual === undefined ? [] : [["", "", "  actual", "", ...figures(row.actual), row.seconds?.toFixed(1) ?? ""]]
  ])
  const widths = heads.map((head, column) => Math.max(head.length, ...lines.map((cells) => cells[column]!.length)))
  return [heads, ...lines].map((cells) => cells.map((cell, column) => column < 3 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)).join("  ").trimEnd()).join("\n")
}

/** A line for each figure that was planned wrongly. */
export const surprises = (rows: ReadonlyArray<Planned>): ReadonlyArray<string> => rows.flatMap((row) => row.actual === undefined ? []
  : compare(row.cost, row.actual).filter((difference) => difference.flagged).map(({ quantity, planned, actual, relative }) =>
    `${row.stage} ${row.key.slice(0, 8)}: ${quantity} planned ${short(planned)}, actual ${short(actual)} (${relative > 0 ? "+" : ""}${(100 * relative).toFixed(0)} %)`))
