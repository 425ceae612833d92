/**
 * A checkpoint's model on a device, dense or mixture: what fine-tuning, traces, proofs and evaluation run. The decoder is gpu's; this
 * module gives it its feed-forwards (dense, dense with an adapter, mixture) and keeps the names of all tensors straight.
 */
import { Model, Random, Weights } from "@switchyard/core"
import { Decoder, Device, type KeyValueCache, Op, type Storage, Tensor } from "@switchyard/gpu"
import { Effect, Option, Schema } from "effect"
import type { Decision } from "./Decision.ts"
import * as Expert from "./Expert.ts"
import { likelihoods, type Part } from "./likelihoods.ts"
import * as Mixture from "./Mixture.ts"
import { addUp, pool } from "./pool.ts"
import { belonging, route, type RouteOptions, told } from "./route.ts"
import * as Router from "./Router.ts"
import { score } from "./score.ts"

export interface LanguageModel {
  readonly model: Model.Model
  /** Sequences, and tokens of each, in one replica's share of the batch; rows = batch · tokens. */
  readonly batch: number
  readonly tokens: number
  /** The router of every layer; undefined in a dense model. */
  readonly router: Router.Router | undefined
  /** Low-rank terms on the matrices of a dense model; undefined where there are none. */
  readonly adapter: Adapter | undefined
  readonly decoder: Decoder.Decoder
  /** Every tensor on the device that a checkpoint holds. */
  readonly parameters: ReadonlyMap<string, Tensor.Tensor>
  /** The same names: which canonical tensors each holds. */
  readonly entries: ReadonlyMap<string, Expert.Entry>
}
/** `matrices`: the rank and scale of each matrix by canonical name; left out, all feed-forwards with `rank` and `scale`. An adapter's header is one. */
export interface Adapter { readonly rank: number; readonly scale: number; readonly matrices?: Readonly<Record<string, { readonly rank: number; readonly scale: number }>> }

/** Tensors and model do not fit: which tensor, why, what to do. */
export class LanguageModelError extends Schema.TaggedError<LanguageModelError>()("LanguageModelError", { tensor: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `${this.tensor}: ${this.problem}. ${this.remedy}` }
}

/**
 * The model's tensors, described; nothing is allocated.
 *
 * Options: `batch` sequences of `tokens` for one replica; `storage` of the matrices on the device, f32 when left out (norms, biases and routers are f32
 * always, and so is what `trained` selects); `largestBuffer` in bytes, above which weights and logits lie in parts (the device's, where one is at hand); `router` instead of the model's own (`Router.fixed([2])` in proofs); `adapter` adds
 * low-rank terms to a dense model; `split` as `Decoder.make` (for generation; `read` gives no split tensors back). Fails: `RouterError` when the router is none, wants more experts than there are, or needs tensors that the
 * model has not.
 */
export const make = (model: Model.Model, options: { readonly batch: number; readonly tokens: number; readonly router?: Router.Router; readonly adapter?: Adapter; readonly storage?: Storage.Storage | undefined; readonly trained?: Selector | ReadonlyArray<Selector>; readonly split?: number; readonly largestBuffer?: number }): Effect.Effect<LanguageModel, Router.RouterError> => Effect.gen(function*() {
  const { adapter, batch, split = 1, storage, tokens, trained = [] } = options
  const form = model.feedForward
  if (form.kind === "mixture" && adapter !== undefined) throw new Error("LanguageModel.make: an adapter stands on a dense model, this one is a mixture")
  if (form.kind === "dense" && options.router !== undefined) throw new Error("LanguageModel.make: a dense model has no router")
  const router = form.kind === "dense" ? undefined : yield* routerOf(model, form, options.router)
  const storageOf = (name: string) => isMatrix(name) && !isSelected(name, trained) ? storage : undefined
  const largestBuffer = options.largestBuffer ?? Option.getOrUndefined(Option.map(yield* Effect.serviceOption(Device.Device), (device) => device.largestBuffer))
  const decoder = Decoder.make(model, { sizes: split > 1 ? [] : [{ batch, tokens }], positions: tokens, storage: storageOf, split, largestBuffer })
  const entries = new Map([...Expert.entries(model), ...adapter === undefined ? [] : Expert.adapterEntries(model, adapter)].map((entry) => [entry.name, entry]))
  const parameters = new Map([...entries.values()].map(({ name, shape }) => [name, decoder.parameters.get(name) ?? Decoder.splitRows(name, shape, /\.[ab]$|\.router\.|Bias$/.test(name) ? 1 : split, storageOf(name), largestBuffer)]))
  return { model, batch, tokens, router, adapter, decoder, parameters, entries }
})

