/**
 * Compression as edits: fewer experts, merged experts, or experts of low rank. Usage comes from a trace. Every layer keeps the same
 * number of experts, or no common file format could hold the result.
 */
import { Model, Table, type Tables, type Weights } from "@switchyard/core"
import { Router } from "@switchyard/routing"
import { Effect, Schema } from "effect"
import { align, type FeedForward } from "./alignment.ts"
import * as Edit from "./Edit.ts"
import { lowRankFactors } from "./lowRankFactors.ts"
import { type Described, folded } from "./upcycling.ts"

/** A mixture that cannot be compressed as asked. */
export class CompressError extends Schema.TaggedError<CompressError>()("CompressError", { method: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `compress by ${this.method}: ${this.problem}. ${this.remedy}` }
}

/** How much of each layer's combine weight went to each expert; sums to one per layer. [layers][experts] */
export const usage = (trace: Table.Table<Tables.Trace>, layers: number, experts: number): ReadonlyArray<ReadonlyArray<number>> => {
  const layer = Table.column(trace, "layer"), expert = Table.column(trace, "expert"), weight = Table.column(trace, "weight"), dropped = Table.column(trace, "dropped")
  const sums = Array.from({ length: layers }, () => Array.from({ length: experts }, () => 0))
  for (let row = 0; row < layer.length; row++) {
    const line = sums[layer[row]!]
    if (line?.[expert[row]!] === undefined) throw new Error(`usage: the trace names layer ${layer[row]} and expert ${expert[row]} of a mixture with ${layers} layers of ${experts}`)
    if (!dropped[row]) line[expert[row]!]! += weight[row]!
  }
  return sums.map((line) => { const total = line.reduce((sum, value) => sum + value, 0); return line.map((value) => total === 0 ? 1 / experts : value / total) })
}

/** Experts of a layer by usage, most used first; ties to the lowest number. */
export const ranking = (shares: ReadonlyArray<number>): ReadonlyArray<number> => shares.map((share, expert) => ({ share, expert })).sort((a, b) => b.share - a.share || a.expert - b.expert).map(({ expert }) => expert)

/** The mixture that a method works on. Fails: a dense model, layers without experts, more experts to be kept than there are. */
export const formOf = (method: string, model: Model.Model, keep: number): Effect.Effect<Model.Mixture, CompressError> => {
  const form = model.feedForward
  if (form.kind !== "mixture") return Effect.fail(new CompressError({ method, problem: "the model is dense", remedy: "Give a mixture." }))
  if (form.dense !== undefined) return Effect.fail(new CompressError({ method, problem: `the first ${form.dense.layers} layers have no experts`, remedy: "Give a mixture whose layers are all alike." }))
  if (keep < 1 || keep > form.experts) return Effect.fail(new CompressError({ method, problem: `keep ${keep} of ${form.experts} experts`, remedy: `Keep from 1 to ${form.experts}.` }))
  return Effect.succeed(form)
}

/** The description with `experts` experts: a top-k router keeps at most as many active. Fails: a router that names experts one by one. */
export const withExperts = (method: string, model: Model.Model, experts: number): Effect.Effect<Model.Model, CompressError | Router.RouterError> => Effect.gen(function*() {
  const form = yield* formOf(method, model, experts), router = yield* Router.decode(form.router)
  const { depth, select } = router
  if (!("keep" in select) || (depth?.decide === "once" && depth.before !== undefined)) return yield* new CompressError({ method, problem: "the router names experts one by one, and their numbers change", remedy: "Use a router that keeps all or the top." })
  const smaller: Router.Router = { ...router, select: select.keep === "all" ? select : { keep: "top", active: Math.min(select.active, experts) } }
  yield* Router.check(smaller, experts)
  return { ...model, feedForward: { ...form, experts, active: Router.active(smaller, experts), router: smaller as never, routerTensors: Router.tensors(smaller, { ...model, experts }) } }
})

/** Experts as three matrices each, which is what alignment and factors are defined on. */
const withoutBias = (method: string, form: Model.Mixture): Effect.Effect<void, CompressError> => form.expert.kind === "lowRank" || form.expert.bias !== true ? Effect.void
  : Effect.fail(new CompressError({ method, problem: "the experts have biases", remedy: "Use Compress.dropExperts, which keeps experts whole." }))

/** What `mergeExperts` works on and what becomes of it. Fails: as `mergeExperts`, but for the weights. */
export const mergeable = (model: Model.Model, keep: number): Effect.Effect<{ readonly form: Model.Mixture; readonly smaller: Model.Model }, CompressError | Router.RouterError> => Effect.gen(function*() {
  const form = yield* formOf("mergeExperts", model, keep), smaller = yield* withExperts("mergeExperts", model, keep)
  if (form.expert.kind !== "full") return yield* new CompressError({ method: "mergeExperts", problem: "low-rank experts have no inner channels of their own to align", remedy: "Fold them into full experts first: Compress.fold(mixture)." })
  yield* withoutBias("mergeExperts", form)
  return { form, smaller }
})
/** What `lowRank` works on. Fails: as `lowRank`, but for the weights. */
export const factorable = (model: Model.Model, rank: number): Effect.Effect<Model.Mixture, CompressError> => Effect.gen(function*() {
  const form = yield* formOf("lowRank", model, 1)
  if (form.expert.kind !== "full") return yield* new CompressError({ method: "lowRank", problem: `the experts are of rank ${form.expert.rank} already`, remedy: "Give a mixture of full experts." })
  yield* withoutBias("lowRank", form)
  const largest = Math.min(form.inner, model.hidden)
  if (rank < 1 || rank > largest) return yield* new CompressError({ method: "lowRank", problem: `rank ${rank}`, remedy: `Choose a rank from 1 to ${largest}.` })
  return form
})

