/**
 * A router is plain data: who decides together (unit), how well an expert suits (score), which experts are kept (select) and how they
 * are mixed (weight); capacity, if given, bounds how many visits an expert takes. `route` executes it; what it reads, how many experts it keeps and what it trains are inferred from the data.
 *
 * Being JSON it lives in `Model.feedForward.router`, compares by value and travels with the checkpoint.
 */
import { Effect, Schema } from "effect"

const decay = Schema.Finite.check(Schema.isGreaterThan(0), Schema.isLessThanOrEqualTo(1))
const positive = Schema.Finite.check(Schema.isGreaterThan(0))
const whole = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const count = Schema.Int.check(Schema.isGreaterThan(0))
const expert = whole

/** What a pooled state becomes before it is scored: each pool divided by its root mean square, or each coordinate less its mean over text and divided by its deviation. Left out: nothing. */
const normalize = Schema.optionalKey(Schema.Literals(["rms", "whitened"]))

/** Who decides together: each token alone, or all tokens up to it, as their mean, with weights decay^distance, as several such pools side by side (a decay of 1 is the mean), or each
 * token alone, whose scores then add up: Σ decay^distance · score / temperature, the log-odds of independent witnesses. */
export const Unit = Schema.Union([
  Schema.Struct({ of: Schema.Literal("token") }),
  Schema.Struct({ of: Schema.Literal("prefix"), pool: Schema.Literal("mean"), normalize }),
  Schema.Struct({ of: Schema.Literal("prefix"), pool: Schema.Literal("decay"), decay, normalize }),
  Schema.Struct({ of: Schema.Literal("prefix"), pool: Schema.Literal("evidence"), decay, temperature: positive, normalize }),
  Schema.Struct({ of: Schema.Literal("prefix"), pool: Schema.Literal("bank"), decays: Schema.Array(decay).check(Schema.isMinLength(1)), normalize })
])
/**
 * How well an expert suits: a learned direction, one hidden layer, nearness to a centroid, the length of the state along a direction of either sign, a gate
 * compared after both are standardized, a direction generated from what describes the expert's domain, what the n-grams of up to `orders` tokens that end here say (hashed into `buckets` of each
 * order), a table by token or position, or how well the expert alone
 * predicted the text so far (of its first `trial` tokens only, where that is given).
 */
export const Score = Schema.Union([
  Schema.Struct({ by: Schema.Literal("linear"), bias: Schema.optionalKey(Schema.Literal(true)) }),
  Schema.Struct({ by: Schema.Literal("mlp"), inner: count }),
  Schema.Struct({ by: Schema.Literal("distance"), metric: Schema.Literals(["euclidean", "whitened", "cosine"]), temperature: positive }),
  Schema.Struct({ by: Schema.Literal("magnitude"), temperature: positive }),
  Schema.Struct({ by: Schema.Literal("standardized") }),
  Schema.Struct({ by: Schema.Literal("generated"), embedding: count, inner: count }),
  Schema.Struct({ by: Schema.Literal("ngram"), orders: count, buckets: count }),
  Schema.Struct({ by: Schema.Literal("lookup"), key: Schema.Literals(["token", "position"]) }),
  Schema.Struct({ by: Schema.Literal("likelihood"), decay, temperature: positive, trial: Schema.optionalKey(count) })
])
/** Which experts are kept. A union keeps the fixed experts of all its members, and as many of the best others as its members together ask for. */
export type Select =
  | { readonly keep: "all" }
  | { readonly keep: "top"; readonly active: number }
  | { readonly fixed: ReadonlyArray<number> }
  | { readonly union: ReadonlyArray<Select> }
export const Select: Schema.Codec<Select> = Schema.Union([
  Schema.Struct({ keep: Schema.Literal("all") }),
  Schema.Struct({ keep: Schema.Literal("top"), active: Schema.Int.check(Schema.isGreaterThan(0)) }),
  Schema.Struct({ fixed: Schema.Array(expert).check(Schema.isMinLength(1)) }),
  Schema.Struct({ union: Schema.Array(Schema.suspend((): Schema.Codec<Select> => Select)).check(Schema.isMinLength(1)) })
])
/** Weights of the kept: their probability among all experts, that divided by its sum over the kept, or the softmax of the kept logits. */
export const Weight = Schema.Literals(["prob", "renorm", "softmaxKept"])
/** Each expert takes `perExpert` times its equal share of a window's visits, those of earlier tokens first; the others get weight zero. Left out: nothing is dropped. */
export const Capacity = Schema.Struct({ perExpert: positive, scope: Schema.Literals(["batch", "sequence"]), priority: Schema.Literal("position"), overflow: Schema.Literal("drop") })