/**
 * As `make`, for sequences of people who must not touch each other: a router in whose decisions others have a say does not type-check, and one read
 * from JSON, the model's own too, is refused. Fails: `RouterError`, as in `make`, and where a capacity drops visits.
 */
export const makeIsolated = <const R extends Router.Router = Router.Unlimited>(model: Model.Model, options: { readonly batch: number; readonly tokens: number; readonly router?: R & Router.Isolated<R> }): Effect.Effect<LanguageModel, Router.RouterError> =>
  Effect.tap(make(model, options), ({ router }) => router === undefined ? Effect.void : Router.isolated(router, options.router === undefined ? "the model's router" : "the router given"))

/** The same tensors under another router: what proofs and comparisons of routers run, without uploading anything again. Fails: `RouterError` as in `make`. */
export const withRouter = (self: LanguageModel, router: Router.Router): Effect.Effect<LanguageModel, Router.RouterError> => {
  const form = self.model.feedForward
  if (form.kind === "dense") throw new Error("LanguageModel.withRouter: a dense model has no router")
  return Effect.map(routerOf(self.model, form, router), (router) => ({ ...self, router }))
}

const routerOf = (model: Model.Model, form: Model.Mixture, given: Router.Router | undefined): Effect.Effect<Router.Router, Router.RouterError> => Effect.gen(function*() {
  const at = given === undefined ? "the model's router" : "the router given"
  const router = yield* Router.check(given ?? (yield* Router.decode(form.router, at)), form.experts, at)
  yield* Router.within(router, model.layers, at)
  if (router.depth?.decide === "once" && router.depth.layer < (form.dense?.layers ?? 0)) return yield* new Router.RouterError({ at: `${at}.depth.layer`, problem: `layer ${router.depth.layer} decides, which has no experts`, remedy: `Let one from ${form.dense!.layers} to ${model.layers - 1} decide.` })
  if (!Router.scored(router, form.experts)) return router
  const needed = Router.tensors(router, { ...model, experts: form.experts })
  const lacking = Router.deciding(router, model.layers).find((layer) => form.routerLayers?.includes(layer) === false)
  if (lacking !== undefined && Object.keys(needed).length > 0) {
    return yield* new Router.RouterError({ at: `${at}.depth`, problem: `layer ${lacking} decides, only ${form.routerLayers!.join(", ")} has router tensors`, remedy: "Let that layer decide, or upcycle with the router wanted." })
  }
  for (const [name, shape] of Object.entries(needed)) {
    const found = form.routerTensors[name]
    if (found === undefined || found.join() !== shape.join()) {
      return yield* new Router.RouterError({
        at: `${at}.score`, problem: `it needs ${name} [${shape.join(", ")}], the model has ${found === undefined ? "none" : `[${found.join(", ")}]`}`,
        remedy: `Give the model's routerTensors as Router.tensors says, or a router that reads ${Object.keys(form.routerTensors).join(", ") || "no tensors"}.`
      })
    }
  }
  return router
})

/** Uploads every tensor, stacking experts. Options: `seed` of an adapter's first values where the weights have none. Fails: `LanguageModelError` names every missing or unexpected tensor. */
export const load = (arena: Device.Arena, self: LanguageModel, weights: Weights.Weights, options: { readonly seed?: number } = {}): Effect.Effect<void, LanguageModelError | Weights.WeightsError | Device.Failure> => Effect.gen(function*() {
  const adapter = new Set(self.adapter === undefined ? [] : Expert.adapterEntries(self.model, self.adapter).map(({ name }) => name))
  yield* consumed(self, weights, adapter)
  yield* Decoder.load(arena, self.decoder, Weights.select(weights, (name) => self.decoder.parameters.has(name)))
  for (const { name, parts, shape } of self.entries.values()) {
    if (self.decoder.parameters.has(name)) continue
    const data = new Float32Array(Tensor.size(shape))
    if (adapter.has(name) && !weights.infos.has(name)) {
      // a: normal with deviation 1/√in; b stays zero: an adapter begins as no change
      if (name.endsWith(".a")) Random.fillNormal(Random.make(options.seed ?? 0, name), data, { deviation: 1 / Math.sqrt(shape[1]!) })
    } else {
      const each = data.length / parts.length
      for (const [at, part] of parts.entries()) data.set(yield* weights.read(part), at * each)
    }
    yield* arena.upload(self.parameters.get(name)!, isStack(name) ? byReplica(data, shape, self.parameters.get(name)!) : data)
  }
})

