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

/** Several experts per layer and a router, kept as data that the routing package understands. `routerTensors`: per layer, name → shape. */
export const Mixture = Schema.Struct({
  kind: Schema.Literal("mixture"), inner: size, experts: size, active: size, expert: Expert,
  router: Schema.Json, routerTensors: Schema.Record(Schema.String, shape)
})

/** A description of a decoder. Units: contextLength in tokens; the others are counts. `extra`: keys of config.json that are carried, not interpreted. */
export const Model = Schema.Struct({
  family: Schema.String,
  vocabulary: size, hidden: size, layers: size, heads: size, keyValueHeads: size, headSize: size, contextLength: size,
  normEpsilon: Schema.Finite, ropeTheta: Schema.Finite, tiedEmbeddings: Schema.Boolean,
  feedForward: Schema.Union([Dense, Mixture]),
  extra: Schema.Record(Schema.String, Schema.Json)
})
export type Model = typeof Model.Type
export type Dense = typeof Dense.Type
export type Mixture = typeof Mixture.Type
export type Expert = typeof Expert.Type

/** A tensor's canonical name and shape. */
export interface TensorShape {
  readonly name: string
  readonly shape: ReadonlyArray<number>
}

const matrices = (model: Model): ReadonlyArray<readonly [string, number, number]> => [
  ["gate", model.feedForward.inner, model.hidden],
  ["up", model.feedForward.inner, model.hidden],
  ["down", model.hidden, model.feedForward.inner]
]

const feedForward = (model: Model, layer: string): ReadonlyArray<TensorShape> => {
  const whole = (at: string) => matrices(model).map(([name, out, input]) => ({ name: `${at}.${name}`, shape: [out, input] }))
  const form = model.feedForward
  if (form.kind === "dense") return whole(`${layer}.feedForward`)
  const { expert } = form
  return [
    ...(expert.kind === "lowRank" ? whole(`${layer}.feedForward`) : []),
    ...Array.from({ length: form.experts }, (_, e) => `${layer}.experts.${e}`).flatMap((at) =>
      expert.kind === "full" ? whole(at) : matrices(model).flatMap(([name, out, input]) => [
        { name: `${at}.${name}.a`, shape: [expert.rank, input] },
        { name: `${at}.${name}.b`, shape: [out, expert.rank] }
      ])),
    ...Object.entries(form.routerTensors).map(([name, shape]) => ({ name: `${layer}.router.${name}`, shape }))
  ]
}

/** Every tensor of the model with its shape, in the order in which a token meets them. */
export const tensors = (model: Model): ReadonlyArray<TensorShape> => {
  const { hidden, vocabulary } = model, query = model.heads * model.headSize, keyValue = model.keyValueHeads * model.headSize
  return [
    { name: "embedding", shape: [vocabulary, hidden] },
    ...Array.from({ length: model.layers }, (_, l) => `layers.${l}`).flatMap((layer) => [
      { name: `${layer}.attention.norm`, shape: [hidden] },
      { name: `${layer}.attention.query`, shape: [query, hidden] },
      { name: `${layer}.attention.key`, shape: [keyValue, hidden] },
      { name: `${layer}.attention.value`, shape: [keyValue, hidden] },
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
  const form = model.feedForward
  return [
    ...(model.heads % model.keyValueHeads === 0 ? [] : [`${model.heads} heads cannot share ${model.keyValueHeads} key-value heads equally`]),
    ...(model.headSize % 2 === 0 ? [] : [`head size ${model.headSize} is odd, rotary positions need pairs`]),
    ...(form.kind === "mixture" && form.active > form.experts ? [`${form.active} active experts of ${form.experts}`] : [])
  ]
}
