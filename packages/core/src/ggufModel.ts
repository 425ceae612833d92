/**
 * A GGUF file as a model with canonical weights and a tokenizer: its metadata is put into the words of config.json (`ggufConfig.ts`), read by the row of its
 * family, and its tensors are found by the row of its architecture (`ggufArchitectures.ts`). Every key and every tensor is understood, or refused by name.
 */
import { Effect } from "effect"
import { bindTensors, type TensorMismatch } from "./bindTensors.ts"
import * as Family from "./Family.ts"
import { configOf } from "./ggufConfig.ts"
import { joined } from "./ggufDeepseek.ts"
import { GgufError, type Header } from "./GgufHeader.ts"
import { asRow, lowered, parted } from "./ggufLayout.ts"
import * as ggufPieces from "./ggufPieces.ts"
import { ropeScalingOf } from "./ggufRope.ts"
import { fused, fusedFile } from "./ggufRows.ts"
import { ggufTokenizer } from "./ggufTokenizer.ts"
import type * as Model from "./Model.ts"
import type * as Tokenizer from "./Tokenizer.ts"
import * as Weights from "./Weights.ts"

export interface GgufModel {
  readonly model: Model.Model
  readonly weights: Weights.Weights
  readonly tokenizer: Tokenizer.Tokenizer
}

const ropeTensor = "rope_freqs.weight"
/** The model with the scaling of rotary positions that a file tells by the divisors of its frequencies, where it has any. Fails: GgufError when our decoder cannot compute them. */
const rescaled = (file: string, { tensors }: Header, stored: Weights.Weights, model: Model.Model): Effect.Effect<Model.Model, GgufError> => {
  const entry = tensors.get(ropeTensor), wrong = (problem: string) => Effect.fail(new GgufError({ file, key: `tensor "${ropeTensor}"`, problem, remedy: "use a model with plain rotary positions, or scaled ones of type linear or llama3" }))
  if (entry === undefined) return Effect.succeed(model)
  if (entry.shape.join() !== String(model.headSize / 2)) return wrong(`its shape is [${entry.shape.join(", ")}] instead of [${model.headSize / 2}]`)
  return Effect.flatMap(Effect.catchTag(stored.read(ropeTensor), "WeightsError", ({ message }) => wrong(message)), (divisors) => {
    const ropeScaling = ropeScalingOf(divisors, model.ropeTheta, model.contextLength)
    if (ropeScaling === undefined) return wrong("no scaling that our decoder computes gives its divisors")
    if (ropeScaling === "none") return Effect.succeed(model)
    return model.ropeScaling === undefined ? Effect.succeed({ ...model, ropeScaling }) : wrong("it stands beside rope.scaling.type")
  })
}

const asGgufError = (file: string, { misshapen, missing, unexpected }: TensorMismatch): GgufError => {
  const list = (what: string, names: ReadonlyArray<string>) => names.length === 0 ? [] : [`${names.length} ${what}: ${names.slice(0, 6).join(", ")}${names.length > 6 ? ", …" : ""}`]
  return new GgufError({ file, key: "tensors", problem: [...list("missing", missing), ...list("unexpected", unexpected), ...list("misshapen", misshapen)].join("; "), remedy: "fetch or convert the file again; a tensor that this architecture should have needs a row in ggufArchitectures.ts" })
}

/**
 * The model of a file. Options: `families`, the table of known ones; `tokenizer`, instead of the file's. Fails: GgufError naming file, key or tensors, and remedy;
 * ConfigError and UnknownFamily as for a config.json; TokenizerError.
 */
export const ggufModel = (path: string, { families = Family.families, tokenizer: given }: { readonly families?: Family.Table; readonly tokenizer?: Tokenizer.Tokenizer | undefined } = {}): Effect.Effect<GgufModel, GgufError | Family.ConfigError | Family.UnknownFamily | Tokenizer.TokenizerError> =>
  Effect.gen(function*() {
    const { header, weights: stored } = yield* ggufPieces.open(path)
    const [row, config] = yield* Effect.try({ try: () => configOf(path, header), catch: (error) => { if (error instanceof GgufError) return error; throw error } })
    const read = yield* Family.readConfig(path, config, families), model = yield* rescaled(path, header, stored, read), { packed: _, further: __, ...family } = Family.find(model.family, families)!
    const isFused = [...stored.infos.keys()].some((name) => name.replace(/^blk\.\d+/, "blk.{l}") === fusedFile)
    const layout: Family.Family = { ...family, names: row.names, alternatives: [...isFused ? fused : [], ...row.alternatives], ...row.packed === undefined ? {} : { packed: row.packed }, recomputed: [ropeTensor] }
    const is = (pattern: RegExp) => (name: string) => pattern.test(Family.toCanonical(layout, name) ?? "")
    const turned = row.interleaved ? parted(asRow(stored), model.headSize, is(/^layers\.\d+\.attention\.(?:query|key)$/)) : joined(asRow(stored))
    const plain = row.raised === true ? lowered(turned, is(/(?:\.|^)(?:norm|\w+Norm)$/)) : turned
    const weights = yield* Effect.catchTag(bindTensors(path, layout, model, plain), "TensorMismatch", (mismatch) => Effect.fail(asGgufError(path, mismatch)))
    return { model, weights, tokenizer: given ?? (yield* ggufTokenizer(path, header)) }
  })
