/**
 * An adapter: a trained low-rank change `W + scale · b·a` of matrices of one base, which it knows by its key.
 *
 * Those that we train change the feed-forward matrices alone, all alike, so that an adapter folds exactly into an expert; those that peft made may stand on any
 * matrix, attention and single experts too, each with a rank of its own. Kept as a plain peft folder (peft.ts, readPeft.ts).
 * Paper: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021.
 */
import { Artifact as Kept, Checkpoint, File, Model, type Safetensors, Stage, Weights } from "@switchyard/core"
import { Effect, Schema } from "effect"
import * as peft from "./peft.ts"
import { readSettings, readWeights } from "./readPeft.ts"

export { AdapterError, type Low, type Matrices } from "./peft.ts"

/**
 * What a plan knows of an adapter. `base`: the key of the checkpoint it was trained on. `scale`: what multiplies b·a (alpha / rank). `matrices`: the rank and
 * scale of each matrix it changes, by canonical name; left out, the feed-forward matrices of every layer, all with `rank` and `scale`.
 */
export interface Header {
  readonly base: string
  readonly rank: number
  readonly scale: number
  readonly domains: ReadonlyArray<string>
  readonly model: Model.Model
  readonly matrices?: Readonly<Record<string, peft.Low>>
}
/** Weights are named after the matrix, `layers.{l}.feedForward.{gate|up|down}.{a|b}`. Shapes: a [rank, in], b [out, rank]. */
export interface Adapter { readonly kind: "adapter"; readonly header: Header; readonly weights: Weights.Weights }

/** The matrices that an adapter changes, by canonical name. */
export const matrices = (header: Pick<Header, "model" | "rank" | "scale" | "matrices">): peft.Matrices => header.matrices === undefined ? peft.uniform(header.model, header) : new Map(Object.entries(header.matrices))

/** The tensors of an adapter of one rank on a model's feed-forwards, by name. */
export const tensors = (model: Model.Model, rank: number): ReadonlyArray<Model.TensorShape> => peft.tensors(model, peft.uniform(model, { rank, scale: 1 })).map(({ name, shape }) => ({ name, shape }))

/** Bytes of such an adapter's folder, roughly: numbers, their names in the file's header, and the small files beside. */
export const bytes = (model: Model.Model, rank: number): number => tensors(model, rank).reduce((sum, { shape }) => sum + 4 * shape[0]! * shape[1]! + 130, 1500)

const writeInto = (adapter: Adapter, folder: string, baseName: string | null) => {
  const { base, domains, model } = adapter.header
  return peft.write(folder, { matrices: matrices(adapter.header), weights: adapter.weights, own: { base, domains, model } }, baseName)
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
  const settings = yield* readSettings(folder), { own } = settings
  const base = options.base ?? own?.base, model = options.model ?? own?.model, domains = options.domains ?? own?.domains ?? []
  if (base === undefined || model === undefined) {
    return yield* new peft.AdapterError({ at: folder, key: peft.ownFile, problem: "the folder does not say which base it belongs to", remedy: "open it with { base: key of the checkpoint, model }" })
  }
  const { matrices: found, weights } = yield* readWeights(folder, settings, model), [first] = found.values()
  const { rank, scale } = first!, plain = model.feedForward.kind === "dense" ? peft.uniform(model, first!) : new Map<string, peft.Low>()
  const isPlain = found.size === plain.size && [...found].every(([name, low]) => plain.has(name) && low.rank === rank && low.scale === scale)
  return { kind: "adapter", header: { base, rank, scale, domains, model, ...isPlain ? {} : { matrices: Object.fromEntries(found) } }, weights }
})

export const Artifact: Kept.Artifact<Adapter> = Kept.make<Adapter>("adapter", { save: (adapter, directory) => writeInto(adapter, directory, null), load: (directory) => open(directory) })

/** Refuses an adapter that was trained on another base. Fails: AdapterError with both keys. */
export const requireBase = (name: string, header: Header, baseKey: string): Effect.Effect<void, peft.AdapterError> => header.base === baseKey ? Effect.void
  : Effect.fail(new peft.AdapterError({ at: `adapter ${name}`, key: "base", problem: `it was trained on the checkpoint with key ${header.base}, not on ${baseKey}`, remedy: "give the base it was trained on, or train it again on this one" }))

