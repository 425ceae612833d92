import { describe, expect, test } from "@jest/globals"
import { Table, Tables } from "@switchyard/core"
import { Effect } from "effect"
import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import * as Plot from "./Plot.ts"
import * as Report from "./Report.ts"
import { bytes, costs, grids, operations, withError } from "./reportTables.ts"

const domains = ["fiction", "speech", "law", "code"]
const models = ["seed", "expert fiction", "expert speech", "expert law", "expert code", "oracle", "control", "mixture", "compressed", "mixture, folder read back", "compressed, folder read back", "routed, folder read back"]
const wave = (at: number) => Math.abs(Math.sin(at * 12.9898) * 43758.5453) % 1

/** A report with every kind of part in it; its numbers are made up by a formula. */
const exampleReport = (): Report.Report => {
  const quality = models.map((model, at) => ({
    model, value: 2.6 - 0.05 * at, standardError: 0.02 + 0.01 * wave(at), parameters: at === 0 ? 760_000 : at < 6 ? 840_000 : at === 7 ? 1_400_000 : 1_050_000,
    activeFlops: at < 6 ? 1_500_000 + 20_000 * at : 1_900_000
  }))
  const layers = Array.from({ length: 6 }, (_, layer) => {
    const byDomain = Object.fromEntries(domains.map((domain, d) => {
      const raw = Array.from({ length: 4 }, (_, expert) => 0.1 + wave(layer * 16 + d * 4 + expert) * 0.3 + (expert === d ? 0.2 * layer : 0))
      const sum = raw.reduce((a, b) => a + b, 0)
      return [domain, raw.map((share) => share / sum)]
    }))
    return { layer, byDomain, load: [0, 1, 2, 3].map((expert) => domains.reduce((sum, domain) => sum + byDomain[domain]![expert]! / 4, 0)) }
  })
  const curve = (from: number, to: number, run: number) => {
    const tokens = Float64Array.from({ length: 400 }, (_, at) => (at + 1) * 256)
    return { tokens, loss: Float32Array.from(tokens, (_, at) => to + (from - to) * Math.exp(-at / 90) + 0.15 * (wave(at + run * 1000) - 0.5)) }
  }
  return Report.make({
    title: "Domain experts: quickstart", banner: "one seed, short budget", seed: 0, split: "report",
    values: models.flatMap((model, at) => [
      ...domains.map((task, d): Report.Value => ({ model, task, metric: "bitsPerByte", value: 2.9 - 0.06 * at - 0.1 * d + 0.1 * wave(at * 7 + d), unit: "bits/byte", count: 24, standardError: 0.031 })),
      { model, task: "all domains", metric: "bitsPerByte", value: 2.6 - 0.05 * at, unit: "bits/byte", count: 96, standardError: 0.0164 },
      ...model === "seed" ? [] : [{ model, task: "all domains", metric: "bitsPerByte − seed", value: -0.05 * at, unit: "bits/byte", count: 96, standardError: at === 1 ? null : 0.004 }]
    ]),
    sections: [
      {
        title: "Quality against size and work", text: "Each model on the same held-out documents.",
        figures: [{ spec: Plot.qualityBySize(quality, { quality: "bits per byte" }), alt: "Quality against parameters and FLOPs per token", howToRead: "Lower is better, further left is smaller or cheaper. The bars are one standard error over documents." }]
      },
      { title: "Training", figures: [{ spec: Plot.lossCurves({ "expert fiction": curve(2.2, 1.7, 0), "expert speech": curve(2.1, 1.5, 1), "expert law": curve(2.4, 1.4, 2), "expert code": curve(2.8, 1.2, 3), routers: curve(1.6, 1.45, 4), control: curve(2.3, 1.55, 5) }), alt: "Training loss", howToRead: "Each line is one training run; a flat line has stopped learning." }] },
      {
        title: "Routing", figures: [
          { spec: Plot.expertLoad(layers), alt: "Expert load by layer", howToRead: "A row is a layer; its cells add up to 100 %. Even cells mean a balanced router." },
          { spec: Plot.domainHeat(layers), alt: "Expert by domain", howToRead: "A row is a domain; dark cells off the beaten diagonal mean that a domain borrows another's expert." }
        ]
      },
      { title: "By position", figures: [{ spec: Plot.byPosition(["seed", "mixture"].flatMap((name, n) => Array.from({ length: 16 }, (_, at) => ({ series: name, position: 16 * (at + 1), value: 3 - n * 0.3 - Math.log2(at + 1) * 0.2 }))), { quantity: "bits per byte" }), alt: "Bits per byte by position", howToRead: "Falling lines use their context." }] }
    ],
    plan: [
      { stage: "finetune/lora", flops: 2.1e12, deviceBytes: 3.1e8, bytesWritten: 420_000 }, { stage: "finetune/lora", flops: 2.1e12, deviceBytes: 3.1e8, bytesWritten: 420_000 },
      { stage: "upcycle/fromAdapters", bytesRead: 4.2e6, bytesWritten: 5.6e6 }, { stage: "evaluate/compare", flops: 8e11, deviceBytes: 1.2e8 }],
    actual: [
      { stage: "finetune/lora", flops: 2.2e12, deviceBytes: 3.0e8, bytesWritten: 420_000, seconds: 14.2 }, { stage: "finetune/lora", flops: 2.0e12, deviceBytes: 3.1e8, bytesWritten: 420_000, seconds: 13.9 },
      { stage: "upcycle/fromAdapters", bytesRead: 4.2e6, bytesWritten: 5.6e6, seconds: 0.4 }, { stage: "evaluate/compare", flops: 7.9e11, deviceBytes: 1.2e8, seconds: 9 }],
    lineage: { seed: { model: { family: "llama", hidden: 128, layers: 6 }, key: "0123456789abcdef" }, mixture: { from: ["seed", "expert fiction"], router: { unit: "prefix" }, proof: { largestDifference: 0.0000021 } } },
    notes: ["The control is one adapter of the mixture's active size, trained on the mix for as many tokens.", "A <note> with markup & signs."]
  })
}

