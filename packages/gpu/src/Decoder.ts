/**
 * A decoder of the Llama family: embedding, pre-norm blocks (attention with rotary positions, then a feed-forward), final norm, head.
 * What the model's description adds (biases, further norms, windows, layers that do not rotate, caps, another inner function) is executed where it is said.
 *
 * The feed-forward is an argument: dense unless the caller passes another, so a mixture is this decoder with routing's layer in it.
 * Parameters are kept tensors under canonical names; low-rank adapters may be hung on any matrix. Papers: Touvron et al. 2023; Hu et al. 2021.
 */
import { Model, Weights } from "@switchyard/core"
import { Effect } from "effect"
import type { Arena, Failure } from "./Device.ts"
import type { Chunk } from "./KeyValueCache.ts"
import { latentHeads } from "./latentHeads.ts"
import { adaptedLinear, type Adapter } from "./ops/adaptedLinear.ts"
import { add } from "./ops/add.ts"
import { addRow } from "./ops/addRow.ts"
import { affine } from "./ops/affine.ts"
import { attention } from "./ops/attention.ts"
import { cachedAttention } from "./ops/cachedAttention.ts"
import { clampedSwiglu } from "./ops/clampedSwiglu.ts"
import { embedding } from "./ops/embedding.ts"
import { linear } from "./ops/linear.ts"
import { map } from "./ops/map.ts"
import { multiply } from "./ops/multiply.ts"
import { rmsNorm } from "./ops/rmsNorm.ts"
import { rope, type RopeTables } from "./ops/rope.ts"
import { sliceRows } from "./ops/sliceRows.ts"
import { divideHeads, type OwnHeads } from "./ops/splitAttention.ts"
import { swiglu } from "./ops/swiglu.ts"
import { view } from "./ops/view.ts"
import { rotaryFrequencies, rotaryMagnitude, rotatedSize, yarnMagnitude } from "./rotaryFrequencies.ts"
import { joinReplicas } from "./Recording.ts"
import { blockLength, type Storage } from "./Storage.ts"
import { expectShape, joined, kept, type Tensor } from "./Tensor.ts"

/** A batch as one replica sees it. Rows = batch · tokens. */
export interface Size { readonly batch: number; readonly tokens: number }
export interface Decoder {
  readonly model: Model.Model
  /** Over how many replicas matrices are split by rows; 1: each replica holds all of them. */
  readonly split: number
  /** Canonical name → kept tensor; of a split matrix one replica's share. */
  readonly parameters: ReadonlyMap<string, Tensor>
  /** What one buffer may hold, in bytes. */
  readonly largestBuffer: number
  readonly constants: {
    readonly tables: RopeTables
    /** Those of the layers with a window, where they have a theta of their own. */
    readonly localTables?: RopeTables | undefined
    /** "batch×tokens" → u32 [rows], the position of each row: one for each size that was announced. */
    readonly positions: Map<string, { readonly size: Size; readonly tensor: Tensor }>
    /** The embedding as a head whose rows are split over replicas, where the two are one. */
    readonly splitHead?: Tensor | undefined
    /** Which heads each replica computes of a prompt, where matrices are split. */
    readonly ownHeads?: OwnHeads | undefined
  }
}

/** Where `tap` is called: with `layer` 0 for "embedding" and the last layer for "norm". Inner points are what the output matrix multiplies. */
export type Point =
  | "embedding" | "attention.input" | "attention.inner" | "attention.output"
  | "feedForward.input" | "feedForward.inner" | "feedForward.output" | "block.output" | "norm"
export type Tap = (point: Point, layer: number, tensor: Tensor) => void
/** The low-rank change of the weight of this canonical name, if it has one. */
export type Adapters = (name: string) => Adapter | undefined

export interface ForwardOptions extends Size {
  /** What stands in place of the dense feed-forward: x [rows, hidden], normalised already → [rows, hidden]. */
  readonly feedForward?: ((x: Tensor, layer: number) => Tensor) | undefined
  readonly adapters?: Adapters | undefined
  readonly tap?: Tap | undefined
  /** How many tokens back attention sees, itself included; as the model says when left out. */
  readonly window?: number | undefined
  /** u32 [rows]: where each row stands, in place of an announced size. */
  readonly positions?: Tensor | undefined
  /** The tokens go on from a cache of keys and values (and are added to it) instead of standing alone; the size need not be announced. */
  readonly chunk?: Chunk | undefined
}