/** What makes probabilities of logits: softmax over the experts (as when left out), or a sigmoid of each by itself. */
export const Activation = Schema.Literals(["softmax", "sigmoid"])
/** Experts in so many groups of neighbours, of which the best `keep` may be chosen from: best by their best expert, or by the sum of their best two. */
export const Groups = Schema.Struct({ count, keep: count, by: Schema.Literals(["max", "top2sum"]) })
/** Each layer decides for itself (as when left out), or layer `layer` decides for itself and all after it, and those before it visit the experts of `before` with its weights. */
export const Depth = Schema.Union([
  Schema.Struct({ decide: Schema.Literal("each") }),
  Schema.Struct({ decide: Schema.Literal("once"), layer: whole, before: Schema.optionalKey(Schema.Struct({ experts: Schema.Array(expert).check(Schema.isMinLength(1)), weights: Schema.Array(Schema.Finite) })) })
])

/**
 * The router as data: its encoded form is itself. `correction`: a tensor is added to the probabilities where experts are chosen, and nowhere else; `scale`: what all
 * weights are multiplied by.
 */
export const Router = Schema.Struct({
  unit: Unit, score: Score, activation: Schema.optionalKey(Activation), correction: Schema.optionalKey(Schema.Literal(true)), groups: Schema.optionalKey(Groups), select: Select, weight: Weight,
  scale: Schema.optionalKey(positive), capacity: Schema.optionalKey(Capacity), depth: Schema.optionalKey(Depth)
})
export type Router = typeof Router.Type
export type Unit = typeof Unit.Type
export type Score = typeof Score.Type
export type Weight = typeof Weight.Type
export type Capacity = typeof Capacity.Type
export type Depth = typeof Depth.Type
export type Groups = typeof Groups.Type

/** A router that cannot be: where in its description, what is wrong, what to do. */
export class RouterError extends Schema.TaggedError<RouterError>()("RouterError", { at: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `${this.at}: ${this.problem}. ${this.remedy}` }
}

// ---- presets: functions of what one chooses; the systems they come from stand in routers.ts
/** Each token goes to its `active` best experts by a learned linear score. Options: weight "softmaxKept". */
export const topK = (options: { readonly active: number; readonly weight?: Weight }) =>
  ({ unit: { of: "token" }, score: { by: "linear" }, select: { keep: "top", active: options.active }, weight: options.weight ?? "softmaxKept" }) as const satisfies Router
/** Every expert for every token, mixed by probability. */
export const all = () => ({ unit: { of: "token" }, score: { by: "linear" }, select: { keep: "all" }, weight: "prob" }) as const satisfies Router
/** Always these experts; with one expert no score is computed. */
export const fixed = (experts: ReadonlyArray<number>) =>
  ({ unit: { of: "token" }, score: { by: "linear" }, select: { fixed: experts }, weight: "softmaxKept" }) as const satisfies Router
/** DeepSeek-V3's: sigmoids, chosen with a correction within the best groups, their weights divided by their sum and scaled. Options: groups (none), scale 1, weight "renorm". */
export const sigmoid = (options: { readonly active: number; readonly groups?: Groups; readonly scale?: number; readonly weight?: "prob" | "renorm" }) => ({
  unit: { of: "token" }, score: { by: "linear" }, activation: "sigmoid", correction: true, ...options.groups === undefined ? {} : { groups: options.groups },
  select: { keep: "top", active: options.active }, weight: options.weight ?? "renorm", ...options.scale === undefined ? {} : { scale: options.scale }
}) as const satisfies Router
/** Shared experts for every token, and the `active` best of the others. */
export const shared = (options: { readonly shared: ReadonlyArray<number>; readonly active: number; readonly weight?: Weight }) =>
  ({ unit: { of: "token" }, score: { by: "linear" }, select: { union: [{ fixed: options.shared }, { keep: "top", active: options.active }] }, weight: options.weight ?? "prob" }) as const satisfies Router