/** A stack [experts, out, in] in the order of its upload: where each replica has its share of every expert's rows, replica by replica. */
const byReplica = (data: Float32Array, [experts = 1, out = 1, inner = 1]: ReadonlyArray<number>, tensor: Tensor.Tensor): Float32Array => {
  if (!tensor.slot.sharded) return data
  const length = tensor.shape[1]! * inner, replicas = out / tensor.shape[1]!, sorted = new Float32Array(data.length)
  for (let replica = 0; replica < replicas; replica++) for (let expert = 0; expert < experts; expert++) sorted.set(data.subarray((expert * replicas + replica) * length, (expert * replicas + replica + 1) * length), (replica * experts + expert) * length)
  return sorted
}

const consumed = (self: LanguageModel, weights: Weights.Weights, optional: ReadonlySet<string>): Effect.Effect<void, LanguageModelError> => {
  const expected = new Map([...self.entries.values()].flatMap(({ parts, shape }) => parts.map((part) => [part, isStack(part) ? shape.slice(1) : shape] as const)))
  const missing = [...expected.keys()].filter((name) => !weights.infos.has(name) && !optional.has(name))
  const unexpected = [...weights.infos.keys()].filter((name) => !expected.has(name))
  const refuse = (tensor: string, problem: string, remedy: string) => Effect.fail(new LanguageModelError({ tensor, problem, remedy }))
  if (missing.length > 0) return refuse(missing.join(", "), "the model needs it, the weights have it not", "Give the checkpoint's own weights, under canonical names.")
  if (unexpected.length > 0) return refuse(unexpected.join(", "), "the weights have it, the model has no place for it", "Leave it out with Weights.select, or correct the model's description.")
  for (const [name, shape] of expected) {
    const found = weights.infos.get(name)?.shape
    if (found !== undefined && found.join() !== shape.join()) return refuse(name, `its shape is [${found.join(", ")}], the model's description says [${shape.join(", ")}]`, "Correct the description or the file.")
  }
  return Effect.void
}
const isStack = (name: string): boolean => name.includes(".experts.")

/** What a forward pass records: logits [rows, vocabulary], and one decision per layer of a mixture. */
export interface Forward { readonly logits: Tensor.Tensor; readonly decisions: ReadonlyArray<Decision> }

/**
 * Options of a pass: `tap` sees the decoder's named points; with a `chunk` the rows go on from a cache, and the router from `pools`, the state [2, batch, columns] of a
 * layer's pool, and `held`, the last ids of each text, u32 [batch, count].
 */
export interface Pass {
  readonly tap?: Decoder.Tap | undefined
  readonly chunk?: KeyValueCache.Chunk | undefined
  readonly pools?: ((layer: number, decay: number, columns: number) => Tensor.Tensor) | undefined
  readonly held?: ((layer: number, count: number) => Tensor.Tensor) | undefined
  /** u32 [rows], the expert that each row belongs to: it alone runs, where the router decides as far open as the sigmoid of its gate, a row of the router's `gates`, says. */
  readonly gated?: Tensor.Tensor | undefined
}

