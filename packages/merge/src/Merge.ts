/**
 * Merges: one checkpoint from several of the same shape. A recipe is plain data, a fold over same-named tensors: the space in which
 * tensors are combined (`frame`), how (`combine`), and how strongly (`scale`, weights per model). It runs on the host, a row range of
 * one tensor at a time: peak memory is one tensor of each model.
 */
import { Checkpoint, Model, Stage, Weights } from "@switchyard/core"
import { Effect, Schema } from "effect"

/**
 * How same-named tensors become one. With coefficients c (weights per model; `mean` divides them by their sum):
 * absolute: scale · Σ c·x; delta: base + scale · Σ c·(x − base).
 */
export const Recipe = Schema.Struct({
  name: Schema.String,
  frame: Schema.Literals(["absolute", "delta"]),
  combine: Schema.Literals(["mean", "sum"]),
  scale: Schema.Finite,
  paper: Schema.String
})
export type Recipe = typeof Recipe.Type

/** Models that cannot be merged: names the model, the tensor and the two facts that disagree. */
export class MergeError extends Schema.TaggedError<MergeError>()("MergeError", { recipe: Schema.String, model: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `merge ${this.recipe}: ${this.model}: ${this.problem}. ${this.remedy}` }
}

/** The weighted mean of models: a model soup (Wortsman et al. 2022). Options: weights are given to the fold. */
export const linear = (): Recipe => ({ name: "linear", frame: "absolute", combine: "mean", scale: 1, paper: "https://arxiv.org/abs/2203.05482" })

/** base + scale · Σ weight · (model − base): task arithmetic (Ilharco et al. 2023). */
export const taskArithmetic = (options: { readonly scale?: number } = {}): Recipe =>
  ({ name: "taskArithmetic", frame: "delta", combine: "sum", scale: options.scale ?? 1, paper: "https://arxiv.org/abs/2212.04089" })

const different = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): boolean => a.length !== b.length || a.some((axis, at) => axis !== b[at])

/** What of weights a merge is checked by: a plan knows as much. */
interface Shapes { readonly infos: ReadonlyMap<string, { readonly shape: ReadonlyArray<number> }> }

/** Every model must hold exactly the tensors of the first, in the same shapes. */
const agree = (recipe: Recipe, models: ReadonlyArray<readonly [string, Shapes]>): Effect.Effect<void, MergeError> => Effect.gen(function*() {
  const [[first, reference], ...others] = models as [readonly [string, Shapes], ...Array<readonly [string, Shapes]>]
  for (const [name, weights] of others) {
    const missing = [...reference.infos.keys()].filter((tensor) => !weights.infos.has(tensor)), extra = [...weights.infos.keys()].filter((tensor) => !reference.infos.has(tensor))
    if (missing.length + extra.length > 0) {
      return yield* new MergeError({ recipe: recipe.name, model: name, problem: `compared with ${first}, missing tensors: ${missing.join(", ") || "none"}; additional tensors: ${extra.join(", ") || "none"}`, remedy: "Merge models of one architecture." })
    }
    for (const [tensor, { shape }] of weights.infos) if (different(shape, reference.infos.get(tensor)!.shape)) {
      return yield* new MergeError({ recipe: recipe.name, model: name, problem: `${tensor} has shape [${shape.join(", ")}], in ${first} it has [${reference.infos.get(tensor)!.shape.join(", ")}]`, remedy: "Merge models of one architecture and vocabulary." })
    }
  }
})

/** Refuses what `fold` cannot do, from names and shapes alone. */
const check = (recipe: Recipe, models: Readonly<Record<string, Shapes>>, { base, weights = {} }: { readonly weights?: Readonly<Record<string, number>> | undefined; readonly base?: Shapes | undefined }): Effect.Effect<void, MergeError> => Effect.gen(function*() {
  const names = Object.keys(models)
  const refuse = (model: string, problem: string, remedy: string) => new MergeError({ recipe: recipe.name, model, problem, remedy })
  if (names.length === 0) return yield* refuse("(none)", "no model was given", "Give at least one.")
  for (const name of Object.keys(weights)) if (!names.includes(name)) return yield* refuse(name, "a weight names a model that is not merged", `The models are ${names.join(", ")}.`)
  if (recipe.frame === "delta" && base === undefined) return yield* refuse("base", "the recipe works on differences from a base, and none was given", "Give the base the models were trained from.")
  if (recipe.frame === "absolute" && base !== undefined) return yield* refuse("base", "the recipe does not look at a base, and one was given", "Leave it out, merge it as one of the models, or take a recipe on differences, as taskArithmetic.")
  yield* agree(recipe, [...Object.entries(models), ...base === undefined ? [] : [["the base", base] as const]])
  const total = totalOf(names, weights)
  if (recipe.combine === "mean" && Math.abs(total) < 1e-8) return yield* refuse(names.join(", "), `the weights sum to ${total}, a mean cannot divide by it`, "Give weights with another sum, or combine by sum.")
})
const totalOf = (names: ReadonlyArray<string>, weights: Readonly<Record<string, number>>): number => names.reduce((sum, name) => sum + (weights[name] ?? 1), 0)

/** What a model's tensors mean beside their shapes: how rows make heads, which of them rotate, what stands between products. */
const meaningOf = ({ activation, attention: { latent, rotated } = {}, headSize, heads, keyValueHeads, shiftedGains = false }: Model.Model) =>
  ({ heads, keyValueHeads, headSize, rotated: rotated ?? "all", latent: latent ?? "none", activation: activation ?? "silu", "shifted gains": shiftedGains })