/** The tokens so far decide together. Options: decay (none is the plain mean), weight "softmaxKept". */
export const prefix = (options: { readonly active: number; readonly decay?: number; readonly weight?: Weight }) => ({
  unit: options.decay === undefined ? { of: "prefix", pool: "mean" } : { of: "prefix", pool: "decay", decay: options.decay },
  score: { by: "linear" }, select: { keep: "top", active: options.active }, weight: options.weight ?? "softmaxKept"
}) as const satisfies Router
/**
 * One hidden layer over several pools of the text so far. Options: inner 64, decays [1, 0.97, 0.9], normalize "rms", weight "softmaxKept".
 */
export const prefixMlp = (options: { readonly active: number; readonly inner?: number; readonly decays?: ReadonlyArray<number>; readonly normalize?: "rms" | "whitened"; readonly weight?: Weight }) => ({
  unit: { of: "prefix", pool: "bank", decays: options.decays ?? [1, 0.97, 0.9], normalize: options.normalize ?? "rms" },
  score: { by: "mlp", inner: options.inner ?? 64 }, select: { keep: "top", active: options.active }, weight: options.weight ?? "softmaxKept"
}) as const satisfies Router
/** The nearest of fitted centroids. Options: metric "euclidean", temperature 1, unit token, weight "softmaxKept". */
export const prototypes = <const U extends Unit = { readonly of: "token" }>(options: {
  readonly active: number; readonly metric?: "euclidean" | "whitened" | "cosine"; readonly temperature?: number; readonly unit?: U; readonly weight?: Weight
}) => ({
  unit: (options.unit ?? { of: "token" }) as U, score: { by: "distance", metric: options.metric ?? "euclidean", temperature: options.temperature ?? 1 },
  select: { keep: "top", active: options.active }, weight: options.weight ?? "softmaxKept"
}) as const satisfies Router
/**
 * The experts that alone would have predicted the text so far best. Options: decay 1 (the whole text counts equally), temperature 1, active (all), weight "renorm";
 * trial, of how many tokens all experts are run and scored (all tokens): after them the `active` best stay, with their weights, and no other is run.
 */
export const likelihood = (options: { readonly decay?: number; readonly temperature?: number; readonly active?: number; readonly weight?: Weight; readonly trial?: number } = {}) => ({
  unit: { of: "token" }, score: { by: "likelihood", decay: options.decay ?? 1, temperature: options.temperature ?? 1, ...options.trial === undefined ? {} : { trial: options.trial } },
  select: options.active === undefined ? { keep: "all" } : { keep: "top", active: options.active }, weight: options.weight ?? "renorm"
}) as const satisfies Router
/** The experts along whose strongest direction a token is longest. Options: temperature 1, unit token, weight "softmaxKept"; `Arrow.fit` gives the directions. */
export const arrow = <const U extends Unit = { readonly of: "token" }>(options: { readonly active: number; readonly temperature?: number; readonly unit?: U; readonly weight?: Weight }) => ({
  unit: (options.unit ?? { of: "token" }) as U, score: { by: "magnitude", temperature: options.temperature ?? 1 }, select: { keep: "top", active: options.active }, weight: options.weight ?? "softmaxKept"
}) as const satisfies Router
/** The experts whose gates, trained after them, open most. Options: unit token, weight "softmaxKept"; `Phatgoose.fit` trains the gates. */
export const phatgoose = <const U extends Unit = { readonly of: "token" }>(options: { readonly active: number; readonly unit?: U; readonly weight?: Weight }) => ({
  unit: (options.unit ?? { of: "token" }) as U, score: { by: "standardized" }, select: { keep: "top", active: options.active }, weight: options.weight ?? "softmaxKept"
}) as const satisfies Router
/** Directions generated from the embeddings of the experts' domains. Options: embedding (its length), inner 64, unit token, weight "softmaxKept"; `Prototypes.embed` gives the embeddings. */
export const nexus = <const U extends Unit = { readonly of: "token" }>(options: { readonly active: number; readonly embedding: number; readonly inner?: number; readonly unit?: U; readonly weight?: Weight }) => ({
  unit: (options.unit ?? { of: "token" }) as U, score: { by: "generated", embedding: options.embedding, inner: options.inner ?? 64 }, select: { keep: "top", active: options.active }, weight: options.weight ?? "softmaxKept"
}) as const satisfies Router
/**
 * The posterior of the text so far under a small model of each expert's text: hashed n-grams of up to `orders` tokens, whose log-odds add up (naive Bayes; `Ngram.fit`
 * counts them). Options: orders 3, buckets 16384 of each order, decay 1, temperature 2, weight "renorm".
 */
