import type { Report } from "./Report.ts"
import { costs, facts, grids } from "./reportTables.ts"

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ")
const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map((_, at) => at === 0 ? "---" : "---:"), ...rows].map((row) => `| ${row.map(cell).join(" | ")} |`).join("\n")

/** A report as Markdown; best values are bold. */
export const markdown = (report: Report): string => {
  const parts = [`# ${report.title}`]
  if (report.banner !== undefined) parts.push(`> **${report.banner}**`)
  for (const { metric, unit, better, tasks, rows } of grids(report.values)) {
    parts.push(`## ${metric}`, `${unit}${better === undefined ? "" : `, ${better} is better`}; ± is one standard error over ${report.over ?? "documents"}; bold: the best of a column.`,
      table(["model", ...tasks], rows.map(({ model, cells }) => [model, ...cells.map((found) => found === undefined ? "" : found.best ? `**${found.text}**` : found.text)])))
  }
  for (const { title, text, figures } of report.sections) {
    parts.push(`## ${title}`)
    if (text !== undefined) parts.push(text)
    for (const { alt, howToRead } of figures) parts.push(`*${alt}* (drawn in the HTML report). ${howToRead}`)
  }
  const cost = costs(report.plan, report.actual)
  if (cost.length > 0) parts.push("## Plan and actual", table(["stage", "quantity", "planned", "actual", "difference"], cost.map((row) => [row.stage, row.quantity, row.planned, row.actual, row.difference])))
  if (Object.keys(report.lineage).length > 0) {
    parts.push("## Lineage")
    for (const [model, value] of Object.entries(report.lineage)) parts.push(`### ${model}`, facts(value).map(([name, text]) => `- ${name === "" ? "" : `${name}: `}${text}`).join("\n"))
  }
  if (report.notes.length > 0) parts.push("## Notes", report.notes.map((note) => `- ${note}`).join("\n"))
  parts.push(`Seed ${report.seed}, split "${report.split}".`)
  return `${parts.join("\n\n")}\n`
}