/** Refuses, from headers alone, models whose same-named tensors do not mean the same, or that have other vocabularies. Fails: MergeError naming the model and what differs. */
export const oneMeaning = (recipe: string, headers: ReadonlyArray<readonly [string, Checkpoint.Header<"dense">]>, remedy: string): Effect.Effect<void, MergeError> => Effect.gen(function*() {
  const [[first, reference], ...others] = headers as [(typeof headers)[number], ...typeof headers], meaning = Object.entries(meaningOf(reference.model))
  const refuse = (model: string, problem: string) => new MergeError({ recipe, model, problem, remedy })
  for (const [name, header] of others) {
    const own: Readonly<Record<string, unknown>> = meaningOf(header.model), differs = meaning.find(([what, said]) => JSON.stringify(own[what]) !== JSON.stringify(said))
    if (differs !== undefined) return yield* refuse(name, `its tensors mean something else than those of ${first}: ${differs[0]} ${JSON.stringify(own[differs[0]])}, not ${JSON.stringify(differs[1])}`)
    if (header.tokenizer !== reference.tokenizer) return yield* refuse(name, `its tokenizer differs from that of ${first}`)
  }
})

/** By name: a key does not know in which order models were written down, so nothing may follow from it. */
export const inOrder = <A>(record: Readonly<Record<string, A>>): Readonly<Record<string, A>> => Object.fromEntries(Object.entries(record).sort(([a], [b]) => a < b ? -1 : 1))

/**
 * The merged weights, lazily: each read folds the rows asked for. Sums are f64, in the order of `models`; results are f32.
 *
 * Options: `weights`: coefficient per model, 1 where not given; `base`: needed by frame delta, refused by the other.
 * Fails: models of different tensors or shapes, a coefficient for an unknown model, coefficients that sum to zero in a mean, a missing base or one too many.
 */
export const fold = (recipe: Recipe, models: Readonly<Record<string, Weights.Weights>>, options: { readonly weights?: Readonly<Record<string, number>>; readonly base?: Weights.Weights } = {}): Effect.Effect<Weights.Weights, MergeError> => Effect.gen(function*() {
  const { base, weights = {} } = options, names = Object.keys(models)
  yield* check(recipe, models, options)
  const total = totalOf(names, weights)
  const factors = names.map((name) => recipe.scale * (weights[name] ?? 1) / (recipe.combine === "mean" ? total : 1))
  // a sum needs more bits than its parts; who wants fewer says so when writing
  const infos = new Map([...models[names[0]!]!.infos].map(([tensor, info]) => [tensor, { ...info, dtype: "F32" as const }]))
  return Weights.make(infos, (tensor, rows) => Effect.gen(function*() {
    const origin = recipe.frame === "delta" ? yield* base!.read(tensor, rows) : undefined
    let sums: Float64Array | undefined
    for (const [at, name] of names.entries()) {
      const values = yield* models[name]!.read(tensor, rows), factor = factors[at]!
      sums ??= origin === undefined ? new Float64Array(values.length) : Float64Array.from(origin)
      for (let i = 0; i < values.length; i++) sums[i]! += factor * (values[i]! - (origin === undefined ? 0 : origin[i]!))
    }
    return Float32Array.from(sums!)
  }))
})

/**
 * The stage: checkpoints of one architecture become one, which has the description and the tokenizer of the first by name.
 *
 * Options: `recipe` (`Merge.linear()`, `Merge.taskArithmetic({ scale })`), `weights` per model, `base` for recipes on differences. Refuses, before any work, what `fold`
 * does, and models that cut their rows into other heads, have another activation or another vocabulary.
 */
export const models = Stage.make("merge/models", {
  version: 1,
  inputs: [Stage.record("models", Checkpoint.Dense)],
  optional: { base: Checkpoint.Dense },
  options: Schema.Struct({ recipe: Recipe, weights: Schema.optionalKey(Schema.Record(Schema.String, Schema.Finite)) }),
  output: Checkpoint.Dense,
  *describe({ base, models: given }, { recipe, weights }) {
    const models = inOrder(given), shapes = ({ model }: Checkpoint.Header<"dense">): Shapes => ({ infos: new Map(Model.tensors(model).map((tensor) => [tensor.name, tensor])) })
    yield* check(recipe, Object.fromEntries(Object.entries(models).map(([name, header]) => [name, shapes(header)])), { weights, base: base === undefined ? undefined : shapes(base) })
    yield* oneMeaning(recipe.name, [...Object.entries(models), ...base === undefined ? [] : [["the base", base] as const]], "Merge models of one architecture and vocabulary.")
    const headers = Object.values(models), bytesRead = headers.reduce((sum, { bytes }) => sum + bytes, 0)
    const { key: _, ...first } = headers[0]!, header = { ...first, bytes: 4 * first.parameters }
    return { header, cost: { bytesRead, bytesWritten: 4 * header.parameters, hostBytes: 4 * header.parameters } }
  },
  *run({ base, models: given }, { recipe, weights }, context) {
    const models = inOrder(given)
    const merged = yield* fold(recipe, Object.fromEntries(Object.entries(models).map(([name, { weights }]) => [name, weights])), { ...weights === undefined ? {} : { weights }, ...base === undefined ? {} : { base: base.weights } })
    return Checkpoint.derive(Object.values(models)[0]!, { weights: merged, step: { stage: "merge/models", key: context.key, inputs: context.keys, facts: { recipe, weights: weights ?? {} } } })
  }
})