/** Records a pass up to the final norm: states [rows, hidden] in place of logits. Shapes: ids u32 [rows]. */
export const states = (self: LanguageModel, ids: Tensor.Tensor, options: Pass = {}): { readonly states: Tensor.Tensor; readonly decisions: ReadonlyArray<Decision> } => {
  const { decoder, model, parameters, router } = self, { chunk, held, pools } = options, form = model.feedForward
  const size = chunk === undefined ? { batch: self.batch, tokens: self.tokens } : { batch: chunk.cache.batch, tokens: chunk.tokens, chunk }
  if (form.kind === "dense" || router === undefined) return { states: Decoder.states(decoder, ids, { ...size, adapters: adaptersOf(self), tap: options.tap }), decisions: [] }
  const beside = (x: Tensor.Tensor, layer: number, output: Tensor.Tensor): Tensor.Tensor => {
    const shared = Expert.sharedIn(parameters, form, layer, model.activation)
    return shared === undefined ? output : Op.add(output, Mixture.shared(x, shared))
  }
  const run = (feedForward: (x: Tensor.Tensor, layer: number) => Tensor.Tensor, tap?: Decoder.Tap, part?: Part) => Decoder.states(decoder, part?.ids ?? ids, {
    ...size, ...part === undefined ? {} : { tokens: part.tokens, positions: part.positions }, tap,
    feedForward: (x, layer) => layer < (form.dense?.layers ?? 0) ? Mixture.shared(x, Expert.denseIn(parameters, layer, model.activation)) : beside(x, layer, feedForward(x, layer))
  })
  const byLikelihood = router.score.by === "likelihood" && Router.scored(router, form.experts)
  if (chunk !== undefined && byLikelihood) throw new Error("LanguageModel.states: a router by likelihood keeps no state to go on from: Generation.carried refuses it")
  const scores = byLikelihood && router.score.by === "likelihood"
    ? likelihoods(ids, { ...size, ...router.score, positions: Decoder.positionsOf(decoder, size), experts: form.experts, predict: (expert, part) => Decoder.head(decoder, run((x, layer) => Mixture.alone(x, Expert.inLayer(parameters, form, layer, model.activation), expert), undefined, part)) })
    : undefined
  const opening = (x: Tensor.Tensor, layer: number, labels: Tensor.Tensor): Tensor.Tensor | undefined => {
    const gates = routerTensors(self, layer)["gates"]
    if (Router.decides(router, layer) !== "itself") return undefined
    if (gates === undefined) throw new Error("LanguageModel.states: rows are gated by the router's tensor gates, which only a standardized score has")
    const features = Op.stopGradient(pool(x, router.unit, size, routerTensors(self, layer))) // [rows, width]
    return Op.map(Op.dotRows(features, Op.gatherRows(gates, labels)), "sigmoid") // [rows]
  }
  const decisions: Array<Decision> = [], positions = chunk?.positions ?? Decoder.positionsOf(decoder, size)
  const normed = run((x, layer) => {
    const experts = Expert.inLayer(parameters, form, layer, model.activation), tensors = routerTensors(self, layer)
    if (options.gated !== undefined) {
      const decision = belonging(x, options.gated, { layer, experts: form.experts })
      decisions.push(decision)
      return Mixture.mix(x, decision, experts, { opening: opening(x, layer, options.gated) })
    }
    const carried = chunk === undefined || pools === undefined ? undefined : { places: chunk.places, state: (decay: number, columns: number) => pools(layer, decay, columns), held: (count: number) => held?.(layer, count) ?? missing("held: the last ids of each text") }
    const decision = decide(x, router, decisions, { batch: size.batch, tokens: size.tokens, layer, experts: form.experts, tensors, ids, positions, carried, ...scores === undefined ? {} : { scores } })
    decisions.push(decision)
    return Mixture.mix(x, decision, experts)
  }, options.tap)
  return { states: normed, decisions }
}

const missing = (what: string): never => { throw new Error(`LanguageModel.states: the router goes on from a cache, and needs ${what}`) }

/** Logits of states. Shapes: x [rows, hidden] → [rows, vocabulary]. */
export const head = (self: LanguageModel, x: Tensor.Tensor): Tensor.Tensor => Decoder.head(self.decoder, x, self.router === undefined ? adaptersOf(self) : undefined)

/** Records a forward pass. Shapes: ids u32 [rows]. Options: `tap` sees the decoder's named points. */
export const forward = (self: LanguageModel, ids: Tensor.Tensor, options: Pick<Pass, "tap" | "gated"> = {}): Forward => {
  const { decisions, states: x } = states(self, ids, options)
  return { logits: head(self, x), decisions }
}
/** A layer's decision: its own, the one made before it, or the one it is told. */
const decide = (x: Tensor.Tensor, router: Router.Router, before: ReadonlyArray<Decision>, options: RouteOptions & { readonly layer: number }): Decision => {
  switch (Router.decides(router, options.layer)) {
    case "itself": return route(router, x, options)
    case "carried": return { ...before.at(-1)!, layer: options.layer, made: "carried" }
    case "told": {
      if (router.depth?.decide !== "once" || router.depth.before === undefined) throw new Error(`LanguageModel.forward: layer ${options.layer} is not told its experts`) // Router.check refuses it
      return told(x, router.depth.before, options)
    }
  }
}
/**
 * A decision's logits once more, from what the router read as if that were a constant: losses on them train the router and nothing before it. Logits that are
 * not of states are given as they are. Shapes: → [rows, experts].
 */