const isDecoders = (model: Model.Model, name: string): boolean =>
  model.feedForward.kind === "dense" || /\.feedForward\.(norm|outputNorm)$/.test(name) || !/\.(feedForward|experts|router|shared)\./.test(name)
const sizeName = ({ batch, tokens }: Size): string => `${batch}×${tokens}`

/**
 * The decoder's tensors, without numbers. Of a mixture: everything but its experts, shared feed-forward and router, which are routing's.
 *
 * Options: `sizes` that will be recorded (others are announced by `prepare`); `positions`, how many the rotary tables hold (contextLength); `storage`, how
 * a weight lies on the device when not as f32; `split` matrices over so many replicas by their rows, so that all of them work on the same tokens,
 * each on some outputs (Shoeybi et al., "Megatron-LM", 2019): for generation, without gradients; `largestBuffer` of the device in bytes: larger weights that are
 * not split, and logits, lie in parts.
 */
export const make = (model: Model.Model, options: { readonly sizes?: ReadonlyArray<Size>; readonly positions?: number; readonly storage?: (name: string) => Storage | undefined; readonly split?: number; readonly largestBuffer?: number | undefined } = {}): Decoder => {
  const { positions = model.contextLength, sizes = [], split = 1, storage, largestBuffer } = options
  const parameters = new Map(Model.tensors(model).filter(({ name }) => isDecoders(model, name)).map(({ name, shape }) => [name, splitRows(name, shape, name === "embedding" ? 1 : split, storage?.(name), largestBuffer)]))
  const table = (at: string): RopeTables => {
    const [cosines, sines] = (["cosines", "sines"] as const).map((label) => kept([positions, rotatedSize(model) / 2], { label: `${at}.${label}` })) as [Tensor, Tensor]
    return { cosines, sines }
  }
  const localTables = model.attention?.localTheta === undefined ? undefined : table("rope.local")
  const head = split > 1 && model.tiedEmbeddings ? splitRows("head", [model.vocabulary, model.hidden], split, storage?.("embedding")) : undefined, splitHead = head?.slot.sharded === true ? head : undefined
  const own = (label: string) => kept([Math.ceil(model.heads / split)], { dtype: "u32", sharded: true, label })
  const ownHeads = split > 1 && model.attention?.sinks !== true ? { heads: own("heads.own"), groups: own("heads.ownGroups") } : undefined
  const decoder: Decoder = { model, split, parameters, largestBuffer: largestBuffer ?? Infinity, constants: { splitHead, ownHeads, tables: table("rope"), localTables, positions: new Map() } }
  for (const size of sizes) announce(decoder, size)
  return decoder
}

const announce = (decoder: Decoder, size: Size): Tensor => {
  const { positions, tables } = decoder.constants, available = tables.cosines.shape[0]!
  if (size.tokens > available) throw new Error(`Decoder: ${size.tokens} tokens, but the rotary tables hold ${available} positions`)
  const known = positions.get(sizeName(size))
  if (known !== undefined) return known.tensor
  const tensor = kept([size.batch * size.tokens], { dtype: "u32", label: `positions.${sizeName(size)}` })
  positions.set(sizeName(size), { size, tensor })
  return tensor
}

/** Which position each row of an announced size has: u32 [rows]. Fails: dies on a size that was not announced. */
export const positionsOf = (decoder: Decoder, size: Size): Tensor => {
  const found = decoder.constants.positions.get(sizeName(size))
  if (found === undefined) throw new Error(`Decoder.positionsOf: size ${sizeName(size)} (batch × tokens) was not announced`)
  return found.tensor
}

/** Announces a size and uploads its positions: once before programs of that size are submitted. */
export const prepare = (arena: Arena, decoder: Decoder, size: Size): Effect.Effect<void, Failure> =>
  Effect.suspend(() => arena.upload(announce(decoder, size), Uint32Array.from({ length: size.batch * size.tokens }, (_, row) => row % size.tokens)))

