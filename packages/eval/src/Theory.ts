/**
 * When routing can work at all: the clusters problem of Chen et al. (2022) as stages and a report. One network cannot learn which feature
 * counts; experts behind a router can, and cubic experts make the router find the clusters where linear ones do not.
 *
 * What the published figures are and what ours may differ by stands in `expected`; the page is docs/theory.md.
 */
import { Artifact, Stage } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { Effect, Option, Schema } from "effect"
import * as Report from "./Report.ts"
import { settings } from "./theory/clusters.ts"
import * as figures from "./theory/figures.ts"
import type { Network } from "./theory/network.ts"
import { over } from "./theory/over.ts"
import { record, train as trainNetwork, type Trained } from "./theory/train.ts"

export { draw } from "./theory/clusters.ts"
export { firstFilters, noiseAt } from "./theory/train.ts"

const count = Schema.Int.check(Schema.isGreaterThan(0)), rows = Schema.Array(Schema.Array(Schema.Finite))
export const Run = Schema.Struct({
  testAccuracy: Schema.Finite, trainAccuracy: Schema.Finite, entropy: Schema.NullOr(Schema.Finite), steps: Schema.Int,
  curve: Schema.Array(Schema.Struct({ step: Schema.Int, loss: Schema.Finite, entropy: Schema.NullOr(Schema.Finite) })), dispatch: rows, centres: rows, features: rows
})

/**
 * Stage: one network trained on one drawing of the problem, and what became of it.
 *
 * Options: `seed` of data, initial weights and noise; `examples` to train with and as many to test with; `steps` at most. Fails: the device's failures.
 */
export const train = Stage.make("theory/train", {
  version: 2,
  inputs: [],
  options: Schema.Struct({
    setting: Schema.Literals(Object.keys(settings) as ReadonlyArray<keyof typeof settings>), form: Schema.Literals(["mixture", "single"]), activation: Schema.Literals(["cubic", "linear"]), gate: Schema.Literals(["softmax", "released"]),
    experts: count, filters: count, seed: Schema.Int, examples: count, steps: count
  }),
  output: Artifact.json<Trained, unknown>("theoryRun", Run as never),
  *describe(_, options) {
    const replicas = Option.match(yield* Effect.serviceOption(Device.Device), { onNone: () => 1, onSome: (device) => device.replicas })
    const { deviceBytes, flops, largestBuffer } = yield* Device.planned(record(options, options.examples, replicas).step)
    return { header: {}, cost: { flops: flops * options.steps, deviceBytes, largestBuffer } }
  },
  *run(_, options, context) {
    return yield* trainNetwork(options, context)
  }
})

interface Expected { readonly accuracy: readonly [least: number, most: number]; readonly entropy?: readonly [least: number, most: number] }
interface Model { readonly network: Network; readonly steps: number; readonly published: string; readonly expected: Expected }
const mixture = (activation: Network["activation"], gate: Network["gate"]): Network => ({ form: "mixture", activation, gate, experts: 8, filters: 8 })
const single = (activation: Network["activation"]): Network => ({ form: "single", activation, gate: "softmax", experts: 1, filters: 40 })
/** The networks compared: sizes and steps as published for setting S1, what was published, and what counts as reached. */
export const models: Readonly<Record<string, Model>> = {
  "mixture, cubic, released gate": { network: mixture("cubic", "released"), steps: 501, published: "99.46 ± 0.55 %, entropy 0.098 ± 0.088 (released code, ten runs)", expected: { accuracy: [98.5, 100], entropy: [0, 0.25] } },
  "mixture, linear, released gate": { network: mixture("linear", "released"), steps: 501, published: "93.00 ± 2.11 %, entropy 1.300 ± 0.044 (released code, ten runs)", expected: { accuracy: [88, 97], entropy: [1, Math.log(4)] } },
  "mixture, cubic, softmax gate": { network: mixture("cubic", "softmax"), steps: 501, published: "no figure of this gate is published", expected: { accuracy: [98.5, 100], entropy: [0, 0.25] } },
  "mixture, linear, softmax gate": { network: mixture("linear", "softmax"), steps: 501, published: "no figure of this gate is published", expected: { accuracy: [88, 100], entropy: [1, Math.log(4)] } },
  "single, cubic": { network: single("cubic"), steps: 801, published: "79.48 % (released code: 79.57 %)", expected: { accuracy: [75, 83] } },
  "single, linear": { network: single("linear"), steps: 801, published: "68.71 % (released code: 68.31 %)", expected: { accuracy: [66, 72] } }
}

