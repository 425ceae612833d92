/**
 * What routing by patches is worth in samples: the patches problem of Chowdhury et al. (2023) as stages and a report. A convolution must learn
 * which of n patches matters while it learns what it says; experts that keep two patches each can leave the others alone, if their routers know.
 */
import { Artifact, Stage } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { Effect, Option, Schema } from "effect"
import type { Spec } from "./Plot.ts"
import { methods, type Method } from "./patches/network.ts"
import { needed, type Point, written } from "./patches/search.ts"
import { type Measured, record, train as trainNetworks } from "./patches/train.ts"
import * as Report from "./Report.ts"
import { over } from "./theory/over.ts"

export { draw } from "./patches/samples.ts"
export { firstValues, orderOf } from "./patches/train.ts"

const count = Schema.Int.check(Schema.isGreaterThan(0))
const Result = Schema.Struct({ accuracies: Schema.Array(Schema.Finite), recalls: Schema.NullOr(Schema.Array(Schema.Finite)) })

/**
 * Stage: networks of several seeds trained on so many samples, and what they make of fresh ones.
 *
 * Options: `method`; `patches` of a sample, `kept` by an expert; `seed` the first of `seeds`; sizes and rates as published unless given. Fails: the device's failures.
 */
export const train = Stage.make("patches/train", {
  version: 1,
  inputs: [],
  options: Schema.Struct({
    method: Schema.Literals(methods), patches: count, samples: count, seed: Schema.Int, seeds: count, kept: count.pipe(Stage.byDefault(2)), experts: count.pipe(Stage.byDefault(8)), filters: count.pipe(Stage.byDefault(5)),
    epochs: count.pipe(Stage.byDefault(150)), batch: count.pipe(Stage.byDefault(20)), tests: count.pipe(Stage.byDefault(1000)), rate: Schema.Finite.pipe(Stage.byDefault(0.2)), deviation: Schema.Finite.pipe(Stage.byDefault(0.01))
  }),
  output: Artifact.json<Measured, unknown>("patchesResult", Result as never),
  *describe(_, options) {
    const replicas = Option.match(yield* Effect.serviceOption(Device.Device), { onNone: () => 1, onSome: (device) => device.replicas })
    const { deviceBytes, flops, largestBuffer } = yield* Device.planned(record(options, options, replicas).step)
    return { header: {}, cost: { flops: flops * options.epochs * Math.ceil(options.samples / options.batch), deviceBytes, largestBuffer } }
  },
  *run(_, options, context) {
    return yield* trainNetworks(options, context)
  }
})

export const target = 95
/** The measured numbers of samples of one method and number of patches. */
export type Curve = ReadonlyArray<Point<Measured>>
export interface Measurement { readonly method: Method; readonly patches: number; readonly curve: Curve }

const middle = (sorted: ReadonlyArray<number>): number => (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.floor(sorted.length / 2)]!) / 2
/** What the mean of the seeds needs, and each seed by itself, sorted; a seed that never stays at the target needs Infinity. */
export const needs = ({ curve }: Pick<Measurement, "curve">) => {
  const own = (curve[0]?.measured.accuracies ?? []).map((_, seed) => needed(curve.map(({ measured, samples }) => ({ samples, accuracy: measured.accuracies[seed]! })), target))
  const sorted = own.map(({ at, samples }) => at === "beyond" ? Infinity : samples).sort((a, b) => a - b)
  return { mean: needed(curve, target), median: middle(sorted), least: sorted[0]!, most: sorted.at(-1)! }
}
/** Of separate training against the convolution: how many times fewer samples, at least; and the routers' worst mean recall. */
export const verdicts = (found: ReadonlyArray<Measurement>): ReadonlyArray<{ readonly reached: boolean; readonly text: string }> => [...new Set(found.map(({ patches }) => patches))].map((patches) => {
  const of = (method: Method) => found.find((each) => each.method === method && each.patches === patches)!
  const convolution = needs(of("convolution")).mean, separate = needs(of("separate")).mean, joint = needs(of("joint")), times = convolution.samples / separate.samples, least = patches >= 64 ? 4 : 1
  const known = convolution.at !== "most" && separate.at !== "beyond", recall = Math.min(...of("separate").curve.filter(({ samples }) => samples >= separate.samples).map(({ measured }) => over(measured.recalls!).value))
  const reached = known && times > least && recall >= 0.95
  const side = (each: number) => each === Infinity ? "never" : each.toFixed(0)
  return { reached, text: `${patches} patches: ${target} % takes ${written(convolution)} samples by convolution, ${written(separate)} by separate training, ${written(joint.mean)} by joint training (seeds: ${side(joint.least)} to ${side(joint.most)}, median ${side(joint.median)}); separate training needs ${known ? `${separate.at === "most" || convolution.at === "beyond" ? "at least " : ""}${times.toFixed(1)} times fewer` : "no fewer"} (expected more than ${least}), its routers keep the class's patch in ${(100 * recall).toFixed(1)} % or more (expected 95): ${reached ? "reached" : "not reached"}` }
})