const parts = (form: Model.Mixture): ReadonlyArray<string> => form.expert.kind === "full" ? [...Edit.matrices, ...form.expert.bias === true ? Edit.matrices.map((matrix) => `${matrix}Bias`) : []] : Edit.matrices.flatMap((matrix) => [`${matrix}.a`, `${matrix}.b`])
const body = (weights: Weights.Weights): Edit.Edit => Edit.copies(weights, (name) => !/^layers\.\d+\.(experts|router)\./.test(name))

const routerTensorsIn = (form: Model.Mixture, layer: number): ReadonlyArray<string> => form.routerLayers?.includes(layer) === false ? [] : Object.keys(form.routerTensors)

/** Keeps each layer's most used experts and their router rows (frequency pruning, the baseline of Lu et al. 2024). */
export const dropExperts = ({ model, weights }: Described, shares: ReadonlyArray<ReadonlyArray<number>>, keep: number): Effect.Effect<Described, CompressError | Router.RouterError> => Effect.gen(function*() {
  const form = yield* formOf("dropExperts", model, keep), smaller = yield* withExperts("dropExperts", model, keep)
  const edit = new Map(body(weights))
  shares.forEach((line, layer) => {
    const kept = ranking(line).slice(0, keep).sort((a, b) => a - b)
    kept.forEach((from, to) => { for (const part of parts(form)) edit.set(`layers.${layer}.experts.${to}.${part}`, { copy: `layers.${layer}.experts.${from}.${part}`, of: weights }) })
    for (const name of routerTensorsIn(form, layer)) {
      const at = `layers.${layer}.router.${name}`
      edit.set(at, Router.perExpert(name) ? { gather: at, rows: kept, of: weights } : { copy: at, of: weights })
    }
  })
  return { model: smaller, weights: Edit.apply(edit) }
})

const readExpert = (weights: Weights.Weights, layer: number, expert: number) => Effect.all({
  gate: weights.read(`layers.${layer}.experts.${expert}.gate`), up: weights.read(`layers.${layer}.experts.${expert}.up`), down: weights.read(`layers.${layer}.experts.${expert}.down`)
})
const flat = ({ down, gate, up }: FeedForward): ReadonlyArray<Float32Array> => [gate, up, down]
const cosine = (a: FeedForward, b: FeedForward, mean: FeedForward): number => {
  let dot = 0, left = 0, right = 0
  flat(a).forEach((x, part) => {
    const y = flat(b)[part]!, m = flat(mean)[part]!
    for (let i = 0; i < x.length; i++) { const u = x[i]! - m[i]!, v = y[i]! - m[i]!; dot += u * v; left += u * u; right += v * v }
  })
  return left === 0 || right === 0 ? 1 : dot / Math.sqrt(left * right)
}
const weighted = (members: ReadonlyArray<readonly [Float32Array, number]>): Float32Array => {
  const total = members.reduce((sum, [, share]) => sum + share, 0), sums = new Float64Array(members[0]![0].length)
  // a group nobody used counts its members alike
  for (const [values, share] of members) { const factor = total === 0 ? 1 / members.length : share / total; for (let i = 0; i < sums.length; i++) sums[i]! += factor * values[i]! }
  return Float32Array.from(sums)
}

/**
 * Merges experts in groups, weighted by usage (M-SMoE, Li et al. 2024): each layer's most used experts lead; every other one, its inner
 * channels permuted to match, joins the leader it resembles most (cosine of differences from the layer's mean expert); router rows are
 * averaged by the same weights. Full experts only: fold low-rank ones first.
 */
