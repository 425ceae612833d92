import { describe, expect, test } from "@jest/globals"
import * as Plot from "./Plot.ts"

type Row = Readonly<Record<string, number | string>>
const data = (spec: unknown): ReadonlyArray<Row> => (spec as { data: { values: ReadonlyArray<Row> } }).data.values

describe("Plot", () => {
  test("loss curves keep the mean of every stretch, the last token, and at most 120 points; a NaN makes a gap, not a zero", () => {
    const tokens = Float64Array.from({ length: 1000 }, (_, at) => 10 * (at + 1)), loss = Float32Array.from({ length: 1000 }, (_, at) => at)
    const rows = data(Plot.lossCurves({ a: { tokens, loss } }))
    expect(rows.length).toBeLessThanOrEqual(120)
    expect(rows.at(-1)!["tokens"]).toBe(10_000)
    expect(rows[0]).toEqual({ run: "a", tokens: 90, loss: 4 }) // steps 0 … 8
    loss[4] = NaN
    expect(data(Plot.lossCurves({ a: { tokens, loss } })).length).toBe(rows.length - 1)
  })

  test("an SVG draws a cell for each layer and expert, opacity in proportion to the share", async () => {
    const svg = await Plot.toSvg(Plot.expertLoad([{ layer: 0, load: [0.1, 0.2, 0.7], byDomain: {} }, { layer: 1, load: [0.2, 0.4, 0.4], byDomain: {} }]), "load & more")
    expect(svg).toContain('aria-label="load &amp; more"')
    const cells = [...svg.matchAll(/aria-label="expert: (\d); layer: (\d); share: ([\d.]+)[^>]*?fill-opacity="([\d.]+)"|fill-opacity="([\d.]+)"/g)]
    const opacities = cells.map((found) => Number(found[4] ?? found[5]))
    expect(opacities.length).toBe(6)
    // the scale: nothing is 0.04, the largest share (0.7 here, more than twice even) is 1
    ;[0.1, 0.2, 0.7, 0.2, 0.4, 0.4].forEach((share, at) => expect(opacities[at]).toBeCloseTo(0.04 + 0.96 * share / 0.7, 3))
    expect(svg.match(/>(\d+)%</g)).toEqual([">10%<", ">20%<", ">70%<", ">20%<", ">40%<", ">40%<"])
  })

  test("a domain's row stands in every layer's panel, panels in order of layers beyond nine", async () => {
    const layers = Array.from({ length: 12 }, (_, layer) => ({ layer, load: [0.5, 0.5], byDomain: { law: [0.9, 0.1], code: [0.1, 0.9] } }))
    const svg = await Plot.toSvg(Plot.domainHeat(layers), "heat")
    expect([...svg.matchAll(/>layer (\d+)</g)].map((found) => Number(found[1]))).toEqual(layers.map(({ layer }) => layer))
    expect(svg.match(/>90%</g)!.length).toBe(24)
  })

  test("quality: a model whose work is unknown is left out of that panel only; every model is in the legend, unshortened", async () => {
    const long = "a model with a name of more than forty letters"
    const spec = Plot.qualityBySize([
      { model: "a", value: 2, standardError: 0.1, parameters: 10, activeFlops: 5 }, { model: long, value: 1, standardError: null, parameters: 20 }
    ], { quality: "bits per byte" })
    const panels = spec["hconcat"] as unknown as ReadonlyArray<unknown>
    expect(panels.map((panel) => data(panel).map(({ model }) => model))).toEqual([["a", long], ["a"]])
    expect(data(panels[0])[1]).toEqual({ model: long, value: 1, low: 1, high: 1, size: 20 })
    const svg = await Plot.toSvg(spec, "quality")
    for (const text of ["a", long, "bits per byte", "parameters", "FLOPs executed per token"]) expect(svg).toContain(`>${text}<`)
  })
})
