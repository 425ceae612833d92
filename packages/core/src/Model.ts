/**
 * What a decoder is, without its weights: sizes, the feed-forward's form, and the list of tensors that follow from them.
 *
 * Every name here is canonical; the names that files use live in the family tables (`families.ts`). Shapes are [out, in], row major.
 */
import { Schema } from "effect"

const size = Schema.Int.check(Schema.isGreaterThan(0))
const shape = Schema.Array(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))

/** One feed-forward per layer, executed for every token. */
export const Dense = Schema.Struct({ kind: Schema.Literal("dense"), inner: size })

/** An expert is a whole feed-forward, with a bias on each product where it says so, or a low-rank change `W + scale · b·a` of a shared one. */
export const Expert = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("full"), bias: Schema.optionalKey(Schema.Boolean) }),
  Schema.Struct({ kind: Schema.Literal("lowRank"), rank: size, scale: Schema.Finite })
])

/**
 * Several experts per layer and a router, kept as data that the routing package understands. `routerTensors`: per layer, name → shape; `routerLayers`: the layers
 * that have them, all when left out.
 * `shared`: a dense feed-forward that every token passes beside the routed experts, added as it is or, with a gate, times sigmoid(x · w). `dense`: that many layers
 * from the first on have a dense feed-forward, so wide, instead of experts.
 */
export const Mixture = Schema.Struct({
  kind: Schema.Literal("mixture"), inner: size, experts: size, active: size, expert: Expert,
  router: Schema.Json, routerTensors: Schema.Record(Schema.String, shape), routerLayers: Schema.optionalKey(Schema.Array(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))),
  shared: Schema.optionalKey(Schema.Struct({ inner: size, gate: Schema.Boolean })), dense: Schema.optionalKey(Schema.Struct({ layers: size, inner: size }))
})

const positive = Schema.Finite.check(Schema.isGreaterThan(0))
const layerNumbers = Schema.Array(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))
const flag = Schema.optionalKey(Schema.Boolean)

/**
 * What attention has besides its four matrices; left out means without.
 *
 * `bias` on query, key and value, `outputBias` on the output; `norms` of query and key before rotation, each head by itself or the whole width at once;
 * `window`, how many tokens back it sees, its own included, and `global`, the layers that see everything all the same; `noRope`, the layers that do not rotate;
 * `rotated`, how many of a head's first numbers rotate; `localTheta`, that of the layers with a window, whose positions are never scaled; `scale` of the scores
 * (1 / √headSize); `softCap`: scores become cap · tanh(score / cap); `sinks`: a learned score for each head that takes its share of the softmax and gives nothing.
 *
 * `latent` (DeepSeek-V2): keys and values are products of a normalised vector of `keyValue` numbers, queries of one of `query` numbers or of the state itself; values have heads
 * of `value` numbers. Of queries and keys the last `rotated` numbers of a head rotate, in neighbouring pairs where they are `interleaved`; all heads share those of
 * the keys. `epsilon` of the two norms. Where yarn has a `weightAll`, scores are multiplied by the square of its magnitude.
 */
export const Attention = Schema.Struct({
  bias: flag, outputBias: flag, norms: Schema.optionalKey(Schema.Literals(["head", "width"])), window: Schema.optionalKey(size), global: Schema.optionalKey(layerNumbers),
  noRope: Schema.optionalKey(layerNumbers), rotated: Schema.optionalKey(size), localTheta: Schema.optionalKey(positive), scale: Schema.optionalKey(positive),
  softCap: Schema.optionalKey(positive), sinks: flag,
  latent: Schema.optionalKey(Schema.Struct({ query: Schema.optionalKey(size), keyValue: size, value: size, interleaved: Schema.Boolean, epsilon: positive }))
})

/**
 * How rotary frequencies differ from theta^(−2i/headSize). linear: all divided by `factor`. llama3: waves longer than originalContext / lowFrequency divided,
 * those shorter than originalContext / highFrequency kept, the ones between interpolated. yarn: those that turn less than `slow` times in the original context
 * divided, those that turn more than `fast` times kept, and cosines and sines times a magnitude that grows with the factor's logarithm, unless `magnitude` says
 * which (`weight`, `weightAll`: of the logarithm in its numerator and denominator). longrope: each divided by its own number, of `long` where the decoder is made for more
 * positions than the original context, else of `short`. `factor` of longrope: contextLength / originalContext when left out. Papers: Peng et al. 2023; Ding et al. 2024.
 */
export const RopeScaling = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("linear"), factor: positive }),
  Schema.Struct({ kind: Schema.Literal("llama3"), factor: positive, lowFrequency: positive, highFrequency: positive, originalContext: size }),
  Schema.Struct({
    kind: Schema.Literal("yarn"), factor: positive, originalContext: size, fast: positive, slow: positive, whole: Schema.Boolean,
    magnitude: Schema.optionalKey(positive), weight: Schema.optionalKey(positive), weightAll: Schema.optionalKey(positive)
  }),
  Schema.Struct({ kind: Schema.Literal("longrope"), short: Schema.Array(positive), long: Schema.Array(positive), originalContext: size, factor: Schema.optionalKey(positive), magnitude: Schema.optionalKey(positive) })
])

