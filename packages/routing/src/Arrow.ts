/**
 * Arrow's directions: of each expert in each layer, the direction of the hidden state that its change acts on most, from the weights alone.
 *
 * The change of a low-rank expert is b·a; of a full one, its difference from the mean of the layer's experts. Where several matrices read the same state (gate
 * and up do) the published code gives each linear layer a router of its own; a feed-forward here is routed as a whole, so its direction is the top right singular
 * vector of the two changes stacked, which is where their squares together are largest. The router scores |x · direction|.
 * Paper: Ostapenko et al., "Towards modular LLMs by building and reusing a library of LoRAs", 2024. Full experts: ours.
 */
import { Checkpoint, Stage, Weights } from "@switchyard/core"
import { Effect, Schema } from "effect"
import * as Router from "./Router.ts"
import { times, timesTransposed, topDirection } from "./topDirection.ts"
import { TrainingError } from "./Training.ts"

type Model = Checkpoint.Checkpoint<"mixture">["model"]
/** The matrices that read the hidden state. */
const readers = ["gate", "up"] as const

const routerOf = (model: Model): Effect.Effect<Router.Router, Router.RouterError | TrainingError> => Effect.gen(function*() {
  const form = model.feedForward, router = form.kind === "mixture" ? yield* Router.decode(form.router, "the model's router") : Router.fixed([0])
  const refuse = (problem: string, remedy: string) => new TrainingError({ option: "router", problem, remedy })
  if (router.score.by !== "magnitude") return yield* refuse(`the mixture's router scores by ${router.score.by}, not by magnitude`, "upcycle with Router.arrow")
  return Router.width(router.unit, model.hidden) === model.hidden ? router : yield* refuse("a bank of pools is wider than the state that the experts read", "give the router a unit of one pool, or of tokens")
})

/** The directions of one layer. Shapes: → [experts, hidden]. */
export const directions = (model: Model, weights: Weights.Weights, layer: number): Effect.Effect<Float32Array, Weights.WeightsError> => Effect.gen(function*() {
  const form = model.feedForward, { hidden } = model
  if (form.kind !== "mixture") throw new Error("Arrow.directions: the model must be a mixture")
  const out = new Float32Array(form.experts * hidden), at = (expert: number, name: string) => weights.read(`layers.${layer}.experts.${expert}.${name}`)
  const means = new Map<string, Float64Array>()
  if (form.expert.kind === "full") for (const matrix of readers) for (let expert = 0; expert < form.experts; expert++) {
    const values = yield* at(expert, matrix), sum = means.get(matrix) ?? new Float64Array(values.length)
    values.forEach((value, i) => { sum[i]! += value / form.experts })
    means.set(matrix, sum)
  }
  for (let expert = 0; expert < form.experts; expert++) {
    const changes: Array<(v: Float64Array) => Float64Array> = [] // v ↦ ΔᵀΔ v of each matrix
    for (const matrix of readers) {
      if (form.expert.kind === "full") {
        const mean = means.get(matrix)!, change = Float64Array.from(yield* at(expert, matrix), (value, i) => value - mean[i]!)
        changes.push((v) => timesTransposed(change, times(change, v)))
      } else {
        const a = yield* at(expert, `${matrix}.a`), b = yield* at(expert, `${matrix}.b`)
        changes.push((v) => timesTransposed(a, timesTransposed(b, times(b, times(a, v)))))
      }
    }
    out.set(topDirection(hidden, (v) => changes.map((change) => change(v)).reduce((sum, each) => sum.map((value, i) => value + each[i]!))), expert * hidden)
  }
  return out
})

/**
 * Stage: the mixture whose router has Arrow's directions; everything else keeps its bits. Nothing is run: it reads weights.
 *
 * Fails: TrainingError when the router does not score by magnitude, or reads several pools.
 */
export const fit = Stage.make("arrow/fit", {
  version: 1,
  inputs: [Stage.one("mixture", Checkpoint.Mixture)],
  options: Schema.Struct({}),
  output: Checkpoint.Mixture,
  *describe({ mixture: { key: _key, ...header } }) {
    yield* routerOf(header.model as Model)
    return { header, cost: { bytesRead: header.bytes } }
  },
  *run({ mixture }, _, context) {
    const { model, weights } = mixture, found = new Map<string, Weights.MemoryTensor>(), layers = Router.deciding(yield* routerOf(model), model.layers)
    for (const [at, layer] of layers.entries()) {
      const data = yield* directions(model, weights, layer)
      found.set(`layers.${layer}.router.directions`, { shape: [data.length / model.hidden, model.hidden], data })
      yield* context.progress(at + 1, layers.length, "layers")
    }
    return Checkpoint.derive(mixture, { weights: Weights.overlay(weights, Weights.fromMemory(found)), step: { stage: "arrow/fit", key: context.key, inputs: context.keys, facts: {} } })
  }
})
