/**
 * The report's plots: each a function from plain numbers to a Vega-Lite specification with its data inside, and one that renders a specification
 * to an SVG without a browser. Colours are the page's variables (`--series-1` …), so one picture serves light and dark.
 */
import type { Schema } from "effect"
import * as vega from "vega"
import * as vegaLite from "vega-lite"

/** A Vega-Lite specification as JSON. */
export type Spec = { readonly [name: string]: Schema.Json }

export const series = Array.from({ length: 10 }, (_, index) => `var(--series-${index + 1})`)
const shapes = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"] // eight, so that ten colours and they repeat together only after forty
const font = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

const config: Spec = {
  background: null, font, padding: 4,
  view: { stroke: null },
  axis: {
    labelColor: "var(--muted)", titleColor: "var(--muted)", domainColor: "var(--line)", tickColor: "var(--line)", gridColor: "var(--grid)",
    labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", titlePadding: 10, labelPadding: 6, labelLimit: 220, tickSize: 4
  },
  axisY: { domain: false, ticks: false },
  legend: { labelColor: "var(--ink)", titleColor: "var(--muted)", labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", symbolSize: 90, symbolOpacity: 1, labelLimit: 0, columnPadding: 18, rowPadding: 6 },
  header: { labelColor: "var(--ink)", titleColor: "var(--muted)", labelFontSize: 12, labelFontWeight: 600, labelPadding: 6 },
  line: { strokeWidth: 2, strokeJoin: "round", strokeCap: "round" },
  point: { filled: true, size: 110, opacity: 1 },
  range: { category: series, symbol: shapes }
}

/** The picture, as an SVG element. Takes a moment (tens of milliseconds). */
export const toSvg = async (spec: Spec, alt: string): Promise<string> => {
  const compiled = vegaLite.compile({ ...spec, config: { ...config, ...spec["config"] as Spec | undefined } } as unknown as vegaLite.TopLevelSpec)
  const view = new vega.View(vega.parse(compiled.spec), { renderer: "none" })
  const svg = await view.toSVG()
  view.finalize()
  const width = Number(/ width="([\d.]+)"/.exec(svg)?.[1] ?? 720)
  return svg.replace(/^<svg /, `<svg role="img" aria-label="${escape(alt)}" `)
    .replace(/ width="[\d.]+" height="[\d.]+"/, ` style="width:100%;min-width:${Math.min(540, width)}px;max-width:${width}px;height:auto"`)
}

/** Text made safe between tags and inside attributes. */
export const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;")

const legend = (names: ReadonlyArray<string>): Spec => {
  const widest = 34 + 9 * Math.max(1, ...names.map((name) => name.length))
  return { orient: "bottom", title: null, columns: Math.max(1, Math.min(5, names.length, Math.floor(720 / widest))) }
}
const lineLegend = (names: ReadonlyArray<string>): Spec => ({ ...legend(names), symbolType: "stroke", symbolStrokeWidth: 3, symbolSize: 220 })

/** Loss over training, a line for each run, averaged into at most 120 points each. Units: nats per token against tokens seen. */
export const lossCurves = (runs: Readonly<Record<string, { readonly tokens: ArrayLike<number>; readonly loss: ArrayLike<number> }>>): Spec => {
  const names = Object.keys(runs)
  const values = names.flatMap((run) => {
    const { tokens, loss } = runs[run]!
    const width = Math.max(1, Math.ceil(loss.length / 120))
    return Array.from({ length: Math.ceil(loss.length / width) }, (_, bin) => {
      const to = Math.min(loss.length, (bin + 1) * width)
      let sum = 0
      for (let at = bin * width; at < to; at++) sum += loss[at]!
      return { run, tokens: tokens[to - 1]!, loss: sum / (to - bin * width) }
    }).filter((point) => Number.isFinite(point.loss))
  })
  return {
    width: 720, height: 300, data: { values },
    mark: { type: "line", interpolate: "monotone" },
    encoding: {
      x: { field: "tokens", type: "quantitative", title: "tokens seen", axis: { format: "~s", grid: false, tickCount: 8 } },
      y: { field: "loss", type: "quantitative", title: "loss (nats per token)", scale: { zero: false, nice: true } },
      color: { field: "run", type: "nominal", sort: names, legend: lineLegend(names) }
    }
  }
}

/** What the plots of routing need of a layer (see Diagnostics.layers). */
export interface LayerLoad {
  readonly layer: number
  readonly load: ReadonlyArray<number>
  readonly byDomain: Readonly<Record<string, ReadonlyArray<number>>>
}

/** Opacity carries the share, so that one colour serves a light and a dark page. */
const cells = (labelled: boolean, sizes: { readonly x: string; readonly y: string; readonly most: number }, x: Spec, y: Spec): ReadonlyArray<Spec> => [
  {
    mark: { type: "rect", fill: "var(--series-1)", stroke: "var(--card)", strokeWidth: 2, cornerRadius: 3 },
    encoding: { x, y, fillOpacity: { field: "share", type: "quantitative", scale: { domain: [0, sizes.most], range: [0.04, 1], clamp: true }, legend: null } }
  },
  ...labelled ? [{
    mark: { type: "text", fontSize: 11 } as Spec,
    encoding: {
      x, y, text: { field: "share", type: "quantitative", format: ".0%" },
      color: { condition: { test: `datum.share > ${0.6 * sizes.most}`, value: "var(--on-series)" }, value: "var(--ink)" }
    }
  }] : []
]

/** How each layer's slots are spread over its experts: a cell for each layer and expert, in per cent of the layer's slots. */
export const expertLoad = (layers: ReadonlyArray<LayerLoad>): Spec => {
  const values = layers.flatMap(({ layer, load }) => load.map((share, expert) => ({ layer, expert, share })))
  const experts = Math.max(1, ...layers.map(({ load }) => load.length))
  const most = Math.max(2 / experts, ...values.map(({ share }) => share))
  return {
    width: Math.min(720, Math.max(240, experts * 64)), height: Math.max(60, layers.length * 36), data: { values },
    layer: cells(experts <= 16, { x: "expert", y: "layer", most },
      { field: "expert", type: "ordinal", title: "expert", axis: { labelAngle: 0, domain: false, ticks: false } },
      { field: "layer", type: "ordinal", title: "layer" }) as Schema.Json
  }
}

/** Which domain asks which expert: a panel for each layer, a row for each domain, in per cent of the domain's slots. */
export const domainHeat = (layers: ReadonlyArray<LayerLoad>): Spec => {
  const values = layers.flatMap(({ layer, byDomain }) => Object.entries(byDomain).flatMap(([domain, shares]) =>
    shares.map((share, expert) => ({ layer: `layer ${layer}`, domain, expert, share }))))
  const experts = Math.max(1, ...layers.map(({ load }) => load.length))
  const domains = Object.keys(layers[0]?.byDomain ?? {})
  const most = Math.max(2 / experts, ...values.map(({ share }) => share))
  const columns = experts <= 4 ? layers.length === 4 ? 2 : 3 : experts <= 8 ? 2 : 1
  const names = layers.map(({ layer }) => `layer ${layer}`)
  return {
    data: { values }, columns, spacing: { row: 22, column: 24 },
    facet: { field: "layer", type: "nominal", title: null, sort: names },
    spec: {
      width: Math.max(170, Math.floor(690 / columns) - 50), height: domains.length * 30,
      layer: cells(experts <= 8, { x: "expert", y: "domain", most },
        { field: "expert", type: "ordinal", title: "expert", axis: { labelAngle: 0, domain: false, ticks: false } },
        { field: "domain", type: "nominal", title: null, sort: domains }) as Schema.Json
    }
  }
}

/** One model in the plot of quality. Units: FLOPs for one token, forward. */
export interface Quality {
  readonly model: string
  readonly value: number
  readonly standardError: number | null
  readonly parameters?: number
  readonly activeFlops?: number
}

/** Quality against size and against work: two panels, each model a mark with its standard error. */
export const qualityBySize = (models: ReadonlyArray<Quality>, options: { readonly quality: string }): Spec => {
  const names = models.map(({ model }) => model)
  const panel = (field: "parameters" | "activeFlops", title: string): Spec => {
    const values = models.filter((model) => model[field] !== undefined).map((model) => ({
      model: model.model, value: model.value, low: model.value - (model.standardError ?? 0), high: model.value + (model.standardError ?? 0), size: model[field]!
    }))
    const x: Spec = { field: "size", type: "quantitative", title, scale: { zero: false, nice: true, padding: 14 }, axis: { format: "~s", tickCount: 5, grid: false } }
    const color: Spec = { field: "model", type: "nominal", sort: names, scale: { domain: names }, legend: legend(names) }
    return {
      width: 310, height: 280, data: { values },
      layer: [
        { mark: { type: "rule", strokeWidth: 1.5, opacity: 0.7 }, encoding: { x, y: { field: "low", type: "quantitative", scale: { zero: false, nice: true } }, y2: { field: "high" }, color } },
        {
          mark: { type: "point" },
          encoding: {
            x, color, y: { field: "value", type: "quantitative", title: options.quality, scale: { zero: false, nice: true } },
            shape: { field: "model", type: "nominal", sort: names, scale: { domain: names }, legend: legend(names) }
          }
        }
      ]
    }
  }
  const panels = [
    ...models.some(({ parameters }) => parameters !== undefined) ? [panel("parameters", "parameters")] : [],
    ...models.some(({ activeFlops }) => activeFlops !== undefined) ? [panel("activeFlops", "FLOPs executed per token")] : []
  ]
  return { hconcat: panels, spacing: 40, resolve: { scale: { color: "shared", shape: "shared" } } }
}

/** A number by place in the document, a line for each model or choice. Options: what the number is, with its unit. */
export const byPosition = (rows: ReadonlyArray<{ readonly series: string; readonly position: number; readonly value: number }>, options: { readonly quantity: string; readonly format?: string }): Spec => {
  const names = [...new Set(rows.map(({ series: name }) => name))]
  return {
    width: 720, height: 280, data: { values: rows.map((row) => ({ ...row })) },
    mark: { type: "line", interpolate: "monotone", point: { size: 40 } },
    encoding: {
      x: { field: "position", type: "quantitative", title: "position in the context (tokens)", axis: { format: "~s", grid: false }, scale: { nice: false } },
      y: { field: "value", type: "quantitative", title: options.quantity, scale: { zero: false, nice: true }, axis: { format: options.format ?? "~g" } },
      color: { field: "series", type: "nominal", sort: names, legend: lineLegend(names) }
    }
  }
}