/** Uploads weights, rotary tables and the positions of the announced sizes. Fails: a tensor that is missing or has another shape. */
export const load = Effect.fn("Decoder.load")(function*(arena: Arena, decoder: Decoder, weights: Weights.Weights) {
  for (const [name, tensor] of decoder.parameters) {
    const info = weights.infos.get(name)
    const expected = wholeShape(tensor, decoder.split)
    if (info !== undefined && info.shape.join() !== expected.join()) {
      return yield* new Weights.WeightsError({ tensor: name, problem: `its shape is [${info.shape.join(", ")}], the model says [${expected.join(", ")}]`, remedy: "load weights of the model described, or correct the description" })
    }
    const data = yield* weights.read(name)
    yield* arena.upload(tensor, data)
    if (name === "embedding" && decoder.constants.splitHead !== undefined) yield* arena.upload(decoder.constants.splitHead, data)
  }
  const { localTables, ownHeads, positions, tables } = decoder.constants
  if (ownHeads !== undefined) {
    const { groups, heads } = divideHeads({ ...decoder.model, replicas: decoder.split })
    yield* arena.upload(ownHeads.heads, heads)
    yield* arena.upload(ownHeads.groups, groups)
  }
  for (const [of, local] of [[tables, false], [localTables, true]] as const) {
    if (of === undefined) continue
    const { cosines, sines } = of, frequencies = rotaryFrequencies(decoder.model, { positions: cosines.shape[0]!, local }), half = frequencies.length, magnitude = local ? 1 : rotaryMagnitude(decoder.model)
    const angles = Float64Array.from({ length: cosines.slot.length }, (_, i) => Math.floor(i / half) * frequencies[i % half]!) // [positions, rotated / 2]
    yield* arena.upload(cosines, Float32Array.from(angles, (angle) => magnitude * Math.cos(angle)))
    yield* arena.upload(sines, Float32Array.from(angles, (angle) => magnitude * Math.sin(angle)))
  }
  for (const { size } of positions.values()) yield* prepare(arena, decoder, size)
})

/** The decoder's parameters as they are on the device now. */
export const weights = Effect.fn("Decoder.weights")(function*(arena: Arena, decoder: Decoder) {
  const tensors = new Map<string, Weights.MemoryTensor>()
  for (const [name, tensor] of decoder.parameters) tensors.set(name, { shape: wholeShape(tensor, decoder.split), data: Float32Array.from(yield* arena.read(tensor)) })
  return Weights.fromMemory(tensors)
})

/**
 * A kept tensor; a matrix [out, in], or a stack of them, whose `out` can be divided by `split` has each replica's share of it. A stored one only where shares are whole blocks, so that its numbers
 * are those of the matrix stored in one piece. `largest`, in bytes: above it what is not split lies in parts.
 */
export const splitRows = (name: string, shape: ReadonlyArray<number>, split: number, storage?: Storage, largest?: number): Tensor => {
  const axis = shape.length - 2, out = shape[axis] ?? 1, dtype = storage ?? "f32", isWhole = storage === undefined || out / split * shape.at(-1)! % blockLength === 0
  return split === 1 || shape.length < 2 || out % split !== 0 || !isWhole ? kept(shape, { label: name, dtype, largest }) : kept(shape.with(axis, out / split), { label: name, dtype, sharded: true })
}
const wholeShape = ({ shape, slot }: Tensor, split: number): ReadonlyArray<number> => slot.sharded ? shape.with(shape.length - 2, split * shape.at(-2)!) : shape

/** A parameter by canonical name. */
export const parameter = (decoder: Decoder, name: string): Tensor => {
  const tensor = decoder.parameters.get(name)
  if (tensor === undefined) throw new Error(`Decoder: no parameter ${name} in this ${decoder.model.feedForward.kind} decoder`)
  return tensor
}

/** x through the named matrix, with its adapter where there is one: [rows, in] → [rows, out]. */
export const project = (decoder: Decoder, x: Tensor, name: string, adapters?: Adapters): Tensor => {
  const adapter = adapters?.(name), weight = (name === "embedding" ? decoder.constants.splitHead : undefined) ?? parameter(decoder, name)
  if (adapter !== undefined && weight.slot.sharded) throw new Error(`Decoder: ${name} is split over replicas and cannot carry an adapter`)
  return adapter === undefined ? linear(x, weight) : adaptedLinear(x, weight, adapter)
}

/** x normalised with the named gain. Shapes: x [..., columns] → the same. */
const normed = (decoder: Decoder, x: Tensor, name: string): Tensor => {
  const gain = parameter(decoder, name)
  return rmsNorm(x, decoder.model.shiftedGains === true ? affine(gain, { shift: 1 }) : gain, decoder.model.normEpsilon)
}

/** What scores are multiplied by; undefined for 1 / √headSize. */
const scoreScale = ({ attention: { latent, scale } = {}, headSize, ropeScaling }: Model.Model): number | undefined =>
  latent === undefined || ropeScaling?.kind !== "yarn" || ropeScaling.weightAll === undefined ? scale : (scale ?? 1 / Math.sqrt(headSize)) * yarnMagnitude(ropeScaling.factor, ropeScaling.weightAll) ** 2