export const ngram = (options: { readonly active: number; readonly orders?: number; readonly buckets?: number; readonly decay?: number; readonly temperature?: number; readonly weight?: Weight }) => ({
  unit: { of: "prefix", pool: "evidence", decay: options.decay ?? 1, temperature: options.temperature ?? 2 },
  score: { by: "ngram", orders: options.orders ?? 3, buckets: options.buckets ?? 16384 }, select: { keep: "top", active: options.active }, weight: options.weight ?? "renorm", depth: { decide: "once", layer: 0 }
}) as const satisfies Router
/** A control: the experts of a token are those that chance gave its id, the same everywhere. Options: weight "softmaxKept". */
export const hash = (options: { readonly active: number; readonly weight?: Weight }) =>
  ({ unit: { of: "token" }, score: { by: "lookup", key: "token" }, select: { keep: "top", active: options.active }, weight: options.weight ?? "softmaxKept" }) as const satisfies Router
/** A control: the experts of a token are those that chance gave its position, whatever stands there. Options: weight "softmaxKept". */
export const random = (options: { readonly active: number; readonly weight?: Weight }) =>
  ({ unit: { of: "token" }, score: { by: "lookup", key: "position" }, select: { keep: "top", active: options.active }, weight: options.weight ?? "softmaxKept" }) as const satisfies Router
/** The same router, whose experts take at most `perExpert` times their equal share of the visits of a batch or of a sequence; what is over is dropped. */
export const limited = <const R extends Router, const S extends Capacity["scope"]>(router: R, options: { readonly perExpert: number; readonly scope: S }) =>
  ({ ...router, capacity: { ...options, priority: "position", overflow: "drop" } }) as Omit<R, "capacity"> & { readonly capacity: Omit<Capacity, "scope"> & { readonly scope: S } }

/** The same router with a correction: a tensor, zero at birth, added to the probabilities where experts are chosen and nowhere else; `Balance.lossFree` moves it. */
export const corrected = <const R extends Router>(router: R) => ({ ...router, correction: true }) as Omit<R, "correction"> & { readonly correction: true }

/** The same router, deciding once: in layer `layer`, for it and all after it. Options: `before`, the experts of the layers before it, weighted alike unless `weights` are given; needed unless `layer` is 0. */
export const once = <const R extends Router>(router: R, options: { readonly layer: number; readonly before?: ReadonlyArray<number>; readonly weights?: ReadonlyArray<number> }) => ({
  ...router, depth: { decide: "once", layer: options.layer, ...options.before === undefined ? {} : { before: { experts: options.before, weights: options.weights ?? options.before.map(() => 1 / options.before!.length) } } }
}) as Omit<R, "depth"> & { readonly depth: Depth }

// ---- what follows from the data
/** What a decision about a token reads besides that token, from least to most. */
export type Scope = "token" | "prefix" | "sequence" | "batch"
type Reads<T> = T extends { readonly of: "prefix" } | { readonly by: "likelihood" | "ngram" } ? "prefix" : "token"
type Widest<S extends Scope> = "batch" extends S ? "batch" : "sequence" extends S ? "sequence" : "prefix" extends S ? "prefix" : "token"
type Shares<R extends Router> = "capacity" extends keyof R ? WindowOf<R["capacity"]> : "token"
type WindowOf<C> = C extends { readonly scope: infer S extends Scope } ? S : "token"
/** The scope as a type: of a router that is not known literally, the widest it may be. */
export type ScopeOf<R extends Router> = Widest<Reads<R["unit"]> | Reads<R["score"]> | Shares<R>>
/** The scope inferred from the description. */
export const scope = <const R extends Router>(router: R): Router extends R ? Scope : ScopeOf<R> =>
  (router.capacity?.scope ?? (router.unit.of === "prefix" || router.score.by === "likelihood" || router.score.by === "ngram" ? "prefix" : "token")) as Router extends R ? Scope : ScopeOf<R>
