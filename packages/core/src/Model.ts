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

/** An expert is a whole feed-forward, or a low-rank change `W + scale · b·a` of a shared one. */
export const Expert = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("full") }),
  Schema.Struct({ kind: Schema.Literal("lowRank"), rank: size, scale: Schema.Finite })
])

/**
 * Several experts per layer and a router, kept as data that the routing package understands. `routerTensors`: per layer, name → shape; `routerLayers`: the layers
 * that have them, all when left out.
 * `shared`: a dense feed-forward that every token passes beside the routed experts, added as it is or, with a gate, times sigmoid(x · w).
 */
export const Mixture = Schema.Struct({
  kind: Schema.Literal("mixture"), inner: size, experts: size, active: size, expert: Expert,
  router: Schema.Json, routerTensors: Schema.Record(Schema.String, shape), routerLayers: Schema.optionalKey(Schema.Array(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))),
  shared: Schema.optionalKey(Schema.Struct({ inner: size, gate: Schema.Boolean }))
})

/**
 * What attention has besides its four matrices. `bias` on query, key and value; `norms` of query and key before rotation, each head by itself or
 * the whole width at once; `window`, how many tokens back it sees, its own included; `noRope`, the layers that do not rotate. Left out means without.
 */
export const Attention = Schema.Struct({
  bias: Schema.optionalKey(Schema.Boolean), norms: Schema.optionalKey(Schema.Literals(["head", "width"])), window: Schema.optionalKey(size),
  noRope: Schema.optionalKey(Schema.Array(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))))
})

const positive = Schema.Finite.check(Schema.isGreaterThan(0))
/**
 * How rotary frequencies differ from theta^(−2i/headSize): all divided by `factor`, or as Llama 3.1 does: waves longer than
 * originalContext / lowFrequency divided, those shorter than originalContext / highFrequency kept, the ones between interpolated.
 */
export const RopeScaling = Schema.Union([
  Schema.Struct({ kind: Schema.Literal("linear"), factor: positive }),
  Schema.Struct({ kind: Schema.Literal("llama3"), factor: positive, lowFrequency: positive, highFrequency: positive, originalContext: size })
])

/** A description of a decoder. Units: contextLength in tokens; the others are counts. `extra`: keys of config.json that are carried, not interpreted. */
export const Model = Schema.Struct({
  family: Schema.String,
  vocabulary: size, hidden: size, layers: size, heads: size, keyValueHeads: size, headSize: size, contextLength: size,
  normEpsilon: Schema.Finite, ropeTheta: Schema.Finite, tiedEmbeddings: Schema.Boolean,
  attention: Schema.optionalKey(Attention), ropeScaling: Schema.optionalKey(RopeScaling),
  feedForward: Schema.Union([Dense, Mixture]),
  extra: Schema.Record(Schema.String, Schema.Json)
})
export type Model = typeof Model.Type
export type Dense = typeof Dense.Type
export type Mixture = typeof Mixture.Type
export type Expert = typeof Expert.Type
export type Attention = typeof Attention.Type
export type RopeScaling = typeof RopeScaling.Type

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
  if (form.kind === "dense") return whole(`${layer}.feedForward`)
  const { expert } = form
  return [
    ...(expert.kind === "lowRank" ? whole(`${layer}.feedForward`) : []),
    ...Array.from({ length: form.experts }, (_, e) => `${layer}.experts.${e}`).flatMap((at) =>
      expert.kind === "full" ? whole(at) : matrices(model, form.inner).flatMap(([name, out, input]) => [
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
  const { hidden, vocabulary } = model, query = model.heads * model.headSize, keyValue = model.keyValueHeads * model.headSize, { bias = false, norms } = model.attention ?? {}
  const matrix = (at: string, out: number) => [{ name: at, shape: [out, hidden] }, ...(bias ? [{ name: `${at}Bias`, shape: [out] }] : [])]
  const gain = (at: string, width: number) => norms === undefined ? [] : [{ name: at, shape: [norms === "head" ? model.headSize : width] }]
  return [
    { name: "embedding", shape: [vocabulary, hidden] },
    ...Array.from({ length: model.layers }, (_, l) => `layers.${l}`).flatMap((layer) => [
      { name: `${layer}.attention.norm`, shape: [hidden] },
      ...matrix(`${layer}.attention.query`, query),
      ...matrix(`${layer}.attention.key`, keyValue),
      ...matrix(`${layer}.attention.value`, keyValue),
      ...gain(`${layer}.attention.queryNorm`, query),
      ...gain(`${layer}.attention.keyNorm`, keyValue),
      { name: `${layer}.attention.output`, shape: [hidden, query] },
      { name: `${layer}.feedForward.norm`, shape: [hidden] },
      ...feedForward(model, layer)
    ]),
    { name: "norm", shape: [hidden] },
    ...(model.tiedEmbeddings ? [] : [{ name: "head", shape: [vocabulary, hidden] }])
  ]
}

const elements = (shape: ReadonlyArray<number>): number => shape.reduce((product, axis) => product * axis, 1)

/** Number of weights. */
export const parameters = (model: Model): number => tensors(model).reduce((sum, { shape }) => sum + elements(shape), 0)

/** Number of weights that one token uses: all but the experts that it does not visit. */
export const activeParameters = (model: Model): number => {
  const form = model.feedForward
  if (form.kind === "dense") return parameters(model)
  const expert = tensors(model).reduce((sum, { name, shape }) => sum + (name.startsWith("layers.0.experts.0.") ? elements(shape) : 0), 0)
  return parameters(model) - model.layers * (form.experts - form.active) * expert
}

/** What contradicts itself in a description, one sentence each; empty when nothing does. */
export const contradictions = (model: Model): ReadonlyArray<string> => {
  const form = model.feedForward, { noRope = [] } = model.attention ?? {}, scaling = model.ropeScaling
  return [
    ...(model.heads % model.keyValueHeads === 0 ? [] : [`${model.heads} heads cannot share ${model.keyValueHeads} key-value heads equally`]),
    ...(model.headSize % 2 === 0 ? [] : [`head size ${model.headSize} is odd, rotary positions need pairs`]),
    ...noRope.filter((layer) => layer >= model.layers).map((layer) => `layer ${layer} of ${model.layers} without rotary positions`),
    ...(scaling?.kind === "llama3" && scaling.lowFrequency >= scaling.highFrequency ? [`low frequency factor ${scaling.lowFrequency} is not below the high one, ${scaling.highFrequency}`] : []),
    ...(form.kind === "mixture" && form.active > form.experts ? [`${form.active} active experts of ${form.experts}`] : [])
  ]
}
