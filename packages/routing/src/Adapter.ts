/**
 * An adapter: a trained low-rank change `W + scale · b·a` of the feed-forward matrices of one base, which it knows by its key.
 *
 * Feed-forward only, so that an adapter folds exactly into a full expert. Kept as a plain peft folder (peft.ts).
 * Paper: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
 */
import { Artifact as Kept, Checkpoint, File, Model, type Safetensors, Stage, Weights } from "@switchyard/core"
import { Effect, Schema } from "effect"
import * as peft from "./peft.ts"

export { AdapterError } from "./peft.ts"

/** What a plan knows of an adapter. `base`: the key of the checkpoint it was trained on. `scale`: what multiplies b·a (alpha / rank). */
export interface Header {
  readonly base: string
  readonly rank: number
  readonly scale: number
  readonly domains: ReadonlyArray<string>
  readonly model: Model.Model
}
/** Weights are named `layers.{l}.feedForward.{gate|up|down}.{a|b}`. Shapes: a [rank, in], b [out, rank]. */
export interface Adapter { readonly kind: "adapter"; readonly header: Header; readonly weights: Weights.Weights }

/** The adapter's tensors by name. */
export const tensors = (model: Model.Model, rank: number): ReadonlyArray<Model.TensorShape> => peft.tensors(model, rank).map(({ name, shape }) => ({ name, shape }))

/** Bytes of an adapter's folder, roughly: numbers, their names in the file's header, and the small files beside. */
export const bytes = (model: Model.Model, rank: number): number => tensors(model, rank).reduce((sum, { shape }) => sum + 4 * shape[0]! * shape[1]! + 130, 1500)

const writeInto = (adapter: Adapter, folder: string, baseName: string | null) => {
  const { base, domains, model, rank, scale } = adapter.header
  return peft.write(folder, { rank, scale, weights: adapter.weights, own: { base, domains, model } }, baseName)
}

/**
 * Writes a plain peft folder, whole or not at all.
 * Options: `baseName`: the path or hub name of the base that peft's `AutoPeftModel` looks for. Fails: FileError, SafetensorsError, WeightsError.
 */
export const write = (adapter: Adapter, folder: string, options: { readonly baseName?: string } = {}): Effect.Effect<void, File.FileError | Safetensors.SafetensorsError | Weights.WeightsError> =>
  File.writeFolder(folder, (temporary) => writeInto(adapter, temporary, options.baseName ?? null))

/**
 * Opens a peft folder; tensors are read when asked for.
 * Options: `base`, `model`, `domains`: for a folder that another tool wrote, which does not say them.
 * Fails: AdapterError naming the setting or every key that is not used, FileError, SafetensorsError.
 */
export const open = (folder: string, options: { readonly base?: string; readonly model?: Model.Model; readonly domains?: ReadonlyArray<string> } = {}): Effect.Effect<Adapter, peft.AdapterError | File.FileError | Safetensors.SafetensorsError> => Effect.gen(function*() {
  const { own, rank, scale } = yield* peft.readSettings(folder)
  const base = options.base ?? own?.base, model = options.model ?? own?.model, domains = options.domains ?? own?.domains ?? []
  if (base === undefined || model === undefined) {
    return yield* new peft.AdapterError({ at: folder, key: peft.ownFile, problem: "the folder does not say which base it belongs to", remedy: "open it with { base: key of the checkpoint, model }" })
  }
  return { kind: "adapter", header: { base, rank, scale, domains, model }, weights: yield* peft.readWeights(folder, model, rank) }
})

export const Artifact: Kept.Artifact<Adapter> = Kept.make<Adapter>("adapter", { save: (adapter, directory) => writeInto(adapter, directory, null), load: (directory) => open(directory) })

/** Refuses an adapter that was trained on another base. Fails: AdapterError with both keys. */
export const requireBase = (name: string, header: Header, baseKey: string): Effect.Effect<void, peft.AdapterError> => header.base === baseKey ? Effect.void
  : Effect.fail(new peft.AdapterError({ at: `adapter ${name}`, key: "base", problem: `it was trained on the checkpoint with key ${header.base}, not on ${baseKey}`, remedy: "give the base it was trained on, or train it again on this one" }))

/**
 * The base's weights with the adapter in them: W + scale · b·a for each feed-forward matrix, made row by row when read.
 * Fails: dies when a matrix is missing or of another shape.
 */
export const fold = (weights: Weights.Weights, { header: { model, rank, scale }, weights: low }: Adapter): Weights.Weights => {
  const changed = new Set<string>()
  for (const { name, shape } of Model.tensors(model)) {
    if (!low.infos.has(`${name}.a`)) continue
    const found = weights.infos.get(name)?.shape
    if (found?.join() !== shape.join()) throw new Error(`Adapter.fold: ${name} must have shape [${shape.join(", ")}], got ${found === undefined ? "no such tensor" : `[${found.join(", ")}]`}`)
    changed.add(name)
  }
  const infos = new Map([...weights.infos].map(([name, info]) => [name, changed.has(name) ? { ...info, dtype: "F32" as const } : info]))
  return Weights.make(infos, (name, rows, { shape }) => !changed.has(name) ? weights.read(name, rows) : Effect.gen(function*() {
    const base = yield* weights.read(name, rows)      // [rows, in]
    const a = yield* low.read(`${name}.a`)            // [rank, in]
    const b = yield* low.read(`${name}.b`, rows)      // [rows, rank]
    const input = shape[1]!, out = base.slice()
    const change = new Float64Array(input)            // f64 until it is added: rank terms of f32
    for (let row = 0; row < rows.to - rows.from; row++) {
      change.fill(0)
      for (let r = 0; r < rank; r++) {
        const factor = scale * b[row * rank + r]!
        for (let column = 0; column < input; column++) change[column] = change[column]! + factor * a[r * input + column]!
      }
      for (let column = 0; column < input; column++) out[row * input + column] = out[row * input + column]! + change[column]!
    }
    return out
  }))
}

/** Stage: the base with the adapter folded in, a dense model of its own. Fails: AdapterError, before any work, on an adapter of another base. */
export const apply = Stage.make("adapter/apply", {
  version: 1,
  inputs: [Stage.one("base", Checkpoint.Dense), Stage.one("adapter", Artifact)],
  options: Schema.Struct({}),
  output: Checkpoint.Dense,
  *describe({ adapter, base: { key, ...header } }) {
    yield* requireBase("given", adapter, key)
    const changed = Model.tensors(header.model).reduce((sum, { name, shape }) => /\.feedForward\.(gate|up|down)$/.test(name) ? sum + shape[0]! * shape[1]! : sum, 0)
    const found = { ...header, bytes: Math.round(header.bytes * (1 - changed / header.parameters) + 4 * changed) } // folded matrices are f32
    return { header: found, cost: { bytesRead: header.bytes, bytesWritten: found.bytes } }
  },
  *run({ adapter, base }, _, context) {
    yield* Effect.void
    return Checkpoint.derive(base, { weights: fold(base.weights, adapter), step: { stage: "adapter/apply", key: context.key, inputs: context.keys, facts: { domains: [...adapter.header.domains], rank: adapter.header.rank } } })
  }
})