/**
 * The inner function of a feed-forward, down(f(gate x) · up x); silu when a model says nothing. geluTanh: gelu in its tanh form. clampedSilu (gpt-oss):
 * g · sigmoid(slope · g) · (u + 1), g being the gate, at most `limit`, and u up, between −limit and limit.
 */
export const Activation = Schema.Union([Schema.Struct({ kind: Schema.Literal("geluTanh") }), Schema.Struct({ kind: Schema.Literal("clampedSilu"), slope: positive, limit: positive })])

/**
 * A description of a decoder. Units: contextLength in tokens; the others are counts. `extra`: keys of config.json that are carried, not interpreted.
 *
 * `outputNorms`: attention and feed-forward pass a second norm before they are added to the stream; `shiftedGains`: norms multiply by 1 + gain; `embeddingScale`:
 * embeddings are multiplied by it; `logitCap`: logits become cap · tanh(logit / cap).
 */
export const Model = Schema.Struct({
  family: Schema.String,
  vocabulary: size, hidden: size, layers: size, heads: size, keyValueHeads: size, headSize: size, contextLength: size,
  normEpsilon: Schema.Finite, ropeTheta: Schema.Finite, tiedEmbeddings: Schema.Boolean,
  attention: Schema.optionalKey(Attention), ropeScaling: Schema.optionalKey(RopeScaling), activation: Schema.optionalKey(Activation),
  outputNorms: flag, shiftedGains: flag, embeddingScale: Schema.optionalKey(positive), logitCap: Schema.optionalKey(positive),
  feedForward: Schema.Union([Dense, Mixture]),
  extra: Schema.Record(Schema.String, Schema.Json)
})
export type Model = typeof Model.Type
export type Dense = typeof Dense.Type
export type Mixture = typeof Mixture.Type
export type Expert = typeof Expert.Type
export type Attention = typeof Attention.Type
export type RopeScaling = typeof RopeScaling.Type
export type Activation = typeof Activation.Type

/** A tensor's canonical name and shape. */
export interface TensorShape {
  readonly name: string
  readonly shape: ReadonlyArray<number>
}

const matrices = (model: Model, inner: number): ReadonlyArray<readonly [string, number, number]> => [
  ["gate", inner, model.hidden],
  ["up", inner, model.hidden],
  ["down", model.hidden, inner]
]

const feedForward = (model: Model, layer: string): ReadonlyArray<TensorShape> => {
  const form = model.feedForward, number = Number(layer.slice("layers.".length))
  const whole = (at: string, inner = form.inner) => matrices(model, inner).map(([name, out, input]) => ({ name: `${at}.${name}`, shape: [out, input] }))
  if (form.kind === "dense" || number < (form.dense?.layers ?? 0)) return whole(`${layer}.feedForward`, form.kind === "dense" ? form.inner : form.dense!.inner)
  const { expert } = form
  return [
    ...(expert.kind === "lowRank" ? whole(`${layer}.feedForward`) : []),
    ...Array.from({ length: form.experts }, (_, e) => `${layer}.experts.${e}`).flatMap((at) =>
      expert.kind === "full" ? [...whole(at), ...expert.bias === true ? matrices(model, form.inner).map(([name, out]) => ({ name: `${at}.${name}Bias`, shape: [out] })) : []] : matrices(model, form.inner).flatMap(([name, out, input]) => [
        { name: `${at}.${name}.a`, shape: [expert.rank, input] },
        { name: `${at}.${name}.b`, shape: [out, expert.rank] }
      ])),
    ...Object.entries(form.routerLayers?.includes(number) === false ? {} : form.routerTensors).map(([name, shape]) => ({ name: `${layer}.router.${name}`, shape })),
    ...(form.shared === undefined ? [] : whole(`${layer}.shared`, form.shared.inner)),
    ...(form.shared?.gate === true ? [{ name: `${layer}.shared.router`, shape: [1, model.hidden] }] : [])
  ]
}