/** How many tokens back a layer sees; undefined where it sees everything. */
const windowOf = ({ attention: { global = [], window } = {} }: Model.Model, layer: number): number | undefined => global.includes(layer) ? undefined : window

/** Query, key or value of a layer, with its bias, norm and rotation where the model has them: x [rows, hidden] → [rows, heads · headSize]. */
const projected = (decoder: Decoder, x: Tensor, layer: number, name: "query" | "key" | "value", positions: Tensor, adapters: Adapters | undefined): Tensor => {
  const { attention: { bias = false, noRope = [], norms } = {}, headSize, heads, keyValueHeads } = decoder.model, { localTables, tables } = decoder.constants
  const at = `layers.${layer}.attention.${name}`, plain = project(decoder, x, at, adapters), count = name === "query" ? heads : keyValueHeads
  const biased = bias ? addRow(plain, parameter(decoder, `${at}Bias`)) : plain
  if (name === "value") return biased
  const even = norms === undefined ? biased : norms === "width" ? normed(decoder, biased, `${at}Norm`)
    : view(normed(decoder, view(biased, [x.shape[0]! * count, headSize]), `${at}Norm`), biased.shape) // each head by itself
  const turning = localTables !== undefined && windowOf(decoder.model, layer) !== undefined ? localTables : tables
  return noRope.includes(layer) ? even : rope(even, positions, turning, { heads: count, headSize, rotated: rotatedSize(decoder.model) })
}

/** A feed-forward's inner function of its two products: silu(gate) · up, or as the model says. Shapes: gate, up [rows, inner] → the same. */
export const activate = (gate: Tensor, up: Tensor, activation: Model.Activation | undefined): Tensor =>
  activation === undefined ? swiglu(gate, up) : activation.kind === "geluTanh" ? multiply(map(gate, "gelu"), up) : clampedSwiglu(gate, up, activation)

/** `activate` of what `through` gives for gate and for up. Where both are split over replicas it runs on their shares, which `through` then must not join, and its result is joined: half the numbers to exchange. */
export const activateSplit = ({ gate, up }: { readonly gate: Tensor; readonly up: Tensor }, through: (weight: Tensor, join: { readonly join: boolean }) => Tensor, activation: Model.Activation | undefined): Tensor => {
  const split = gate.slot.sharded && up.slot.sharded, join = { join: !split }, inner = activate(through(gate, join), through(up, join), activation) // [rows, inner], of this replica where split
  return split ? joinReplicas(inner) : inner
}

/** The dense feed-forward of a layer: down(silu(gate x) · up x), or with the model's own inner function. Shapes: x [rows, hidden] → [rows, hidden]. */
export const feedForward = (decoder: Decoder, x: Tensor, layer: number, options: { readonly adapters?: Adapters | undefined; readonly tap?: Tap | undefined } = {}): Tensor => {
  const { adapters, tap } = options, at = `layers.${layer}.feedForward`
  const { activation } = decoder.model, adapted = adapters?.(`${at}.gate`) ?? adapters?.(`${at}.up`)
  const inner = adapted === undefined ? activateSplit({ gate: parameter(decoder, `${at}.gate`), up: parameter(decoder, `${at}.up`) }, (weight, join) => linear(x, weight, undefined, join), activation)
    : activate(project(decoder, x, `${at}.gate`, adapters), project(decoder, x, `${at}.up`, adapters), activation) // [rows, inner]
  tap?.("feedForward.inner", layer, inner)
  return project(decoder, inner, `${at}.down`, adapters)
}

/** From so many tokens of a row on, a prompt's heads are divided over replicas: below, meeting once more costs more. */
const dividedTokens = 32

