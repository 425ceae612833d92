/** A tiny mixture with random weights, for tests of this package. */
import { Model, Random, Weights } from "@switchyard/core"
import { Router } from "@switchyard/routing"
import type { Described } from "./upcycling.ts"

const router = Router.topK({ active: 2 })

export const dense: Model.Model = {
  family: "llama", vocabulary: 260, hidden: 16, layers: 2, heads: 4, keyValueHeads: 2, headSize: 4, contextLength: 64,
  normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, feedForward: { kind: "dense", inner: 24 }, extra: {}
}

/** Random weights for every tensor of a model, gains near one. */
export const randomWeights = (model: Model.Model, seed: number): Weights.Weights => Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }) => {
  const data = Random.fillNormal(Random.make(seed, name), new Float32Array(shape.reduce((product, axis) => product * axis, 1)), name.endsWith("norm") ? { mean: 1, deviation: 0.1 } : { deviation: 0.15 })
  return [name, { shape, data }] as const
})))

export const tinyMixture = (experts: number, expert: Model.Expert = { kind: "full" }, seed = 1, routedBy: Router.Router = router): Described => {
  const model: Model.Model = { ...dense, feedForward: { kind: "mixture", inner: 24, experts, active: Router.active(routedBy, experts), expert, router: routedBy as never, routerTensors: Router.tensors(routedBy, { ...dense, experts }), ...routedBy.depth?.decide === "once" ? { routerLayers: [routedBy.depth.layer] } : {} } }
  return { model, weights: randomWeights(model, seed) }
}
