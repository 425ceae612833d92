/**
 * Upcycling: a newborn mixture out of one dense model, several fine-tunes of it, or its adapters. Each stage runs the identity proof that its
 * method owes, on the files as written and read back, and keeps the proof in the lineage; a mixture that fails it is not kept.
 */
import { Checkpoint, Model, Stage } from "@switchyard/core"
import { Adapter, Router } from "@switchyard/routing"
import { Effect, Schema } from "effect"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type IdentityProof, prove, type Side } from "./IdentityProof.ts"
import { inOrder, MergeError, oneMeaning } from "./Merge.ts"
import * as upcycling from "./upcycling.ts"

export { IdentityBroken, type IdentityProof } from "./IdentityProof.ts"

const sideOf = ({ model, weights }: upcycling.Described, router?: Router.Router): Side => ({ model, weights, ...router === undefined ? {} : { router } })

/** The weights of a checkpoint change hands in one dtype: a newborn has no more precision than its files. */
const writtenAndReadBack = <A, E, R>(checkpoint: Checkpoint.Any, use: (found: Checkpoint.Any) => Effect.Effect<A, E, R>) => Effect.acquireUseRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "switchyard-proof-"))),
  (folder) => Effect.flatMap(Effect.andThen(Checkpoint.write(checkpoint, join(folder, "model")), Checkpoint.open(join(folder, "model"))), use),
  (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true })))

interface Birth { readonly stage: string; readonly key: string; readonly keys: Readonly<Record<string, string>>; readonly experts: ReadonlyArray<string>; readonly router: Router.Router }

/** The checkpoint with its proof in the lineage. */
const born = (base: Checkpoint.Any, found: upcycling.Described, { experts, key, keys, router, stage }: Birth, proof: IdentityProof) =>
  Checkpoint.derive(base, { model: found.model as MixtureModel, weights: found.weights, step: { stage, key, inputs: keys, facts: { experts: [...experts], router: router as never, identityProof: proof as never } } })
type MixtureModel = Model.Model & { readonly feedForward: Model.Mixture }

/** Forced to each expert in turn, the mixture must be the model that carries that expert. */
const forcedCases = (mixture: Checkpoint.Any, experts: ReadonlyArray<string>, expected: (expert: number) => upcycling.Described) =>
  Object.fromEntries(experts.map((name, expert) => [name, [sideOf(expected(expert)), sideOf(mixture, Router.fixed([expert]))] as const]))

/** A newborn's header and cost: the body in its own dtype, what is new or changed in f32. */
const describeMixture = (model: Model.Model, base: Checkpoint.Header<"dense">, kept: number, bytesRead: number) => {
  const header = Checkpoint.headerOf(model as MixtureModel, base.tokenizer, Math.round(base.bytes * kept / base.parameters + 4 * (Model.parameters(model) - kept)))
  return { header, cost: { bytesRead, bytesWritten: header.bytes, hostBytes: 2 * header.bytes } }
}
/** Weights that a newborn mixture copies as they are stored. */
const copied = (model: Model.Model): number => {
  const router = model.feedForward.kind === "mixture" ? (model.feedForward.routerLayers?.length ?? model.layers) * Object.values(model.feedForward.routerTensors).reduce((sum, shape) => sum + shape.reduce((product, axis) => product * axis, 1), 0) : 0
  return Model.parameters(model) - router
}

/**
 * Sparse upcycling: `experts` copies of the dense feed-forward. Proof: mixture = dense, under any router whose weights sum to one; a router of
 * weight "prob" that keeps only some experts owes none. Options: experts, router (`Router.topK({ active: 2 })`).
 * Paper: Komatsuzaki et al. 2023, https://arxiv.org/abs/2212.05055
 */
export const fromDense = Stage.make("upcycle/fromDense", {
  version: 1, seeded: true,
  inputs: [Stage.one("base", Checkpoint.Dense)],
  options: Schema.Struct({ experts: Schema.Int.check(Schema.isGreaterThan(0)), router: Router.Router }),
  output: Checkpoint.Mixture,
  *describe({ base }, { experts, router }) {
    const model = yield* upcycling.mixtureOf(base.model, { experts, expert: { kind: "full" }, router })
    return describeMixture(model, base, copied(model), base.bytes)
  },
  *run({ base }, { experts, router }, context) {
    const found = yield* upcycling.fromDense(base, { experts, router, seed: context.seed })
    const birth = { stage: "upcycle/fromDense", key: context.key, keys: context.keys, experts: Array.from({ length: experts }, (_, expert) => `copy ${expert}`), router }
    const claim = "mixture = dense model"
    const nothingOwed = router.capacity !== undefined ? "a router with a capacity drops visits, and what is dropped is missing"
      : Router.sumsToOne(router, experts) ? undefined : router.weight === "prob" && router.activation !== "sigmoid" ? `weights of "prob" over ${Router.active(router, experts)} of ${experts} experts do not sum to one` : "the router's weights do not sum to one"
    const proof: IdentityProof = nothingOwed === undefined
      ? yield* writtenAndReadBack(born(base, found, birth, { kind: "none", reason: "being proved" }), (mixture) => prove(claim, base.tokenizer, { "the dense model": [sideOf(base), sideOf(mixture)] }))
      : { kind: "none", reason: nothingOwed }
    return born(base, found, birth, proof)
  }
})