/** States after the final norm. Shapes: ids u32 [rows] → [rows, hidden]. */
export const states = (decoder: Decoder, ids: Tensor, options: ForwardOptions): Tensor => {
  const { constants, model } = decoder, { adapters, batch, chunk, tap, tokens } = options
  expectShape("Decoder.forward", "ids", ids, [batch * tokens], "u32")
  const positions = options.positions ?? chunk?.positions ?? constants.positions.get(sizeName(options))?.tensor
  if (positions === undefined) throw new Error(`Decoder.forward: size ${sizeName(options)} (batch × tokens) was not announced: pass it to Decoder.make as one of \`sizes\`, or call Decoder.prepare(arena, decoder, { batch, tokens }) before recording`)
  if (options.feedForward === undefined && model.feedForward.kind === "mixture") throw new Error("Decoder.forward: a mixture needs its feed-forward passed as an option (routing's Mixture)")
  const { embeddingScale, headSize, heads, keyValueHeads, outputNorms = false } = model, { latent, outputBias = false, sinks = false, softCap } = model.attention ?? {}, scale = scoreScale(model)
  const embedded = embedding(parameter(decoder, "embedding"), ids) // [rows, hidden]
  let x = embeddingScale === undefined ? embedded : affine(embedded, { scale: embeddingScale }) // [rows, hidden]
  tap?.("embedding", 0, x)
  for (let layer = 0; layer < model.layers; layer++) {
    const at = `layers.${layer}.attention`
    const attended = normed(decoder, x, `${at}.norm`) // [rows, hidden]
    tap?.("attention.input", layer, attended)
    const [query, key, value] = latent === undefined ? (["query", "key", "value"] as const).map((name) => projected(decoder, attended, layer, name, positions, adapters)) as [Tensor, Tensor, Tensor]
      : latentHeads(attended, latent, { model, positions, tables: constants.tables, project: (x, name) => project(decoder, x, `${at}.${name}`, adapters), gain: (name) => parameter(decoder, `${at}.${name}`) })
    const sizes = { batch, tokens, heads, keyValueHeads, headSize, window: options.window ?? windowOf(model, layer), scale, softCap, valueSize: latent?.value, sinks: sinks ? parameter(decoder, `${at}.sinks`) : undefined }
    const mixed = chunk === undefined ? attention(query, key, value, sizes) : cachedAttention(query, key, value, chunk.cache.layers[layer]!, chunk.places, { ...sizes, fresh: chunk.fresh, extent: chunk.extent, own: tokens < dividedTokens ? undefined : constants.ownHeads }) // [rows, heads · headSize]
    tap?.("attention.inner", layer, mixed)
    const attentionProduct = project(decoder, mixed, `${at}.output`, adapters) // [rows, hidden]
    const biased = outputBias ? addRow(attentionProduct, parameter(decoder, `${at}.outputBias`)) : attentionProduct
    const attentionOutput = outputNorms ? normed(decoder, biased, `${at}.outputNorm`) : biased
    tap?.("attention.output", layer, attentionOutput)
    x = add(x, attentionOutput)
    const fed = normed(decoder, x, `layers.${layer}.feedForward.norm`) // [rows, hidden]
    tap?.("feedForward.input", layer, fed)
    const feedForwardProduct = options.feedForward?.(fed, layer) ?? feedForward(decoder, fed, layer, { adapters, tap }) // [rows, hidden]
    expectShape("Decoder.forward", `feedForward of layer ${layer}`, feedForwardProduct, x.shape)
    const feedForwardOutput = outputNorms ? normed(decoder, feedForwardProduct, `layers.${layer}.feedForward.outputNorm`) : feedForwardProduct
    tap?.("feedForward.output", layer, feedForwardOutput)
    x = add(x, feedForwardOutput)
    tap?.("block.output", layer, x)
  }
  const last = normed(decoder, x, "norm")
  tap?.("norm", model.layers - 1, last)
  return last
}

/** Logits of states; in parts, by rows, where they are larger than the device's largest buffer. Shapes: x [rows, hidden] → [rows, vocabulary]. */
export const head = (decoder: Decoder, x: Tensor, adapters?: Adapters): Tensor => {
  const rows = x.shape[0]!, each = Math.max(1, Math.floor(decoder.largestBuffer / (4 * decoder.model.vocabulary)))
  if (rows <= each) return logitsOf(decoder, x, adapters)
  const starts = Array.from({ length: Math.ceil(rows / each) }, (_, at) => at * each)
  return joined(starts.map((from) => logitsOf(decoder, sliceRows(x, from, Math.min(each, rows - from)), adapters)), "logits")
}
const logitsOf = (decoder: Decoder, x: Tensor, adapters: Adapters | undefined): Tensor => {
  const { logitCap: cap, tiedEmbeddings } = decoder.model, logits = project(decoder, x, tiedEmbeddings ? "embedding" : "head", adapters)
  return cap === undefined ? logits : affine(map(affine(logits, { scale: 1 / cap }), "tanh"), { scale: cap })
}

/** The whole decoder. Shapes: ids u32 [rows] → logits [rows, vocabulary]. Fails: a size that was not announced is a defect. */
export const forward = (decoder: Decoder, ids: Tensor, options: ForwardOptions): Tensor => head(decoder, states(decoder, ids, options), options.adapters)
