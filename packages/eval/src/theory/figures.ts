/** The plots of `eval:theory`. */
import { series, type Spec } from "../Plot.ts"
import type { Figure } from "../Report.ts"
import type { Trained } from "./train.ts"

type Runs = Readonly<Record<string, ReadonlyArray<Trained>>>
const figure = (spec: Spec, alt: string, howToRead: string): Figure => ({ spec: spec as never, alt, howToRead })

/** Test accuracy of every seed by model. */
export const accuracy = (runs: Runs, base: number): Figure => figure({
  width: 560, height: { step: 30 },
  data: { values: Object.entries(runs).flatMap(([model, each]) => each.map(({ testAccuracy }, at) => ({ model, seed: `seed ${base + at}`, testAccuracy }))) },
  mark: { type: "point", filled: true, size: 70, opacity: 0.8 },
  encoding: {
    x: { field: "testAccuracy", type: "quantitative", title: "test accuracy (%)", scale: { zero: false, nice: true } }, y: { field: "model", type: "nominal", title: null, sort: Object.keys(runs), axis: { labelLimit: 0 } },
    color: { value: series[0]! }
  }
}, "Test accuracy by model, a point for each seed", "A row is a model, a point one seed. Guessing is at 50 %.")

/** Dispatch entropy over training, mean over the seeds that still train. */
export const entropy = (runs: Runs): Figure => {
  const names = Object.keys(runs)
  const values = names.flatMap((model) => {
    const steps = [...new Set(runs[model]!.flatMap(({ curve }) => curve.map(({ step }) => step)))].sort((a, b) => a - b)
    return steps.map((step) => {
      const found = runs[model]!.flatMap(({ curve }) => curve.filter((point) => point.step === step).map(({ entropy }) => entropy ?? 0))
      return { model, step, entropy: found.reduce((sum, each) => sum + each, 0) / found.length }
    })
  })
  return figure({
    width: 640, height: 280, data: { values }, mark: { type: "line" },
    encoding: {
      x: { field: "step", type: "quantitative", title: "step", axis: { grid: false } }, y: { field: "entropy", type: "quantitative", title: "dispatch entropy (nats), mean of seeds" },
      color: { field: "model", type: "nominal", sort: names, legend: { orient: "bottom", title: null, columns: 2, symbolType: "stroke", symbolStrokeWidth: 3 } }
    }
  }, "Dispatch entropy over training by model", "1.386 is routing that knows nothing of clusters; 0 is experts that each see one cluster. Cubic experts drive the router to the clusters, linear ones leave it nearly where it began.")
}

/** Which cluster went where in the first seed: a panel for each model. */
export const dispatch = (runs: Runs): Figure => {
  const names = Object.keys(runs)
  const values = names.flatMap((model) => runs[model]![0]!.dispatch.flatMap((row, expert) => row.map((count, cluster) => ({ model, expert: expert + 1, cluster: cluster + 1, share: count / runs[model]![0]!.dispatch.reduce((sum, other) => sum + other[cluster]!, 0) }))))
  return figure({
    data: { values }, columns: 2, spacing: { row: 22, column: 30 }, facet: { field: "model", type: "nominal", title: null, sort: names },
    spec: {
      width: 300, height: 110, mark: { type: "rect", fill: series[0]!, stroke: "var(--card)", strokeWidth: 2, cornerRadius: 3 },
      encoding: {
        x: { field: "expert", type: "ordinal", title: "expert", axis: { labelAngle: 0, domain: false, ticks: false } }, y: { field: "cluster", type: "ordinal", title: "cluster" },
        fillOpacity: { field: "share", type: "quantitative", scale: { domain: [0, 1], range: [0.04, 1] }, legend: null }
      }
    }
  }, "Share of each cluster's examples by expert, first seed", "A cell is the part of a cluster's training examples that an expert got in the last step of the first seed: full colour is all of them.")
}