/** The report. Options: `seed` the first of `seeds`. */
export const report = (found: ReadonlyArray<Measurement>, options: { readonly seed: number; readonly seeds: number }): Report.Report => {
  const told = verdicts(found), values = (metric: string, unit: string, of: (measured: Measured) => ReadonlyArray<number> | null): ReadonlyArray<Report.Value> => found.flatMap(({ curve, method, patches }) => curve.flatMap(({ measured, samples }) => {
    const numbers = of(measured)
    if (numbers === null) return []
    const { count, standardError, value } = over(numbers)
    return [{ model: `${patches} patches, ${method}`, task: `${samples}`, metric, unit, value, count, standardError }]
  }))
  const rows = found.flatMap(({ curve, method, patches }) => curve.flatMap(({ measured, samples }) => measured.accuracies.map((accuracy, seed) => ({ method, patches: `${patches} patches`, samples, seed, accuracy }))))
  const panel: Spec = {
    data: { values: rows }, columns: 2, spacing: 36, facet: { field: "patches", type: "nominal", title: null, sort: [...new Set(rows.map(({ patches }) => patches))] },
    spec: {
      width: 310, height: 260, encoding: {
        x: { field: "samples", type: "quantitative", title: "training samples", scale: { type: "log", base: 2 }, axis: { values: [...new Set(rows.map(({ samples }) => samples))], grid: false } },
        color: { field: "method", type: "nominal", sort: [...methods], legend: { orient: "bottom", title: null } }
      },
      layer: [
        { mark: { type: "point", filled: true, size: 18, opacity: 0.45 }, encoding: { y: { field: "accuracy", type: "quantitative", title: "test accuracy (%)", scale: { domain: [45, 100] } } } },
        { mark: { type: "line" }, encoding: { y: { field: "accuracy", type: "quantitative", aggregate: "mean" } } },
        { mark: { type: "rule", strokeDash: [4, 4], color: "var(--muted)" }, encoding: { y: { datum: target }, color: { value: "var(--muted)" }, x: { value: 0 }, x2: { value: "width" } } }
      ]
    }
  }
  const needing = found.flatMap((each): ReadonlyArray<Report.Value> => {
    const { mean, median } = needs(each), model = `${each.patches} patches, ${each.method}`, line = { metric: `samples for ${target} %`, unit: "samples", count: options.seeds, standardError: null } as const
    return [{ model, task: mean.at === "between" ? "mean of seeds" : mean.at === "most" ? "mean of seeds: at most" : "mean of seeds: more than", value: mean.samples, ...line }, ...Number.isFinite(median) ? [{ model, task: "median seed", value: median, ...line }] : []]
  })
  return Report.make({
    title: "What routing by patches is worth in samples", seed: options.seed, split: "test", over: "seeds", banner: `${told.filter(({ reached }) => reached).length} of ${told.length} within what was expected.`,
    values: [...values("test accuracy", "%", ({ accuracies }) => accuracies), ...values("recall of the class's patch", "share", ({ recalls }) => recalls), ...needing],
    sections: [{ title: "Accuracy by number of samples", text: told.map(({ text }) => `${text}.`).join("\n"), figures: [{ spec: panel as never, alt: "Test accuracy by number of training samples, method and number of patches", howToRead: `A point is one seed, a line the mean of ${options.seeds}; the dashed line is ${target} %. A line ends where ${target} % was reached twice running.` }] }],
    notes: [
      `${options.seeds} seeds, each with samples, weights and order of its own; 1,000 fresh samples to test with; ± is one standard error over seeds. Columns are numbers of training samples.`,
      "convolution: 40 filters on every patch, mean over patches. joint, separate: 8 experts of 5 filters, each on the 2 patches its router scores highest; routers trained with the experts, or before them by a loss linear in them. Output weights are fixed random numbers.",
      "recall: of the samples of a class, those whose own patch the class's best expert keeps; chance is 2 / patches."
    ]
  })
}