/** The router's type, if it is known that no decision reads another sequence of the batch nor a later token or how many there are; `never` otherwise. */
export type Isolated<R extends Router> = ScopeOf<R> extends "token" | "prefix" ? R : never
/** Any router without a capacity: what `isolated` makes of one read from JSON. */
export type Unlimited = Router & { readonly capacity?: never }
/** The router, where its decisions about a token follow from that token and those before it. Fails: `RouterError` where a capacity lets others in. */
export const isolated = (router: Router, at = "router"): Effect.Effect<Unlimited, RouterError> => router.capacity === undefined ? Effect.succeed(router as Unlimited)
  : Effect.fail(new RouterError({
    at: `${at}.capacity`, problem: router.capacity.scope === "batch" ? "which visits are dropped depends on the other sequences of the batch" : "which visits are dropped depends on how long the sequence is padded",
    remedy: "Leave capacity out where isolation is asked for: nothing is then dropped."
  }))

/** What a selection keeps: these experts first, in this order, then so many of the best of the others. */
export const kept = (select: Select, experts: number): { readonly first: ReadonlyArray<number>; readonly top: number } => {
  const parts = members(select), first = [...new Set(parts.flatMap((part) => "fixed" in part ? part.fixed : []))]
  const all = parts.some((part) => "keep" in part && part.keep === "all")
  return { first, top: all ? experts - first.length : parts.reduce((sum, part) => sum + ("keep" in part && part.keep === "top" ? part.active : 0), 0) }
}
const members = (select: Select): ReadonlyArray<Exclude<Select, { readonly union: unknown }>> => "union" in select ? select.union.flatMap(members) : [select]
/** How many experts each token visits. */
export const active = (router: Router, experts: number): number => {
  const { first, top } = kept(router.select, experts)
  return first.length + top
}
/** Whether any weight or choice depends on the scores: with one fixed expert of weight one nothing does. */
export const scored = (router: Router, experts: number): boolean => {
  const { first, top } = kept(router.select, experts)
  return top + first.length > 1 || (router.weight === "prob" && router.activation === "sigmoid") ? true : top === 1 ? experts > 1 : router.weight === "prob" && experts > 1
}
/**
 * Which logits the language-model loss trains through the weights; choosing itself has no gradient. "all" the experts', the "chosen"
 * ones', or "none": one renormalised expert has weight one whatever its logit, and likelihoods and tables are not trained.
 */
export const gradient = (router: Router, experts: number): "all" | "chosen" | "none" => {
  const count = active(router, experts)
  if (router.score.by === "likelihood" || router.score.by === "lookup" || router.score.by === "ngram") return "none"
  if (router.weight === "prob" && router.activation === "sigmoid") return count === experts ? "all" : "chosen"
  if (experts === 1) return "none"
  if (router.weight === "prob") return "all"
  return count === 1 ? "none" : count === experts ? "all" : "chosen"
}
/** Whether every token's weights add to one in every layer, whatever the scores. */
export const sumsToOne = (router: Router, experts: number): boolean => {
  const told = router.depth?.decide === "once" ? router.depth.before?.weights.reduce((sum, each) => sum + each, 0) ?? 1 : 1
  return router.capacity === undefined && (router.scale ?? 1) === 1 && Math.abs(told - 1) < 1e-9 && (router.weight !== "prob" || (router.activation !== "sigmoid" && active(router, experts) === experts))
}
/** The decays of a unit's pools, in the order in which they stand side by side; of a token there is none. */
export const decays = (unit: Unit): ReadonlyArray<number> => unit.of === "token" || unit.pool === "evidence" ? [] : unit.pool === "mean" ? [1] : unit.pool === "decay" ? [unit.decay] : unit.decays
/** How wide what is scored is. */
export const width = (unit: Unit, hidden: number): number => hidden * Math.max(1, decays(unit).length)
/** The layers that decide for themselves, and so have the router's tensors, of so many. */
export const deciding = ({ depth }: Router, layers: number): ReadonlyArray<number> => depth?.decide === "once" ? [depth.layer] : Array.from({ length: layers }, (_, layer) => layer)
/** How a layer comes to its decision: it decides, takes over the one made before it, or is told. */
export const decides = ({ depth }: Router, layer: number): "itself" | "carried" | "told" => depth?.decide !== "once" || layer === depth.layer ? "itself" : layer > depth.layer ? "carried" : "told"
/** How many experts each token visits in a layer. */
export const activeIn = (router: Router, experts: number, layer: number): number =>
  decides(router, layer) === "told" && router.depth?.decide === "once" ? router.depth.before?.experts.length ?? 0 : active(router, experts)
