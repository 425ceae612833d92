/** The table that lm-evaluation-harness prints, to the letter: its columns are laid out by pytablewriter, which drops decimals that no cell of a column needs. */
import type { Results } from "./Results.ts"

type Cell = { readonly text: string; readonly number: number | undefined }
const cell = (text: string): Cell => {
  const number = /^-?(\d+(\.\d+)?|inf|nan)$/.test(text) ? Number(text === "inf" ? Infinity : text === "-inf" ? -Infinity : text === "nan" ? NaN : text) : undefined
  return { text, number }
}
/** Decimals that a number of at most four needs. */
const decimals = (number: number): number => Number.isFinite(number) ? (number.toFixed(4).replace(/0+$/, "").split(".")[1] ?? "").length : 0

/** As Python's `format(text, "^width")`: the odd space goes to the right. */
const center = (text: string, width: number): string => {
  const gap = width - text.length, left = Math.floor(gap / 2)
  return " ".repeat(left) + text + " ".repeat(gap - left)
}

const layOut = (headers: ReadonlyArray<string>, lines: ReadonlyArray<ReadonlyArray<string>>): string => {
  const columns = headers.map((header, at) => {
    const cells = lines.map((line) => cell(line[at]!)), numbers = cells.flatMap(({ number }) => number === undefined ? [] : [number])
    const numeric = numbers.length > 0 && cells.every(({ number, text }) => number !== undefined || text === ""), places = Math.max(0, ...numbers.map(decimals))
    const shown = cells.map(({ number, text }) => {
      if (number === undefined) return text
      if (Number.isNaN(number)) return "NaN"
      if (!Number.isFinite(number)) return number > 0 ? "Infinity" : "-Infinity"
      return !numeric && Number.isInteger(number) ? String(number) : number.toFixed(places)
    })
    const width = Math.max(3, header.length, ...shown.map((text) => text.length))
    return {
      header: center(header, width), rule: numeric ? `${"-".repeat(width - 1)}:` : "-".repeat(width),
      cells: shown.map((text, row) => cells[row]!.number === undefined ? text.padEnd(width) : text.padStart(width))
    }
  })
  const line = (part: (column: typeof columns[number]) => string) => `|${columns.map(part).join("|")}|\n`
  return line(({ header }) => header) + line(({ rule }) => rule) + lines.map((_, row) => line(({ cells }) => cells[row]!)).join("")
}

/** Names in the order of the table, and how deep each stands: groups and what is in them first, then the others, each sorted. */
const order = (groups: Readonly<Record<string, ReadonlyArray<string>>>, names: ReadonlySet<string>): ReadonlyArray<readonly [name: string, depth: number]> => {
  const depths = new Map<string, number>(), found: Array<readonly [string, number]> = [], children = new Set(Object.values(groups).flat())
  const visit = (name: string, depth: number): void => {
    depths.set(name, depth)
    if (names.has(name)) found.push([name, depth])
    for (const child of [...groups[name] ?? []].sort()) visit(child, depth + 1)
  }
  for (const name of Object.keys(groups).sort()) if (!children.has(name)) visit(name, 0)
  return [...found, ...[...names].sort().filter((name) => !depths.has(name)).map((name) => [name, 0] as const)]
}

/** The table of tasks, or of groups. */
export const resultTable = (results: Pick<Results, "results" | "groups" | "group_subtasks" | "versions" | "n-shot" | "higher_is_better">, column: "results" | "groups" = "results"): string => {
  const shown = results[column] ?? {}
  const lines = order(results.group_subtasks, new Set(Object.keys(shown))).flatMap(([name, depth]) => {
    const { alias = name, ...figures } = shown[name]!, higher = results.higher_is_better[name] ?? {}
    let title = depth > 0 ? `${" ".repeat(depth)}- ${alias as string}` : alias as string, version = name in results.versions ? String(results.versions[name]) : "    N/A"
    return Object.keys(figures).filter((key) => key.includes(",") && !key.split(",")[0]!.endsWith("_stderr")).sort().map((key) => {
      const [metric, filter] = key.split(",") as [string, string], value = figures[key] as number, error = figures[`${metric}_stderr,${filter}`]
      const line = [title, version, filter, String(results["n-shot"][name] ?? " "), metric, higher[metric] === undefined ? "" : higher[metric] ? "↑" : "↓", value.toFixed(4).toLowerCase().replace("infinity", "inf"),
        error === undefined ? "" : "±", error === undefined ? "" : error === "N/A" ? "   N/A" : (error as number).toFixed(4).toLowerCase().replace("infinity", "inf")]
      title = ""
      version = ""
      return line
    })
  })
  return layOut([column === "groups" ? "Groups" : "Tasks", "Version", "Filter", "n-shot", "Metric", "", "Value", "", "Stderr"], lines)
}
