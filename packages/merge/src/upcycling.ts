/**
 * Upcycling as edits: from descriptions and weights to the description and weights of a mixture. Stages that read, prove and keep the
 * result stand in Upcycle.ts.
 */
import { Model, type Weights } from "@switchyard/core"
import { Router } from "@switchyard/routing"
import { Effect } from "effect"
import * as Edit from "./Edit.ts"
import * as Merge from "./Merge.ts"

export interface Described { readonly model: Model.Model; readonly weights: Weights.Weights }

/** The description of a mixture on the body of `model`. Fails: RouterError when the router wants more experts than there are, or a layer to decide that is not there. */
export const mixtureOf = (model: Model.Model, options: { readonly experts: number; readonly expert: Model.Expert; readonly router: Router.Router }): Effect.Effect<Model.Model, Router.RouterError> =>
  Effect.map(Effect.andThen(Router.within(options.router, model.layers), Router.check(options.router, options.experts)), (router) => ({
    ...model,
    feedForward: {
      kind: "mixture", inner: model.feedForward.inner, experts: options.experts, active: Router.active(router, options.experts), expert: options.expert,
      router: router as never, routerTensors: Router.tensors(router, { ...model, experts: options.experts }),
      ...router.depth?.decide === "once" ? { routerLayers: Router.deciding(router, model.layers) } : {}
    }
  }))

const layersOf = (model: Model.Model): ReadonlyArray<number> => Array.from({ length: model.layers }, (_, layer) => layer)
const routersOf = (model: Model.Model, seed: number): Edit.Edit => model.feedForward.kind === "mixture" ? Edit.newborn(model.feedForward.routerLayers ?? layersOf(model), model.feedForward.routerTensors, seed) : new Map()

/** Sparse upcycling (Komatsuzaki et al. 2023): every expert a copy of the dense feed-forward, router newborn, the rest as it was. */
export const fromDense = ({ model, weights }: Described, options: { readonly experts: number; readonly router: Router.Router; readonly seed: number }): Effect.Effect<Described, Router.RouterError> => Effect.gen(function*() {
  const mixture = yield* mixtureOf(model, { ...options, expert: { kind: "full" } })
  const experts: Array<[string, Edit.Origin]> = layersOf(model).flatMap((layer) => Array.from({ length: options.experts }, (_, expert) => Edit.matrices.map((matrix): [string, Edit.Origin] =>
    [`layers.${layer}.experts.${expert}.${matrix}`, { copy: `layers.${layer}.feedForward.${matrix}`, of: weights }])).flat())
  return { model: mixture, weights: Edit.apply(new Map([...Edit.copies(weights, (name) => !Edit.inFeedForward(name)), ...experts, ...routersOf(mixture, options.seed)])) }
})

/** Branch-Train-MiX (Sukhbaatar et al. 2024): each model's feed-forward becomes an expert, everything else is the models' mean. Order of experts = order of `models`. */
export const fromModels = (models: Readonly<Record<string, Described>>, options: { readonly router: Router.Router; readonly seed: number }): Effect.Effect<Described & { readonly mean: Weights.Weights }, Router.RouterError | Merge.MergeError> => Effect.gen(function*() {
  const all = Object.values(models)
  const mean = yield* Merge.fold(Merge.linear(), Object.fromEntries(Object.entries(models).map(([name, { weights }]) => [name, weights])))
  const model = yield* mixtureOf(all[0]!.model, { experts: all.length, expert: { kind: "full" }, router: options.router })
  const experts: Array<[string, Edit.Origin]> = layersOf(model).flatMap((layer) => all.flatMap(({ weights }, expert) => Edit.matrices.map((matrix): [string, Edit.Origin] =>
    [`layers.${layer}.experts.${expert}.${matrix}`, { copy: `layers.${layer}.feedForward.${matrix}`, of: weights }])))
  return { model, mean, weights: Edit.apply(new Map([...Edit.copies(mean, (name) => !Edit.inFeedForward(name)), ...experts, ...routersOf(model, options.seed)])) }
})

