/**
 * The report as one page: every plot an SVG inside it, the style inside it, no script, and a content policy that forbids it to load anything.
 */
import { pageStyle } from "./pageStyle.ts"
import { escape, type Spec, toSvg } from "./Plot.ts"
import type { Report, Section } from "./Report.ts"
import { costs, facts, type Grid, grids } from "./reportTables.ts"

/** The whole page as text. */
export const page = async (report: Report): Promise<string> => {
  const sections = await Promise.all(report.sections.map(section))
  // the first metric, and differences paired by document, which say more than the spread over documents; the rest on demand
  const [first, ...further] = grids(report.values), open = further.filter(({ metric }) => metric.includes(" − ")).slice(0, 1), others = further.filter((found) => !open.includes(found))
  const banner = report.banner === undefined ? "" : `<p class="banner">${escape(report.banner)}</p>`
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>${escape(report.title)}</title><style>${pageStyle}</style></head>
<body><main>
<header><h1>${escape(report.title)}</h1>
<p class="sub">${report.header.models.length} models, ${report.values.length} values, split “${escape(report.split)}”, seed ${report.seed}</p>${banner}</header>
${first === undefined ? "" : `<h2>${escape(label(first))}</h2>${grid(first, report.over)}`}
${open.map((found) => `<h2>${escape(label(found))}</h2><p>The same documents, model by model: the spread between documents cancels.</p>${grid(found, report.over)}`).join("\n")}
${others.length === 0 ? "" : `<details><summary>More metrics: ${others.map((found) => escape(found.metric)).join(", ")}</summary>${others.map((found) => `<h3>${escape(label(found))}</h3>${grid(found, report.over)}`).join("\n")}</details>`}
${sections.join("\n")}
${costTable(report)}
${lineage(report)}
${report.notes.length === 0 ? "" : `<h2>Notes</h2><ul>${report.notes.map((note) => `<li>${escape(note)}</li>`).join("")}</ul>`}
<footer>Made by Switchyard. Everything on this page is inside this file.</footer>
</main></body></html>
`
}

const label = ({ metric, unit }: Grid): string => `${metric.replaceAll(/([a-z])([A-Z])/g, "$1 $2").replace(/^./, (letter) => letter.toUpperCase()).replace(/^(\w+) (\w+) (\w+)/, (words) => words[0] + words.slice(1).toLowerCase())} (${unit})`

const grid = ({ better, tasks, rows }: Grid, over = "documents"): string => {
  const cell = (found: Grid["rows"][number]["cells"][number]): string => {
    if (found === undefined) return "<td></td>"
    const [value, error] = found.text.split(" ± ")
    const text = `${escape(value!)}${error === undefined ? "" : `<span class="error"> ± ${escape(error)}</span>`}`
    return `<td>${found.best ? `<span class="best" title="best of this column">${text}</span>` : text}</td>`
  }
  return `<div class="card"><table><thead><tr><th scope="col">model</th>${tasks.map((task) => `<th scope="col">${escape(task)}</th>`).join("")}</tr></thead>
<tbody>${rows.map(({ model, cells }) => `<tr><th scope="row">${escape(model)}</th>${cells.map(cell).join("")}</tr>`).join("\n")}</tbody></table></div>
<p class="read">How to read this: ${better === undefined ? "" : `${better} is better, the best of each column is marked; `}± is one standard error over ${escape(over)}.</p>`
}

const section = async ({ title, text, figures }: Section): Promise<string> => {
  const drawn = await Promise.all(figures.map(async ({ spec, alt, howToRead }) =>
    `<figure class="card">${await toSvg(spec as Spec, alt)}<figcaption><b>How to read this.</b> ${escape(howToRead)}</figcaption></figure>`))
  return `<section><h2>${escape(title)}</h2>${(text ?? "").split("\n").filter((line) => line.trim() !== "").map((line) => `<p>${escape(line)}</p>`).join("")}${drawn.join("\n")}</section>`
}

const costTable = ({ plan, actual }: Report): string => {
  const rows = costs(plan, actual)
  if (rows.length === 0) return ""
  return `<h2>Plan and actual</h2><details${rows.length <= 24 ? " open" : ""}><summary>${new Set(rows.map(({ run }) => run)).size} stages run</summary><div class="card"><table>
<thead><tr><th scope="col">stage</th><th scope="col" class="left">quantity</th><th scope="col">planned</th><th scope="col">actual</th><th scope="col">difference</th></tr></thead>
<tbody>${rows.map((row, at) => `<tr><th scope="row">${rows[at - 1]?.run === row.run ? "" : escape(row.stage)}</th><td class="left">${row.quantity}</td><td>${row.planned}</td><td>${row.actual}</td><td>${row.difference}</td></tr>`).join("\n")}</tbody></table></div></details>`
}

const lineage = ({ lineage: models }: Report): string => Object.keys(models).length === 0 ? "" : `<h2>Lineage</h2>${Object.entries(models).map(([model, value]) =>
  `<details><summary>${escape(model)}</summary><div class="card"><table class="facts"><tbody>${facts(value).map(([name, text]) =>
    `<tr><th scope="row">${escape(name)}</th><td class="wide">${escape(text)}</td></tr>`).join("")}</tbody></table></div></details>`).join("\n")}`
