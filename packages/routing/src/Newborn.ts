/**
 * A dense model before it has learned anything: seeded normal weights, gains of one.
 *
 * Matrices have deviation 1/√in, so that every layer begins near unit scale whatever its width; what writes into the residual stream is
 * divided by √(2 · layers), as GPT-2 does it (Radford et al., 2019).
 */
import { Checkpoint, Model, Random, Stage, Tokenizer, Weights } from "@switchyard/core"
import { Effect, Schema } from "effect"

const size = Schema.Int.check(Schema.isGreaterThan(0))

/** Seeded first values of every tensor of a dense model, made when read. */
export const weights = (model: Model.Model, seed: number): Weights.Weights => {
  if (model.feedForward.kind !== "dense") throw new Error("Newborn.weights: the model must be dense; upcycle it afterwards")
  const infos = new Map(Model.tensors(model).map(({ name, shape }) => [name, { dtype: "F32" as const, shape }]))
  const residual = 1 / Math.sqrt(2 * model.layers)
  return Weights.make(infos, (name, { from, to }, { shape }) => Effect.sync(() => {
    const row = Weights.rowLength(shape), out = new Float32Array((to - from) * row)
    if (shape.length === 1) return out.fill(1)
    const deviation = (/\.(attention\.output|feedForward\.down)$/.test(name) ? residual : 1) / Math.sqrt(shape[1]!)
    return Random.fillNormal(Random.make(seed, `newborn/${name}`), out, { deviation, from: from * row })
  }))
}

/**
 * Stage: a newborn dense model of the Llama family over bytes.
 *
 * Options: the sizes of the model; `headSize` hidden / heads and `keyValueHeads` = heads unless said otherwise. Fails: dies when the sizes contradict each other.
 */
export const dense = Stage.make("newborn/dense", {
  version: 1,
  seeded: true,
  inputs: [],
  options: Schema.Struct({
    hidden: size, layers: size, heads: size, inner: size, contextLength: size,
    keyValueHeads: Schema.optionalKey(size), headSize: Schema.optionalKey(size),
    tiedEmbeddings: Schema.Boolean.pipe(Stage.byDefault(true)),
    normEpsilon: Schema.Finite.pipe(Stage.byDefault(1e-5)), ropeTheta: Schema.Finite.pipe(Stage.byDefault(10000))
  }),
  output: Checkpoint.Dense,
  *describe(_, options) {
    const model = modelOf(options)
    return { header: Checkpoint.headerOf(model, Tokenizer.bytes().hash), cost: { bytesWritten: 4 * Model.parameters(model) } }
  },
  *run(_, options, context) {
    const model = modelOf(options)
    const step = { stage: "newborn/dense", key: context.key, inputs: {}, facts: { seed: context.seed, parameters: Model.parameters(model) } }
    return Checkpoint.make({ model, weights: weights(model, context.seed), tokenizer: Tokenizer.bytes(), lineage: [step] })
  }
})

const modelOf = ({ inner, ...sizes }: {
  readonly hidden: number; readonly layers: number; readonly heads: number; readonly inner: number; readonly contextLength: number; readonly keyValueHeads?: number; readonly headSize?: number
  readonly tiedEmbeddings: boolean; readonly normEpsilon: number; readonly ropeTheta: number
}) => ({
  family: "llama", vocabulary: Tokenizer.bytes().vocabulary, keyValueHeads: sizes.heads, headSize: sizes.hidden / sizes.heads, ...sizes,
  feedForward: { kind: "dense" as const, inner }, extra: {}
}) satisfies Model.Model