export const mergeExperts = ({ model, weights }: Described, shares: ReadonlyArray<ReadonlyArray<number>>, keep: number): Effect.Effect<Described & { readonly groups: ReadonlyArray<ReadonlyArray<ReadonlyArray<number>>> }, CompressError | Router.RouterError | Weights.WeightsError> => Effect.gen(function*() {
  const { form, smaller } = yield* mergeable(model, keep)
  const edit = new Map(body(weights)), { inner } = form, { hidden } = model, groups: Array<ReadonlyArray<ReadonlyArray<number>>> = []
  for (const [layer, line] of shares.entries()) {
    const leaders = ranking(line).slice(0, keep).sort((a, b) => a - b)
    const experts: Array<FeedForward> = []
    for (let expert = 0; expert < form.experts; expert++) experts.push(yield* readExpert(weights, layer, expert))
    const aligned = leaders.map((leader) => experts.map((expert, at) => at === leader || leaders.includes(at) ? expert : align(experts[leader]!, expert, inner, hidden)))
    const mean = (place: number): FeedForward => {
      const all = aligned[place]!, of = (part: "gate" | "up" | "down") => weighted(all.map((expert) => [expert[part], 1] as const))
      return { gate: of("gate"), up: of("up"), down: of("down") }
    }
    const means = leaders.map((_, place) => mean(place)), members = leaders.map((leader) => [leader])
    for (let expert = 0; expert < form.experts; expert++) {
      if (leaders.includes(expert)) continue
      const likeness = leaders.map((leader, place) => cosine(experts[leader]!, aligned[place]![expert]!, means[place]!))
      members[likeness.indexOf(Math.max(...likeness))]!.push(expert)
    }
    groups.push(members)
    for (const [to, group] of members.entries()) for (const part of Edit.matrices) {
      const name = `layers.${layer}.experts.${to}.${part}`
      edit.set(name, { shape: weights.infos.get(`layers.${layer}.experts.${group[0]!}.${part}`)!.shape, values: weighted(group.map((expert) => [aligned[to]![expert]![part], line[expert]!] as const)) })
    }
    for (const name of routerTensorsIn(form, layer)) {
      const at = `layers.${layer}.router.${name}`
      if (!Router.perExpert(name)) { edit.set(at, { copy: at, of: weights }); continue }
      const rows = yield* weights.read(at), shape = form.routerTensors[name]!.slice(1), width = shape.reduce((product, axis) => product * axis, 1)
      const values = new Float32Array(keep * width)
      for (const [to, group] of members.entries()) values.set(weighted(group.map((expert) => [rows.subarray(expert * width, (expert + 1) * width), line[expert]!] as const)), to * width)
      edit.set(at, { shape: [keep, ...shape], values })
    }
  }
  return { model: smaller, weights: Edit.apply(edit), groups }
})

/** Low-rank experts folded into full ones, exactly up to f32 rounding: the mixture then fits Mixtral's files. A mixture of full experts stays as it is. */
export const fold = ({ model, weights }: Described): Effect.Effect<Described, CompressError> => Effect.gen(function*() {
  const form = yield* formOf("fold", model, 1), { expert } = form
  if (expert.kind === "full") return { model, weights }
  const dense: Model.Model = { ...model, feedForward: { kind: "dense", inner: form.inner } }
  const full = Array.from({ length: form.experts }, (_, e) => folded(dense, weights, expert, (name) => name.replace(".feedForward.", `.experts.${e}.`)))
  const edit = new Map<string, Edit.Origin>(Edit.copies(weights, (name) => !/^layers\.\d+\.experts\./.test(name) && !Edit.inFeedForward(name)))
  for (let layer = 0; layer < model.layers; layer++) full.forEach((of, e) => { for (const matrix of Edit.matrices) edit.set(`layers.${layer}.experts.${e}.${matrix}`, { copy: `layers.${layer}.feedForward.${matrix}`, of }) })
  return { model: { ...model, feedForward: { ...form, expert: { kind: "full" } } }, weights: Edit.apply(edit) }
})

/**
 * Full experts become a shared feed-forward (their mean) and one low-rank change each, the truncated singular value decomposition of
 * expert − mean. Options: `rank`, at most the smaller of hidden and inner. `lost`: share of the squared differences left out, by layer.
 */
export const lowRank = ({ model, weights }: Described, rank: number): Effect.Effect<Described & { readonly lost: ReadonlyArray<number> }, CompressError | Weights.WeightsError> => Effect.gen(function*() {
  const form = yield* factorable(model, rank)
  const edit = new Map<string, Edit.Origin>(Edit.copies(weights, (name) => !/^layers\.\d+\.experts\./.test(name))), lost: Array<number> = []
  for (let layer = 0; layer < model.layers; layer++) {
    let missing = 0, all = 0
    for (const matrix of Edit.matrices) {
      const names = Array.from({ length: form.experts }, (_, e) => `layers.${layer}.experts.${e}.${matrix}`), shape = weights.infos.get(names[0]!)!.shape, [rows, columns] = shape as [number, number]
      const experts: Array<Float32Array> = []
      for (const name of names) experts.push(yield* weights.read(name))
      const mean = weighted(experts.map((values) => [values, 1] as const))
      edit.set(`layers.${layer}.feedForward.${matrix}`, { shape, values: mean })
      names.forEach((name, e) => {
        const change = experts[e]!.map((value, i) => value - mean[i]!), norm = change.reduce((sum, value) => sum + value * value, 0)
        const factors = lowRankFactors(change, rows, columns, rank)
        edit.set(`${name}.a`, { shape: [rank, columns], values: factors.a })
        edit.set(`${name}.b`, { shape: [rows, rank], values: factors.b })
        all += norm
        missing += norm * factors.lost
      })
    }
    lost.push(all === 0 ? 0 : missing / all)
  }
  return { model: { ...model, feedForward: { ...form, expert: { kind: "lowRank", rank, scale: 1 } } }, weights: Edit.apply(edit), lost }
})