/** Refuses models that are not of one shape, meaning and tokenizer; gives the first. Fails: MergeError naming the model. */
const oneShape = (headers: Readonly<Record<string, Checkpoint.Header<"dense">>>): Effect.Effect<Checkpoint.Header<"dense">, MergeError> => Effect.gen(function*() {
  const [first, ...others] = Object.entries(headers), remedy = "Upcycle fine-tunes of one model."
  const refuse = (model: string, problem: string) => new MergeError({ recipe: "upcycle/fromModels", model, problem, remedy })
  if (first === undefined) return yield* refuse("(none)", "no model was given")
  const shape = (model: Model.Model) => JSON.stringify(Model.tensors(model))
  for (const [name, header] of others) if (shape(header.model) !== shape(first[1].model)) return yield* refuse(name, `its tensors differ from those of ${first[0]}`)
  yield* oneMeaning("upcycle/fromModels", [first, ...others], remedy)
  return first[1]
})

/**
 * Branch-Train-MiX: each model's feed-forward becomes an expert, everything else is the models' mean; experts stand in the order of their names. Proof: forced to e, the mixture is the
 * averaged model carrying e's feed-forward. Options: router. Paper: Sukhbaatar et al. 2024, https://arxiv.org/abs/2403.07816
 */
export const fromModels = Stage.make("upcycle/fromModels", {
  version: 2, seeded: true,
  inputs: [Stage.record("models", Checkpoint.Dense)],
  options: Schema.Struct({ router: Router.Router }),
  output: Checkpoint.Mixture,
  *describe({ models }, { router }) {
    const header = yield* oneShape(inOrder(models))
    const model = yield* upcycling.mixtureOf(header.model, { experts: Object.keys(models).length, expert: { kind: "full" }, router })
    return describeMixture(model, header, 0, Object.values(models).reduce((sum, { bytes }) => sum + bytes, 0))
  },
  *run({ models: given }, { router }, context) {
    const models = inOrder(given), names = Object.keys(models), base = models[names[0]!]!
    const found = yield* upcycling.fromModels(models, { router, seed: context.seed })
    const birth = { stage: "upcycle/fromModels", key: context.key, keys: context.keys, experts: names, router }
    const proof = yield* writtenAndReadBack(born(base, found, birth, { kind: "none", reason: "being proved" }), (mixture) =>
      prove("mixture forced to an expert = averaged model carrying its feed-forward", base.tokenizer, forcedCases(mixture, names, (expert) => upcycling.carrying(base.model, found.mean, models[names[expert]!]!.weights))))
    return born(base, found, birth, proof)
  }
})

/**
 * Adapters of one base become low-rank experts beside its feed-forward. Proof: forced to e, the mixture is the base with adapter e folded in.
 * Refuses, before any work, adapters of another base or of different ranks. Options: router.
 */
export const fromAdapters = Stage.make("upcycle/fromAdapters", {
  version: 2, seeded: true,
  inputs: [Stage.one("base", Checkpoint.Dense), Stage.record("adapters", Adapter.Artifact)],
  options: Schema.Struct({ router: Router.Router }),
  output: Checkpoint.Mixture,
  *describe({ adapters, base }, { router }) {
    const [first, ...others] = Object.entries(adapters)
    const refuse = (model: string, problem: string, remedy: string) => new MergeError({ recipe: "upcycle/fromAdapters", model, problem, remedy })
    if (first === undefined) return yield* refuse("(none)", "no adapter was given", "Give at least one.")
    for (const [name, header] of [first, ...others]) {
      yield* Adapter.requireBase(name, header, base.key)
      yield* Adapter.requireUniform(name, header)
      if (header.rank !== first[1].rank || header.scale !== first[1].scale) return yield* refuse(name, `rank ${header.rank} and scale ${header.scale}, ${first[0]} has ${first[1].rank} and ${first[1].scale}`, "Train the adapters alike.")
    }
    const { rank, scale } = first[1]
    const model = yield* upcycling.mixtureOf(base.model, { experts: 1 + others.length, expert: { kind: "lowRank", rank, scale }, router })
    return describeMixture(model, base, base.parameters, base.bytes + 4 * (1 + others.length) * Adapter.tensors(base.model, rank).reduce((sum, { shape }) => sum + shape[0]! * shape[1]!, 0))
  },
  *run({ adapters: given, base }, { router }, context) {
    const adapters = inOrder(given), names = Object.keys(adapters)
    const found = yield* upcycling.fromAdapters(base, adapters, { router, seed: context.seed })
    const birth = { stage: "upcycle/fromAdapters", key: context.key, keys: context.keys, experts: names, router }
    const proof = yield* writtenAndReadBack(born(base, found, birth, { kind: "none", reason: "being proved" }), (mixture) =>
      prove("mixture forced to an expert = base + its adapter", base.tokenizer, forcedCases(mixture, names, (expert) => ({ model: base.model, weights: Adapter.fold(base.weights, adapters[names[expert]!]!) }))))
    return born(base, found, birth, proof)
  }
})