const folder = () => mkdtempSync(join(tmpdir(), "switchyard-report-"))
const value = (model: string, task: string, number: number, standardError: number | null = 0.1): Report.Value =>
  ({ model, task, metric: "bitsPerByte", value: number, unit: "bits/byte", count: 3, standardError })

describe("Report", () => {
  test("written whole: JSON with its values, Markdown, an Arrow table and a page", async () => {
    const place = folder(), report = exampleReport()
    await Effect.runPromise(Report.write(report, place))
    expect(readdirSync(place).sort()).toEqual(["report.html", "report.json", "report.md", "results.arrow"])
    const json = JSON.parse(readFileSync(join(place, "report.json"), "utf8"))
    expect(json.values).toEqual(report.values)
    expect(Object.keys(json.values[0]).sort()).toEqual(["count", "metric", "model", "standardError", "task", "unit", "value"])
    expect(json.plan.length).toBe(json.actual.length)
    const table = await Effect.runPromise(Table.read(Tables.Results, join(place, "results.arrow")))
    expect(Table.rows(table)).toEqual(report.values.map((row) => ({ ...row, seed: 0, split: "report" })))
  })

  test("kept in a store and read back the same", async () => {
    const place = folder(), report = exampleReport()
    await Effect.runPromise(Report.Artifact.save(report as never, place))
    expect(await Effect.runPromise(Report.Artifact.load(place))).toEqual(report)
  })

  test("the banner stands over the table, the best of a column is bold, bars in names do no harm", () => {
    const markdown = Report.toMarkdown(Report.make({
      title: "T", banner: "one seed, short budget", values: [value("a|b", "law", 2), value("c", "law", 1.5), value("c", "code", 3, null)], notes: ["first\nnote"]
    }))
    expect(markdown.indexOf("> **one seed, short budget**")).toBeLessThan(markdown.indexOf("| model |"))
    expect(markdown).toContain("| model | law | code |\n| --- | ---: | ---: |\n| a\\|b | 2.00 ± 0.10 |  |\n| c | **1.50 ± 0.10** | 3.000 |")
  })

  test("numbers show as many digits as their error deserves, costs in units", () => {
    expect(withError({ value: 2.34567, standardError: 0.0123 })).toBe("2.346 ± 0.012")
    expect(withError({ value: -0.5, standardError: 0.00034 })).toBe("−0.50000 ± 0.00034")
    expect(withError({ value: 123.456, standardError: 25 })).toBe("123 ± 25")
    expect(withError({ value: 1, standardError: null })).toBe("1.000")
    expect([bytes(0), bytes(999), bytes(1_500), bytes(2e9)]).toEqual(["0 B", "999 B", "1.50 kB", "2.00 GB"])
    expect(operations(123.4e9)).toBe("123 GFLOP")
  })

  test("accuracy is better when higher, a count is neither; ties are both best; a lone model is not the best", () => {
    const rows = (metric: string, unit: string, numbers: ReadonlyArray<number>) =>
      grids(numbers.map((number, at) => ({ ...value(String(at), "t", number), metric, unit })))[0]!.rows.map(({ cells }) => cells[0]!.best)
    expect(rows("accuracy", "%", [1, 3, 2])).toEqual([false, true, false])
    expect(rows("bitsPerByte", "bits/byte", [1, 3, 1])).toEqual([true, false, true])
    expect(rows("experts", "experts", [1, 3])).toEqual([false, false])
    expect(rows("bitsPerByte", "bits/byte", [1])).toEqual([false])
  })

  test("plan and actual are matched by stage in order; what only one side knows is shown too", () => {
    const rows = costs([{ stage: "a", flops: 100 }, { stage: "a", flops: 200 }, { stage: "b", flops: 1 }], [{ stage: "a", flops: 110, seconds: 2 }, { stage: "a", flops: 200 }, { stage: "c", seconds: 1 }])
    expect(rows.map(({ stage, quantity, planned, actual, difference }) => [stage, quantity, planned, actual, difference])).toEqual([
      ["a", "time", "", "2.00 s", ""], ["a", "work", "100 FLOP", "110 FLOP", "+10 %"], ["a", "work", "200 FLOP", "200 FLOP", "0 %"],
      ["b", "work", "1 FLOP", "", ""], ["c", "time", "", "1.00 s", ""]])
  })

  test("a value given twice dies", () => {
    expect(() => Report.make({ title: "T", values: [value("a", "law", 1), value("a", "law", 2)] })).toThrow("bitsPerByte of a on law is given twice")
  })

  test("the page holds nothing that asks for anything, and text is text", async () => {
    const html = await Effect.runPromise(Report.toHtml(exampleReport()))
    expect(html).not.toMatch(/<script|<link|<img|<iframe|url\(|@import|src=/)
    expect(html.replaceAll(/xmlns(:xlink)?="[^"]*"/g, "")).not.toMatch(/https?:/)
    expect(html).toContain("A &lt;note&gt; with markup &amp; signs.")
    expect(html).not.toContain("<note>")
  })
})

const browser = [process.env["SWITCHYARD_BROWSER"], "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"]
  .find((path) => path !== undefined && existsSync(path))
;(browser === undefined ? test.skip : test)("in a headless browser: plots are there, no label covers another, nothing is requested, dark is dark (needs an installed Chromium or SWITCHYARD_BROWSER)", async () => {
  const place = folder()
  await Effect.runPromise(Report.write(exampleReport(), place))
  const { chromium } = await import("playwright-core")
  const opened = await chromium.launch({ executablePath: browser!, args: ["--no-sandbox"] })
  try {
    const address = pathToFileURL(join(place, "report.html")).href
    const look = async (colorScheme: "light" | "dark") => {
      const page = await opened.newPage({ colorScheme, viewport: { width: 1120, height: 900 } })
      const requests: Array<string> = [], complaints: Array<string> = []
      page.on("request", (request) => requests.push(request.url()))
      page.on("console", (message) => complaints.push(message.text()))
      page.on("pageerror", (error) => complaints.push(String(error)))
      await page.goto(address)
      const found = await page.evaluate(`(() => {
        const plots = [...document.querySelectorAll("figure svg")].map((svg) => {
          const texts = [...svg.querySelectorAll("text")].filter((text) => text.textContent.trim() !== "").map((text) => ({ text: text.textContent, box: text.getBoundingClientRect() }))
          const covered = []
          texts.forEach((a, i) => texts.slice(0, i).forEach((b) => {
            const x = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left), y = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top)
            if (x > 1 && y > 3) covered.push(a.text + " / " + b.text)
          }))
          const frame = svg.getBoundingClientRect()
          const outside = texts.filter(({ box }) => box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1).map(({ text }) => text)
          const mark = svg.querySelector(".mark-rect path[aria-roledescription], .mark-line path, .mark-symbol path[aria-roledescription]")
          return { width: frame.width, height: frame.height, marks: svg.querySelectorAll(".mark-rect path, .mark-line path, .mark-symbol path").length, covered, outside, colour: mark ? getComputedStyle(mark).fill + getComputedStyle(mark).stroke : "" }
        })
        return { plots, paper: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color, wide: document.documentElement.scrollWidth > innerWidth, banner: document.querySelector(".banner")?.getBoundingClientRect().bottom < document.querySelector("table")?.getBoundingClientRect().top }
      })()`) as { plots: Array<{ width: number; height: number; marks: number; covered: Array<string>; outside: Array<string>; colour: string }>; paper: string; ink: string; wide: boolean; banner: boolean }
      return { requests, complaints, ...found }
    }
    const light = await look("light"), dark = await look("dark")
    for (const page of [light, dark]) {
      expect(page.requests).toEqual([address])
      expect(page.complaints).toEqual([])
      expect(page.plots.length).toBe(5)
      expect(page.plots.flatMap(({ covered }) => covered)).toEqual([])
      expect(page.plots.flatMap(({ outside }) => outside)).toEqual([])
      for (const { width, height, marks } of page.plots) {
        expect(Math.min(width, height)).toBeGreaterThan(150)
        expect(marks).toBeGreaterThan(1)
      }
      expect([page.wide, page.banner]).toEqual([false, true])
    }
    expect([light.paper, dark.paper]).toEqual(["rgb(247, 247, 245)", "rgb(15, 18, 22)"])
    for (const [at, plot] of light.plots.entries()) expect(plot.colour).not.toBe(dark.plots[at]!.colour)
  } finally { await opened.close() }
}, 60_000)
