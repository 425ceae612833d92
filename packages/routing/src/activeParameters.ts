/**
 * How many weights take part in what a token costs: everything that is executed for it, scoring included.
 *
 * That is all of the model but the experts that the token does not visit and what it does not look up; a router that runs all experts to choose among
 * them has all of them active. Weights that were read once, before any token (the network that makes Nexus's directions), count as what they made.
 */
import { Model } from "@switchyard/core"
import { Schema } from "effect"
import * as Router from "./Router.ts"

const size = (shape: ReadonlyArray<number>): number => shape.reduce((product, axis) => product * axis, 1)

/** Weights of a router that one token meets in a layer that decides. */
const scoring = (router: Router.Router, sizes: Router.Sizes): number => {
  const tensors = Router.tensors(router, sizes), all = Object.values(tensors).reduce((sum, shape) => sum + size(shape), 0)
  if (!Router.scored(router, sizes.experts)) return 0
  switch (router.score.by) {
    case "ngram": return sizes.experts * router.score.orders + (router.correction === true ? sizes.experts : 0) // one column of the table for each order
    case "lookup": return sizes.experts + (router.correction === true ? sizes.experts : 0) // one column of the table
    case "generated": return all + sizes.experts * Router.width(router.unit, sizes.hidden) - ["embeddings", "embeddings.mean", "inner.gate", "inner.up", "column"].reduce((sum, name) => sum + size(tensors[name]!), 0)
    default: return all
  }
}

/**
 * Of the token at `position` of its context, the first being 0; positions matter only to an election that ends (`Router.likelihood`'s trial).
 *
 * Options: `router` instead of the model's own. A dense model has all its weights active. Fails: dies on a description that holds no router.
 */
export const activeParameters = (model: Model.Model, options: { readonly router?: Router.Router; readonly position?: number } = {}): number => {
  const form = model.feedForward, tensors = Model.tensors(model)
  if (form.kind === "dense") return Model.parameters(model)
  const router = options.router ?? Schema.decodeUnknownSync(Router.Router)(form.router), { position = 0 } = options
  const body = tensors.reduce((sum, { name, shape }) => /\.(experts|router)\./.test(name) && !name.includes(".shared.") ? sum : sum + size(shape), 0)
  const electing = router.score.by === "likelihood" && Router.scored(router, form.experts) && position < (router.score.trial ?? Infinity)
  const layers = Array.from({ length: model.layers }, (_, layer) => {
    const expert = tensors.reduce((sum, { name, shape }) => name.startsWith(`layers.${layer}.experts.0.`) ? sum + size(shape) : sum, 0)
    if (expert === 0) return 0 // a dense layer among the first, counted with the body
    const visited = electing ? form.experts : Router.activeIn(router, form.experts, layer)
    return expert * visited + (Router.decides(router, layer) === "itself" ? scoring(router, { ...model, experts: form.experts }) : 0)
  })
  return layers.reduce((sum, each) => sum + each, body)
}

/** Their mean over the first `tokens` positions of a context. */
export const meanActiveParameters = (model: Model.Model, options: { readonly router?: Router.Router; readonly tokens: number }): number => {
  const { tokens, ...rest } = options
  return Array.from({ length: tokens }, (_, position) => activeParameters(model, { ...rest, position })).reduce((sum, each) => sum + each / tokens, 0)
}