/** Every tensor of the model with its shape, in the order in which a token meets them. */
export const tensors = (model: Model): ReadonlyArray<TensorShape> => {
  const { hidden, vocabulary } = model, query = model.heads * model.headSize, keyValue = model.keyValueHeads * model.headSize, { bias = false, norms, outputBias = false, sinks = false } = model.attention ?? {}
  const outputNorm = (at: string) => model.outputNorms === true ? [{ name: `${at}.outputNorm`, shape: [hidden] }] : []
  const matrix = (at: string, out: number) => [{ name: at, shape: [out, hidden] }, ...(bias ? [{ name: `${at}Bias`, shape: [out] }] : [])]
  const { latent, rotated = model.headSize } = model.attention ?? {}
  const heads = (at: string): ReadonlyArray<TensorShape> => latent === undefined ? [
    ...matrix(`${at}.query`, query), ...matrix(`${at}.key`, keyValue), ...matrix(`${at}.value`, keyValue), ...gain(`${at}.queryNorm`, query), ...gain(`${at}.keyNorm`, keyValue),
    { name: `${at}.output`, shape: [hidden, query] }
  ] : [
    ...latent.query === undefined ? [] : [{ name: `${at}.queryDown`, shape: [latent.query, hidden] }, { name: `${at}.queryDownNorm`, shape: [latent.query] }],
    { name: latent.query === undefined ? `${at}.query` : `${at}.queryUp`, shape: [query, latent.query ?? hidden] },
    { name: `${at}.keyValueDown`, shape: [latent.keyValue + rotated, hidden] }, { name: `${at}.keyValueDownNorm`, shape: [latent.keyValue] },
    { name: `${at}.keyValue`, shape: [model.heads * (model.headSize - rotated + latent.value), latent.keyValue] },
    { name: `${at}.output`, shape: [hidden, model.heads * latent.value] }
  ]
  const gain = (at: string, width: number) => norms === undefined ? [] : [{ name: at, shape: [norms === "head" ? model.headSize : width] }]
  return [
    { name: "embedding", shape: [vocabulary, hidden] },
    ...Array.from({ length: model.layers }, (_, l) => `layers.${l}`).flatMap((layer) => [
      { name: `${layer}.attention.norm`, shape: [hidden] },
      ...heads(`${layer}.attention`),
      ...(outputBias ? [{ name: `${layer}.attention.outputBias`, shape: [hidden] }] : []),
      ...(sinks ? [{ name: `${layer}.attention.sinks`, shape: [model.heads] }] : []),
      ...outputNorm(`${layer}.attention`),
      { name: `${layer}.feedForward.norm`, shape: [hidden] },
      ...feedForward(model, layer),
      ...outputNorm(`${layer}.feedForward`)
    ]),
    { name: "norm", shape: [hidden] },
    ...(model.tiedEmbeddings ? [] : [{ name: "head", shape: [vocabulary, hidden] }])
  ]
}

const elements = (shape: ReadonlyArray<number>): number => shape.reduce((product, axis) => product * axis, 1)

/** Number of weights. */
export const parameters = (model: Model): number => tensors(model).reduce((sum, { shape }) => sum + elements(shape), 0)

/** Number of weights that one token uses: all but the experts that it does not visit. What a router runs or looks up in order to choose is counted by routing's `activeParameters`. */
export const activeParameters = (model: Model): number => {
  const form = model.feedForward
  if (form.kind === "dense") return parameters(model)
  const expert = tensors(model).reduce((sum, { name, shape }) => sum + (name.startsWith(`layers.${model.layers - 1}.experts.0.`) ? elements(shape) : 0), 0)
  return parameters(model) - (model.layers - (form.dense?.layers ?? 0)) * (form.experts - form.active) * expert
}

/** What contradicts itself in a description, one sentence each; empty when nothing does. */
export const contradictions = (model: Model): ReadonlyArray<string> => {
  const form = model.feedForward, { bias = false, global = [], latent, norms, noRope = [], rotated = model.headSize, window } = model.attention ?? {}, scaling = model.ropeScaling
  const listed = scaling?.kind === "longrope" ? [["short", scaling.short], ["long", scaling.long]] as const : []
  return [
    ...(model.heads % model.keyValueHeads === 0 ? [] : [`${model.heads} heads cannot share ${model.keyValueHeads} key-value heads equally`]),
    ...(model.headSize % 2 === 0 ? [] : [`head size ${model.headSize} is odd, rotary positions need pairs`]),
    ...(rotated <= model.headSize && rotated % 2 === 0 ? [] : [`${rotated} rotated numbers of a head of ${model.headSize}: an even part of it is needed`]),
    ...(latent === undefined || model.keyValueHeads === model.heads ? [] : [`${model.keyValueHeads} key-value heads of ${model.heads} in latent attention`]),
    ...(latent !== undefined && (bias || norms !== undefined || noRope.length > 0 || rotated === model.headSize) ? ["latent attention with biases, norms of heads, layers without rotary positions or wholly rotated heads"] : []),
    ...(form.kind === "mixture" && (form.dense?.layers ?? 0) >= model.layers ? [`${form.dense!.layers} dense layers of ${model.layers}, none left for experts`] : []),
    ...(form.kind === "mixture" && form.dense !== undefined && form.expert.kind === "lowRank" ? ["dense layers beside low-rank experts"] : []),
    ...(global.length > 0 && window === undefined ? ["layers that see everything beside no window"] : []),
    ...global.filter((layer) => layer >= model.layers).map((layer) => `layer ${layer} of ${model.layers} sees everything`),
    ...listed.filter(([, factors]) => factors.length !== rotated / 2).map(([name, factors]) => `${factors.length} ${name} factors for ${rotated / 2} frequencies`),
    ...noRope.filter((layer) => layer >= model.layers).map((layer) => `layer ${layer} of ${model.layers} without rotary positions`),
    ...(scaling?.kind === "llama3" && scaling.lowFrequency >= scaling.highFrequency ? [`low frequency factor ${scaling.lowFrequency} is not below the high one, ${scaling.highFrequency}`] : []),
    ...(form.kind === "mixture" && form.active > form.experts ? [`${form.active} active experts of ${form.experts}`] : [])
  ]
}
