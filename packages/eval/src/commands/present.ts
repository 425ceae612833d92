/** A report on the terminal and in its folder. */
import * as Report from "../Report.ts"
import { grids } from "../reportTables.ts"
import { Console, Effect } from "effect"
import { join } from "node:path"

/** Rows of equal width, the first column to the left. */
export const aligned = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => [...row[column] ?? ""].length)))
  const pad = (text: string, column: number) => { const gap = " ".repeat(widths[column]! - [...text].length); return column === 0 ? text + gap : gap + text }
  return rows.map((row) => row.map(pad).join("  ").trimEnd()).join("\n")
}

/** The report's values: a table for each metric, a row for each model. */
export const text = (report: Report.Report): string => grids(report.values).map(({ metric, rows, tasks, unit }) =>
  `${metric} (${unit})\n${aligned([["", ...tasks], ...rows.map(({ cells, model }) => [model, ...cells.map((cell) => cell === undefined ? "" : `${cell.text}${cell.best ? "*" : " "}`)])])}`).join("\n\n")

/** Writes the report's files and prints its tables; `lines` follow them. */
export const present = (report: Report.Report, out: string, lines: ReadonlyArray<string> = []) => Effect.gen(function*() {
  yield* Report.write(report, out)
  yield* Console.log(`${text(report)}\n`)
  for (const line of lines) yield* Console.log(line)
  yield* Console.log(`written: ${join(out, "report.md")}, report.html, report.json, results.arrow`)
})