/** Refuses an adapter that is not what an expert can be: a change of the feed-forward matrices alone, all of one rank and scale. Fails: AdapterError. */
export const requireUniform = (name: string, header: Header): Effect.Effect<void, peft.AdapterError> => header.matrices === undefined ? Effect.void
  : Effect.fail(new peft.AdapterError({ at: `adapter ${name}`, key: "matrices", problem: `it changes ${Object.keys(header.matrices).length} matrices (${Object.keys(header.matrices).slice(0, 4).join(", ")}, …), not each layer's gate, up and down with one rank`, remedy: "fold it into its base with Adapter.apply, or train one on the feed-forwards alone" }))

/**
 * The base's weights with the adapter in them: W + scale · b·a for each matrix it changes, made row by row when read.
 * Fails: dies when a matrix is missing or of another shape.
 */
export const fold = (weights: Weights.Weights, { header, weights: low }: Adapter): Weights.Weights => {
  const changed = matrices(header), shapes = new Map(Model.tensors(header.model).map(({ name, shape }) => [name, shape]))
  for (const name of changed.keys()) {
    const found = weights.infos.get(name)?.shape, shape = shapes.get(name)
    if (shape === undefined || found?.join() !== shape.join()) throw new Error(`Adapter.fold: ${name} must have shape [${shape?.join(", ") ?? "of no tensor of the model"}], got ${found === undefined ? "no such tensor" : `[${found.join(", ")}]`}`)
  }
  const infos = new Map([...weights.infos].map(([name, info]) => [name, changed.has(name) ? { ...info, dtype: "F32" as const } : info]))
  return Weights.make(infos, (name, rows, { shape }) => !changed.has(name) ? weights.read(name, rows) : Effect.gen(function*() {
    const { rank, scale } = changed.get(name)!
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

/**
 * Stage: a peft folder as an adapter of this base, dense or mixture. Options: `at: file("adapters/law")`, `domains`.
 * Fails: AdapterError naming the setting or every key that is not used, before any work.
 */
export const load = Stage.make("adapter/load", {
  version: 1,
  inputs: [Stage.one("base", Checkpoint.Either)],
  options: Schema.Struct({ at: File.File, domains: Schema.Array(Schema.String).pipe(Stage.byDefault([])) }),
  output: Artifact,
  *describe({ base }, { at, domains }) {
    const { header, weights } = yield* open(at.path, { base: base.key, model: base.model, domains }), size = Checkpoint.storedBytes(weights)
    return { header, cost: { bytesRead: size, bytesWritten: size } }
  },
  *run({ base }, { at, domains }, context) {
    return yield* open(at.path, { base: context.keys["base"]!, model: base.model, domains })
  }
})

/** Stage: the base with the adapter folded in, a model of its own of the same form. Fails: AdapterError, before any work, on an adapter of another base. */
export const apply = Stage.make("adapter/apply", {
  version: 1,
  inputs: [Stage.one("base", Checkpoint.Either), Stage.one("adapter", Artifact)],
  options: Schema.Struct({}),
  output: Stage.same,
  *describe({ adapter, base: { key, ...header } }) {
    yield* requireBase("given", adapter, key)
    const names = matrices(adapter), changed = Model.tensors(header.model).reduce((sum, { name, shape }) => names.has(name) ? sum + shape[0]! * shape[1]! : sum, 0)
    const found = { ...header, bytes: Math.round(header.bytes * (1 - changed / header.parameters) + 4 * changed) } // folded matrices are f32
    return { header: found, cost: { bytesRead: header.bytes, bytesWritten: found.bytes } }
  },
  *run({ adapter, base }, _, context) {
    yield* Effect.void
    const step = { stage: "adapter/apply", key: context.key, inputs: context.keys, facts: { domains: [...adapter.header.domains], rank: adapter.header.rank } }
    return Checkpoint.derive(base, { weights: fold(base.weights, adapter), step }) as typeof base // of the form it came in
  }
})