/** Adapters of one base become low-rank experts beside the shared feed-forward. Order of experts = order of `adapters`. */
export const fromAdapters = ({ model, weights }: Described, adapters: Readonly<Record<string, { readonly header: { readonly rank: number; readonly scale: number }; readonly weights: Weights.Weights }>>, options: { readonly router: Router.Router; readonly seed: number }): Effect.Effect<Described, Router.RouterError> => Effect.gen(function*() {
  const all = Object.values(adapters), { rank, scale } = all[0]!.header
  const mixture = yield* mixtureOf(model, { experts: all.length, expert: { kind: "lowRank", rank, scale }, router: options.router })
  const experts: Array<[string, Edit.Origin]> = layersOf(model).flatMap((layer) => all.flatMap(({ weights }, expert) => Edit.matrices.flatMap((matrix) => ["a", "b"].map((part): [string, Edit.Origin] =>
    [`layers.${layer}.experts.${expert}.${matrix}.${part}`, { copy: `layers.${layer}.feedForward.${matrix}.${part}`, of: weights }]))))
  return { model: mixture, weights: Edit.apply(new Map([...Edit.copies(weights), ...experts, ...routersOf(mixture, options.seed)])) }
})

/** The dense model that the mixture is when only expert `expert` speaks with weight one. Low-rank experts are folded: W + scale · b·a, in f64. */
export const forced = ({ model, weights }: Described, expert: number): Described => {
  const form = model.feedForward
  if (form.kind !== "mixture") throw new Error("forced: the model must be a mixture")
  const dense: Model.Model = { ...model, feedForward: { kind: "dense", inner: form.inner } }
  return { model: dense, weights: form.expert.kind === "full" ? Edit.apply(new Map(Model.tensors(dense).map(({ name }): [string, Edit.Origin] =>
    [name, { copy: Edit.inFeedForward(name) ? name.replace(".feedForward.", `.experts.${expert}.`) : name, of: weights }]))) : folded(dense, weights, form.expert, (name) => name.replace(".feedForward.", `.experts.${expert}.`)) }
}

/** The model with the feed-forwards of another: body from `weights`, gate, up and down from `feedForward`. */
export const carrying = (model: Model.Model, weights: Weights.Weights, feedForward: Weights.Weights): Described =>
  ({ model, weights: Edit.apply(new Map([...Edit.copies(weights), ...Edit.copies(feedForward, Edit.inFeedForward)])) })

/** The tensors of `model`, with the low-rank change that stands at `at(name)` in each feed-forward matrix. */
export const folded = (model: Model.Model, weights: Weights.Weights, { rank, scale }: { readonly rank: number; readonly scale: number }, at: (name: string) => string): Weights.Weights => {
  const plain = Edit.apply(new Map(Model.tensors(model).map(({ name }): [string, Edit.Origin] => [name, { copy: name, of: weights }])))
  return {
    infos: new Map([...plain.infos].map(([name, info]) => [name, Edit.inFeedForward(name) ? { ...info, dtype: "F32" as const } : info])), // a sum needs more bits than its parts
    read: (name, rows) => !Edit.inFeedForward(name) ? plain.read(name, rows) : Effect.gen(function*() {
      const columns = plain.infos.get(name)!.shape[1]!
      const base = yield* plain.read(name, rows), a = yield* weights.read(`${at(name)}.a`), b = yield* weights.read(`${at(name)}.b`, rows) // [rows, in], [rank, in], [rows, rank]
      return Float32Array.from(base, (value, i) => {
        const row = Math.floor(i / columns), column = i % columns
        let sum = 0
        for (let r = 0; r < rank; r++) sum += b[row * rank + r]! * a[r * columns + column]!
        return value + scale * sum
      })
    })
  }
}