/** What a router's tensors depend on; a table by token needs `vocabulary`, one by position `contextLength`. A model's description has all but `experts`. */
export interface Sizes { readonly experts: number; readonly hidden: number; readonly vocabulary?: number; readonly contextLength?: number }
/** The router's tensors in a layer that decides, name → shape. */
export const tensors = (router: Router, sizes: Sizes): Readonly<Record<string, ReadonlyArray<number>>> => {
  const { score, unit } = router, { experts } = sizes, read = width(unit, sizes.hidden), each = [experts, read]
  const pool = { ...router.correction === true ? { correction: [experts] } : {}, ...unit.of === "prefix" && unit.normalize === "whitened" ? { "pool.mean": [read], "pool.deviation": [read] } : {} }
  switch (score.by) {
    case "linear": return { ...pool, weight: each, ...score.bias === true ? { bias: [experts] } : {} }
    case "mlp": return { ...pool, "inner.weight": [score.inner, read], "inner.bias": [score.inner], weight: [experts, score.inner], bias: [experts] }
    case "distance": return { ...pool, ...score.metric === "whitened" ? { centroids: each, deviation: [read] } : { centroids: each } }
    case "magnitude": return { ...pool, directions: each }
    case "standardized": return { ...pool, gates: each }
    case "generated": return { ...pool, embeddings: [experts, score.embedding], "embeddings.mean": [score.embedding], "inner.gate": [score.inner, score.embedding], "inner.up": [score.inner, score.embedding], column: [read, score.inner] }
    case "ngram": return { ...pool, table: [experts, score.orders * score.buckets] }
    case "lookup": {
      const keys = score.key === "token" ? sizes.vocabulary : sizes.contextLength
      if (keys === undefined) throw new Error(`Router.tensors: a table by ${score.key} needs the model's ${score.key === "token" ? "vocabulary" : "contextLength"}`)
      return { ...pool, table: [experts, keys] }
    }
    case "likelihood": return pool
  }
}
/** Router tensors whose first axis is the experts': those that a mixture of other experts has other rows of. */
export const perExpert = (name: string): boolean => ["weight", "bias", "centroids", "correction", "directions", "gates", "embeddings", "table"].includes(name)
/** The normal numbers that a router tensor is born with: a hidden layer keeps the scale of what it reads, the last one starts nearly even; a table is chance itself. */
export const newborn = (name: string, shape: ReadonlyArray<number>): { readonly mean: number; readonly deviation: number } =>
  /(^|\.)deviation$/.test(name) ? { mean: 1, deviation: 0 } : /(^|\.)(bias|mean|correction)$/.test(name) ? { mean: 0, deviation: 0 }
    : name === "table" || name === "embeddings" ? { mean: 0, deviation: 1 } : name.startsWith("inner.") ? { mean: 0, deviation: 1 / Math.sqrt(shape[1]!) } : { mean: 0, deviation: 0.02 }