/** Clusters whose centre has a best expert that no other cluster's centre has. */
export const ownExperts = (centres: ReadonlyArray<ReadonlyArray<number>>): number => {
  const best = (centres[0] ?? []).map((_, cluster) => centres.reduce((top, row, expert) => row[cluster]! > centres[top]![cluster]! ? expert : top, 0))
  return best.filter((expert) => best.filter((other) => other === expert).length === 1).length
}
/** What the router sees in the features that must not matter to it, over what it sees in the centres. */
export const featureShare = ({ centres, features }: Pick<Trained, "centres" | "features">): number => {
  const length = (rows: ReadonlyArray<ReadonlyArray<number>>) => Math.sqrt(rows.flat().reduce((sum, x) => sum + x * x, 0))
  return length(features) / (length(centres) || 1)
}

const within = (value: number, [least, most]: readonly [number, number]) => value >= least && value <= most
const spread = (values: ReadonlyArray<number>, decimals: number) => { const { deviation, value } = over(values); return `${value.toFixed(decimals)}${deviation === null ? "" : ` ± ${deviation.toFixed(decimals)}`}` }
/** One line for a model: what was measured over seeds (± one standard deviation), what was published, and whether it is within what was expected. */
export const verdict = (name: string, runs: ReadonlyArray<Trained>): { readonly reached: boolean; readonly text: string } => {
  const { expected, published } = models[name]!, accuracies = runs.map(({ testAccuracy }) => testAccuracy), entropies = runs.flatMap(({ entropy }) => entropy ?? [])
  const reached = within(over(accuracies).value, expected.accuracy) && (expected.entropy === undefined || within(over(entropies).value, expected.entropy))
  return { reached, text: `${name}: ${spread(accuracies, 2)} %${entropies.length === 0 ? "" : `, entropy ${spread(entropies, 3)}`}; expected ${expected.accuracy.join(" to ")} %${expected.entropy === undefined ? "" : `, ${expected.entropy.map((bound) => Number(bound.toFixed(3))).join(" to ")}`}: ${reached ? "reached" : "not reached"}; published: ${published}` }
}

/** The report of all runs, by model and in the seeds' order. Options: `base` the first seed, `setting`. */
export const report = (runs: Readonly<Record<string, ReadonlyArray<Trained>>>, options: { readonly base: number; readonly setting: string; readonly examples: number }): Report.Report => {
  const lines = (metric: string, unit: string, of: (run: Trained) => number | null): ReadonlyArray<Report.Value> => Object.entries(runs).flatMap(([model, each]) => {
    const values = each.map(of).filter((value) => value !== null)
    if (values.length === 0) return []
    const { count, standardError, value } = over(values)
    return [...values.map((one, at): Report.Value => ({ model, task: `seed ${options.base + at}`, metric, unit, value: one, count: options.examples, standardError: null })), { model, task: "all seeds", metric, unit, value, count, standardError }]
  })
  const mixtures = Object.fromEntries(Object.entries(runs).filter(([, each]) => each[0]!.entropy !== null)), verdicts = Object.entries(runs).map(([name, each]) => verdict(name, each))
  return Report.make({
    title: `When routing can work: clusters of setting ${options.setting}`, seed: options.base, split: "test", over: "seeds", banner: `${verdicts.filter(({ reached }) => reached).length} of ${verdicts.length} within what was expected.`,
    values: [
      ...lines("test accuracy", "%", ({ testAccuracy }) => testAccuracy), ...lines("dispatch entropy", "nats", ({ entropy }) => entropy), ...lines("training accuracy", "%", ({ trainAccuracy }) => trainAccuracy),
      ...lines("clusters with an expert of their own", "of 4", ({ centres }) => centres.length === 0 ? null : ownExperts(centres)), ...lines("features over centres in the router", "ratio of lengths", (run) => run.centres.length === 0 ? null : featureShare(run))
    ],
    sections: [
      { title: "Accuracy", text: verdicts.map(({ text }) => `${text}.`).join("\n"), figures: [figures.accuracy(runs, options.base)] },
      { title: "Routing", figures: [figures.entropy(mixtures), figures.dispatch(mixtures)] }
    ],
    notes: [
      `${options.examples} examples to train with and as many to test with, drawn anew for each seed together with weights and noise; ± in tables is one standard error over seeds.`,
      "dispatch entropy: of the clusters among the training examples that each expert got in the last step, averaged with the experts' loads, in nats; 0 is one cluster to each expert, ln 4 = 1.386 no knowledge of clusters.",
      "released gate: the noised score weighs the expert's answer, which passes a softmax before a cross-entropy with a softmax of its own (its loss cannot fall below 0.3133), and noise stays at test. softmax gate: the softmax of the scores weighs it, noise only chooses, and only in training.",
      "single networks have 80 filters, a mixture 8 experts of 16, of which an example uses one."
    ]
  })
}
