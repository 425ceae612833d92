/**
 * The tables that cross packages. The contract, with units and who writes each, is docs/tables.md.
 */
import { define } from "./Table.ts"

/** Who asked whom: one row for each (token, layer, rank) of a routed run. */
export const Trace = define("trace", {
  version: 1,
  columns: {
    run: "label", domain: "label",
    document: "u32", position: "u32", token: "u32",
    layer: "u16", rank: "u8", expert: "u16",
    weight: "f32", logit: "f32", dropped: "bool"
  }
})
export type Trace = typeof Trace

/** Hidden states at a named point of a layer: one row for each (token, layer, point). */
export const Activations = define("activations", {
  version: 1,
  columns: { domain: "label", document: "u32", position: "u32", layer: "u16", point: "label", hidden: "vector" }
})
export type Activations = typeof Activations

/** Measured values with their uncertainty: one row for each (model, task, metric, split, seed). */
export const Results = define("results", {
  version: 1,
  columns: {
    model: "label", task: "label", metric: "label", value: "f64", unit: "label",
    count: "u32", standardError: "optional", seed: "u32", split: "label"
  }
})
export type Results = typeof Results

/** Timings: one row for each (name, device, shape). Times are medians in milliseconds. */
export const Bench = define("bench", {
  version: 1,
  columns: {
    name: "label", device: "label", adapter: "label", shape: "label",
    milliseconds: "f64", lowerQuartile: "f64", upperQuartile: "f64", runs: "u32",
    floor: "optional", against: "label", ratio: "optional"
  }
})
export type Bench = typeof Bench

/** The course of a training run: one row for each logged step, with one column `balance.<name>` for each auxiliary loss and for the load that corrections even. */
export const TrainLog = define("trainLog", {
  version: 1,
  columns: {
    step: "u32", tokens: "f64", loss: "f32", "balance.*": "f32",
    gradientNorm: "f32", learningRate: "f32", tokensPerSecond: "f32"
  }
})
export type TrainLog = typeof TrainLog