const refusal = (select: Select, experts: number, at: string): RouterError | undefined => {
  if ("union" in select) return select.union.map((part, index) => refusal(part, experts, `${at}.union[${index}]`)).find((error) => error !== undefined)
  if ("fixed" in select) {
    const wrong = select.fixed.findIndex((id, index) => id >= experts || select.fixed.indexOf(id) !== index)
    return wrong < 0 ? undefined : new RouterError({ at: `${at}.fixed[${wrong}]`, problem: select.fixed[wrong]! >= experts ? `there is no expert ${select.fixed[wrong]} among ${experts}` : `expert ${select.fixed[wrong]} stands twice`, remedy: `Give different experts from 0 to ${experts - 1}.` })
  }
  return undefined
}
const groupsRefusal = (groups: Groups | undefined, wanted: number, experts: number, at: string): RouterError | undefined => {
  if (groups === undefined) return undefined
  const { by, count, keep } = groups, each = experts / count
  const refuse = (problem: string, remedy: string) => new RouterError({ at, problem, remedy })
  return !Number.isInteger(each) ? refuse(`${experts} experts in ${count} groups`, "Let the number of groups divide that of experts.") : keep > count ? refuse(`${keep} groups kept of ${count}`, `Keep at most ${count}.`)
    : by === "top2sum" && each < 2 ? refuse(`the best two of groups of ${each}`, "Compare groups by max, or make them larger.")
      : wanted > keep * each ? refuse(`${wanted} active experts, ${keep} groups hold ${keep * each}`, "Keep more groups, or fewer active experts.") : undefined
}
const depthRefusal = (depth: Depth | undefined, experts: number, at: string): RouterError | undefined => {
  if (depth?.decide !== "once") return undefined
  const { before, layer } = depth
  if (before === undefined) return layer === 0 ? undefined : new RouterError({ at, problem: `layer ${layer} decides, and the ${layer} before it are not told which experts to visit`, remedy: "Give before: { experts, weights }." })
  return refusal({ fixed: before.experts }, experts, `${at}.before`) ?? (before.weights.length === before.experts.length ? undefined
    : new RouterError({ at: `${at}.before.weights`, problem: `${before.weights.length} weights for ${before.experts.length} experts`, remedy: "Give each expert its weight." }))
}
/** The bits that an n-gram's bucket is made of. */
const hashed = 2 ** 24
/** Scores that read ids or run experts have no states to pool, and what is added up already is not added up again. */
const unitRefusal = ({ score, unit }: Router, at: string): RouterError | undefined => {
  const refuse = (problem: string, remedy: string) => new RouterError({ at, problem, remedy })
  if (unit.of === "token") return undefined
  if (score.by === "lookup") return refuse("a table is looked up by one token, not by the text so far", 'Give unit: { of: "token" }.')
  if (score.by === "likelihood") return refuse(unit.pool === "evidence" ? "likelihoods add up over the text already" : "likelihoods are of the text so far already, and pool no states", 'Give unit: { of: "token" }, as Router.likelihood does.')
  if (score.by !== "ngram") return undefined
  if (unit.pool !== "evidence") return refuse("n-grams are of ids, of which there is no mean", 'Give unit: { of: "prefix", pool: "evidence", … }, whose scores add up, or { of: "token" }.')
  return unit.normalize === undefined ? undefined : refuse("n-grams are of ids, which are not normalised", "Leave normalize out.")
}
const scoreRefusal = ({ score }: Router, at: string): RouterError | undefined => {
  if (score.by !== "ngram") return undefined
  const refuse = (problem: string, remedy: string) => new RouterError({ at, problem, remedy })
  return score.buckets > hashed ? refuse(`${score.buckets} buckets, of which a hash reaches ${hashed}`, `Give at most ${hashed}.`)
    : score.orders * score.buckets >= 0xffffffff ? refuse(`${score.orders} orders of ${score.buckets} buckets have no numbers of 32 bits`, "Give fewer orders, or fewer buckets.") : undefined
}
/** The router, if it can choose among this many experts. Fails: `RouterError` when it wants more experts than there are, or one that is not there. */
export const check = <R extends Router>(router: R, experts: number, at = "router"): Effect.Effect<R, RouterError> => {
  const wanted = active(router, experts)
  const error = refusal(router.select, experts, `${at}.select`) ?? unitRefusal(router, `${at}.unit`) ?? scoreRefusal(router, `${at}.score`) ?? depthRefusal(router.depth, experts, `${at}.depth`) ?? groupsRefusal(router.groups, kept(router.select, experts).top, experts, `${at}.groups`) ?? (wanted <= experts ? undefined
    : new RouterError({ at: `${at}.select`, problem: `${wanted} active experts of ${experts}`, remedy: `Choose at most ${experts} active experts.` }))
  return error === undefined ? Effect.succeed(router) : Effect.fail(error)
}
/** The router, if the layer that it lets decide is one of so many. Fails: `RouterError`. */
export const within = <R extends Router>(router: R, layers: number, at = "router"): Effect.Effect<R, RouterError> => router.depth?.decide !== "once" || router.depth.layer < layers ? Effect.succeed(router)
  : Effect.fail(new RouterError({ at: `${at}.depth.layer`, problem: `layer ${router.depth.layer} decides, the model has ${layers} layers`, remedy: `Let one from 0 to ${layers - 1} decide.` }))
/** A router read from JSON. Fails: `RouterError` that says where in the description and what was expected. */
export const decode = (json: unknown, at = "router"): Effect.Effect<Router, RouterError> =>
  Schema.decodeUnknownEffect(Router, { errors: "all", onExcessProperty: "error" })(json).pipe(
    Effect.mapError((error) => new RouterError({ at, problem: error.message, remedy: "See docs/adding-a-router.md for what a router may be." })))
