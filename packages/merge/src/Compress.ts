/**
 * Compression of mixtures: drop experts, merge them by usage, write them as low-rank changes of their mean, or fold low-rank ones into
 * full ones. Recipes as edits stand in compression.ts.
 */
import { Checkpoint, Model, Stage, Table, Tables } from "@switchyard/core"
import { Schema } from "effect"
import * as compression from "./compression.ts"
import type { Described } from "./upcycling.ts"

export { CompressError } from "./compression.ts"

const trace = Table.Artifact(Tables.Trace)
const keep = Schema.Int.check(Schema.isGreaterThan(0))
type MixtureModel = Model.Model & { readonly feedForward: Model.Mixture }

const result = (mixture: Checkpoint.Checkpoint<"mixture">, found: Described, stage: string, context: Stage.Context, facts: Readonly<Record<string, unknown>>) =>
  Checkpoint.derive(mixture, { model: found.model as MixtureModel, weights: found.weights, step: { stage, key: context.key, inputs: context.keys, facts: facts as never } })

/** Tensors that a method writes are f32, the others keep their bytes; `changed` names the written ones. */
const described = (before: Checkpoint.Header<"mixture">, model: Model.Model, changed: (name: string) => boolean) => {
  const weights = (names: (name: string) => boolean) => Model.tensors(model).reduce((sum, { name, shape }) => names(name) ? sum + shape.reduce((product, axis) => product * axis, 1) : sum, 0)
  const written = weights(changed), header = Checkpoint.headerOf(model as MixtureModel, before.tokenizer, Math.round(before.bytes * (weights(() => true) - written) / before.parameters + 4 * written))
  return { header, cost: { bytesRead: before.bytes, bytesWritten: header.bytes, hostBytes: before.bytes + header.bytes } }
}
const inExperts = (name: string): boolean => name.includes(".experts.")
const usageOf = ({ model }: Checkpoint.Checkpoint<"mixture">, table: Table.Table<Tables.Trace>) => compression.usage(table, model.layers, (model as MixtureModel).feedForward.experts)

/** Keeps each layer's `keep` most used experts. The baseline of expert pruning (Lu et al. 2024, https://arxiv.org/abs/2402.14800). */
export const dropExperts = Stage.make("compress/dropExperts", {
  version: 1,
  inputs: [Stage.one("mixture", Checkpoint.Mixture), Stage.one("trace", trace)],
  options: Schema.Struct({ keep }),
  output: Checkpoint.Mixture,
  *describe({ mixture }, { keep }) {
    return described(mixture, yield* compression.withExperts("dropExperts", mixture.model, keep), () => false)
  },
  *run({ mixture, trace }, { keep }, context) {
    const shares = usageOf(mixture, trace)
    return result(mixture, yield* compression.dropExperts(mixture, shares, keep), "compress/dropExperts", context, { keep, kept: shares.map((line) => compression.ranking(line).slice(0, keep).sort((a, b) => a - b)) })
  }
})

/**
 * Merges each layer's experts into `keep`, weighted by usage, after permutation alignment. Full experts only (`fold` low-rank ones first).
 * Paper: M-SMoE, Li et al. 2024, https://arxiv.org/abs/2310.01334; here every layer keeps as many, and resemblance is of weights, not of router logits.
 */
export const mergeExperts = Stage.make("compress/mergeExperts", {
  version: 1,
  inputs: [Stage.one("mixture", Checkpoint.Mixture), Stage.one("trace", trace)],
  options: Schema.Struct({ keep }),
  output: Checkpoint.Mixture,
  *describe({ mixture }, { keep }) {
    return described(mixture, (yield* compression.mergeable(mixture.model, keep)).smaller, inExperts)
  },
  *run({ mixture, trace }, { keep }, context) {
    const found = yield* compression.mergeExperts(mixture, usageOf(mixture, trace), keep)
    return result(mixture, found, "compress/mergeExperts", context, { keep, groups: found.groups })
  }
})

/** Low-rank experts become full ones, exactly up to rounding: what Mixtral's files can hold. */
export const fold = Stage.make("compress/fold", {
  version: 1,
  inputs: [Stage.one("mixture", Checkpoint.Mixture)],
  options: Schema.Struct({}),
  output: Checkpoint.Mixture,
  *describe({ mixture }) {
    const form = yield* compression.formOf("fold", mixture.model, 1)
    return described(mixture, form.expert.kind === "full" ? mixture.model : { ...mixture.model, feedForward: { ...form, expert: { kind: "full" } } }, (name) => form.expert.kind === "lowRank" && inExperts(name))
  },
  *run({ mixture }, _, context) {
    return result(mixture, yield* compression.fold(mixture), "compress/fold", context, {})
  }
})

/** Full experts become their mean and one change of `rank` each (truncated singular value decomposition). */
export const lowRank = Stage.make("compress/lowRank", {
  version: 1,
  inputs: [Stage.one("mixture", Checkpoint.Mixture)],
  options: Schema.Struct({ rank: keep }),
  output: Checkpoint.Mixture,
  *describe({ mixture }, { rank }) {
    const form = yield* compression.factorable(mixture.model, rank)
    return described(mixture, { ...mixture.model, feedForward: { ...form, expert: { kind: "lowRank", rank, scale: 1 } } }, (name) => inExperts(name) || /\.feedForward\.(gate|up|down)$/.test(name))
  },
  *run({ mixture }, { rank }, context) {
    const found = yield* compression.lowRank(mixture, rank)
    return result(mixture, found, "compress/lowRank", context, { rank, lost: found.lost })
  }
})