export const detached = (self: LanguageModel, { features, layer, logits }: Decision): Tensor.Tensor => {
  const { router } = self
  if (features === undefined || router === undefined || router.score.by === "likelihood" || router.score.by === "lookup" || router.score.by === "ngram") return logits
  const each = score(Op.stopGradient(features), router.score, routerTensors(self, layer)) // [rows, experts]
  return router.unit.of === "prefix" && router.unit.pool === "evidence" ? addUp(each, router.unit, self) : each
}
const adaptersOf = ({ adapter, parameters }: LanguageModel): Decoder.Adapters => (name) => {
  const a = parameters.get(`${name}.a`), b = parameters.get(`${name}.b`)
  return adapter === undefined || a === undefined || b === undefined ? undefined : { a, b, scale: adapter.matrices?.[name]?.scale ?? adapter.scale }
}
/** The router's tensors of a layer, by their names there. */
export const routerTensors = (self: LanguageModel, layer: number): Readonly<Record<string, Tensor.Tensor>> => {
  const at = `layers.${layer}.router.`
  return Object.fromEntries([...self.parameters].filter(([name]) => name.startsWith(at)).map(([name, tensor]) => [name.slice(at.length), tensor]))
}

/** Records the loss of every row: cross-entropy in nats, 0 where the target is left out (0xffffffff). Shapes: ids, targets u32 [rows]; losses [rows]. */
export const lossOf = (self: LanguageModel, ids: Tensor.Tensor, targets: Tensor.Tensor): Forward & { readonly losses: Tensor.Tensor } => {
  const result = forward(self, ids)
  return { ...result, losses: Op.crossEntropy(result.logits, targets) }
}

// ---- names
const selectors = {
  all: () => true,
  routers: (name: string) => name.includes(".router."),
  experts: (name: string) => name.includes(".experts."),
  feedForward: (name: string) => /\.feedForward\.(gate|up|down)$|\.shared\.(gate|up|down|router)$/.test(name),
  adapter: (name: string) => /\.(feedForward|attention)\.\w+\.[ab]$/.test(name),
  attention: (name: string) => /\.attention\.((query|key|value|output)(Bias)?|sinks|queryDown|queryUp|keyValueDown|keyValue)$/.test(name),
  norms: (name: string) => /(^|\.)norm$|\.(query|key|output|queryDown|keyValueDown)Norm$/.test(name),
  embeddings: (name: string) => name === "embedding" || name === "head"
}
/** Which tensors: `feedForward` are dense matrices (also the shared ones of low-rank experts, and shared experts with their gates), `adapter` a dense model's low-rank terms. */
export const Selector = Schema.Literals(["all", "routers", "experts", "feedForward", "adapter", "attention", "norms", "embeddings"])
export type Selector = typeof Selector.Type
/** What no gradient reaches or should move: corrections of a choice, fixed tables, moments and embeddings of text. */
const given = /\.router\.(correction|table|embeddings|embeddings\.mean|pool\.(mean|deviation))$/
/** The names of the parameters that any of the selectors takes, in the model's order; what is counted or fitted, never trained, is not among them. */
export const select = (self: LanguageModel, selector: Selector | ReadonlyArray<Selector>): ReadonlyArray<string> => {
  return [...self.parameters.keys()].filter((name) => !given.test(name) && isSelected(name, selector))
}
const isSelected = (name: string, selector: Selector | ReadonlyArray<Selector>): boolean => (typeof selector === "string" ? [selector] : selector).some((each) => selectors[each](name))
/** What a storage is for: the matrices of the blocks, the embedding and the head, but no adapter that begins as no change. */
const isMatrix = (name: string): boolean => selectors.embeddings(name) || (selectors.experts(name) && !name.endsWith("Bias")) || /\.attention\.(query|key|value|output|queryDown|queryUp|keyValueDown|keyValue)$|\.(feedForward|shared)\.(gate|up|down)$/.test(name)
/** The parameters by name, stacked where experts are. */
export const parameters = (self: LanguageModel): ReadonlyMap<string, Tensor.Tensor> => self.parameters

/** Reads parameters back as weights in memory, under canonical names: stacks are split into their experts. */
export const read = (arena: Device.Arena, self: LanguageModel, names: ReadonlyArray<string>): Effect.Effect<Weights.Weights, Device.Failure> => Effect.gen(function*() {
  const found = new Map<string, Weights.MemoryTensor>()
  for (const name of names) {
    const entry = self.entries.get(name)
    if (self.decoder.split > 1) throw new Error("LanguageModel.read: the model is split over replicas")
    if (entry === undefined) throw new Error(`LanguageModel.read: there is no parameter ${name}`)
    const data = Float32Array.from(yield* arena.read(self.parameters.get(name)!)), each = data.length / entry.parts.length
    const shape = isStack(name) ? entry.shape.slice(1) : entry.shape
    entry.parts.forEach((part, at) => found.set(part, { shape, data: data.slice(at * each, (at + 1) * each) }))
  }
  return Weights.fromMemory(found)
})
