/**
 * A checkpoint: a model, its weights, its tokenizer and where they come from. Dense or mixture stands in its type.
 *
 * Opening reads headers only. Writing streams tensor by tensor into a folder that appears whole or not at all, in the layout of a Hugging Face
 * family where one can express the model, else in our own.
 */
import { Effect, Schema } from "effect"
import { existsSync } from "node:fs"
import { readdir, readFile } from "node:fs/promises"
import { basename, join } from "node:path"
import * as Artifact from "./Artifact.ts"
import { bindTensors, TensorMismatch } from "./bindTensors.ts"
import { readBlock, withBlockScales } from "./blockScales.ts"
import { configText } from "./configText.ts"
import * as Dtype from "./Dtype.ts"
import * as Family from "./Family.ts"
import * as File from "./File.ts"
import { FolderError } from "./FolderError.ts"
import type { GgufError } from "./GgufHeader.ts"
import { ggufModel } from "./ggufModel.ts"
import { pathsOf as ggufPieces } from "./ggufPieces.ts"
import * as hubCheckpoint from "./hubCheckpoint.ts"
import * as Key from "./Key.ts"
import { commitOf, neither } from "./hubFetch.ts"
import { licenceOf } from "./licenceOf.ts"
import * as Model from "./Model.ts"
import { modelCard } from "./modelCard.ts"
import { type Pack, pack, packsOf } from "./packedTensors.ts"
import { readConfigFile } from "./readConfigFile.ts"
import * as Safetensors from "./Safetensors.ts"
import * as Stage from "./Stage.ts"
import * as Tokenizer from "./Tokenizer.ts"
import * as Weights from "./Weights.ts"

export { TensorMismatch } from "./bindTensors.ts"
export { FolderError } from "./FolderError.ts"

export type Form = "dense" | "mixture"
export type Dense = "dense"
export type Mixture = "mixture"

/** What a plan knows of a checkpoint before it exists. `tokenizer`: the tokenizer's hash. Units: `parameters` weights, `bytes` of the tensors as they are stored. */
export interface Header<out F extends Form> {
  readonly form: F
  readonly model: Model.Model
  readonly tokenizer: string
  readonly parameters: number
  readonly bytes: number
}

/** The header of a checkpoint to be; `bytes` is what its tensors will take, four for each weight unless said otherwise. */
export const headerOf = <M extends Model.Model>(model: M, tokenizer: string, bytes?: number): Header<FormOf<M>> => {
  const parameters = Model.parameters(model)
  return { form: model.feedForward.kind, model, tokenizer, parameters, bytes: bytes ?? 4 * parameters }
}

/** One step of a checkpoint's making: the stage, its key, its inputs' keys, and facts worth telling. */
export const Step = Schema.Struct({
  stage: Schema.String, key: Schema.String, inputs: Schema.Record(Schema.String, Schema.String), facts: Schema.Record(Schema.String, Schema.Json)
})
export type Step = typeof Step.Type

/** `lineage`: the steps that made it, the first one first. `sideFiles`: name → content, carried byte for byte. Weights have canonical names. */
export interface Checkpoint<out F extends Form> {
  readonly kind: "checkpoint"
  readonly header: Header<F>
  readonly model: Model.Model
  readonly weights: Weights.Weights
  readonly tokenizer: Tokenizer.Tokenizer
  readonly lineage: ReadonlyArray<Step>
  readonly sideFiles: Readonly<Record<string, Uint8Array>>
}
export type Any = Checkpoint<Form>

export type CheckpointError =
  | Family.ConfigError | Family.UnknownFamily | TensorMismatch | Tokenizer.TokenizerError | Safetensors.SafetensorsError | Weights.WeightsError | File.FileError | FolderError | GgufError

/** Number of weights, from the header alone. */
export const parameters = (header: Pick<Header<Form>, "model">): number => Model.parameters(header.model)

/** Bytes of the tensors as they are stored. */
export const storedBytes = (weights: Weights.Weights): number =>
  [...weights.infos.values()].reduce((sum, { dtype, shape }) => sum + shape.reduce((product, axis) => product * axis, 1) * Dtype.bits[dtype] / 8, 0)

type FormOf<M extends Model.Model> = M["feedForward"]["kind"]

/** A checkpoint of these parts; of the weights, the model's tensors are taken. Fails: dies when the weights lack a tensor of the model or have another shape, or when the model contradicts itself. */
export const make = <M extends Model.Model>(parts: {
  readonly model: M
  readonly weights: Weights.Weights
  readonly tokenizer: Tokenizer.Tokenizer
  readonly lineage?: ReadonlyArray<Step>
  readonly sideFiles?: Readonly<Record<string, Uint8Array>>
}): Checkpoint<FormOf<M>> => {
  const { model, weights, tokenizer, lineage = [], sideFiles = {} } = parts
  for (const problem of Model.contradictions(model)) throw new Error(`Checkpoint.make: ${problem}`)
  for (const { name, shape } of Model.tensors(model)) {
    const info = weights.infos.get(name)
    if (info === undefined || info.shape.join() !== shape.join()) throw new Error(`Checkpoint.make: ${name}: expected shape [${shape}], got ${info === undefined ? "no such tensor" : `[${info.shape}]`}`)
  }
  if (tokenizer.vocabulary > model.vocabulary) throw new Error(`Checkpoint.make: axis vocabulary: the tokenizer has ${tokenizer.vocabulary}, the model ${model.vocabulary}`)
  const names = new Set(Model.tensors(model).map(({ name }) => name))
  const own = weights.infos.size === names.size ? weights : Weights.select(weights, (name) => names.has(name))
  return { kind: "checkpoint", header: headerOf(model, tokenizer.hash, storedBytes(own)), model, weights: own, tokenizer, lineage, sideFiles }
}

/** A checkpoint made from another by one more step: what is not given stays. Fails: as `make`. */
export const derive: {
  <F extends Form>(base: Checkpoint<F>, change: { readonly weights: Weights.Weights; readonly step: Step; readonly model?: never }): Checkpoint<F>
  <M extends Model.Model>(base: Any, change: { readonly weights: Weights.Weights; readonly step: Step; readonly model: M }): Checkpoint<FormOf<M>>
} = (base: Any, { step, ...change }: { readonly weights: Weights.Weights; readonly step: Step; readonly model?: Model.Model | undefined }): Checkpoint<never> =>
  make({ model: change.model ?? base.model, weights: change.weights, tokenizer: base.tokenizer, sideFiles: base.sideFiles, lineage: [...base.lineage, step] }) as Checkpoint<never>

// ---------------------------------------------------------------- reading
/** Files that are carried when they stand beside a model; code and pickles never are. */
const sideFileNames = ["generation_config.json", "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt"]
const Lineage = Schema.fromJsonString(Schema.Struct({ format: Schema.Literal(1), lineage: Schema.Array(Step) }))
const lineageFile = "lineage.json"
/** Options: `families`, the table of known ones, say `[...Family.families, mine]`; `tokenizer`, instead of the one that stands with the model. */
export interface OpenOptions {
  readonly families?: Family.Table
  readonly tokenizer?: Tokenizer.Tokenizer
}

/** Why a tokenizer does not go with a model, if it does not. */
const unfit = (file: string, tokenizer: Tokenizer.Tokenizer, model: Model.Model): Effect.Effect<void, Tokenizer.TokenizerError> =>
  tokenizer.vocabulary <= model.vocabulary ? Effect.void : Effect.fail(new Tokenizer.TokenizerError({
    file, problem: `it has ${tokenizer.vocabulary} ids, the embedding only ${model.vocabulary} rows`,
    remedy: "use the tokenizer that the model was trained with; fewer ids than rows would be fine"
  }))

/** Opens a GGUF file; its tensors are dequantised when they are read. */
const openGguf = (path: string, options: OpenOptions): Effect.Effect<Any, CheckpointError> =>
  Effect.gen(function*() {
    const parts = yield* ggufModel(path, options)
    yield* unfit(path, parts.tokenizer, parts.model)
    return make(parts)
  })

/**
 * Opens a folder in the layout of a known family or in our own, or a file `….gguf`; reads headers only. Options: see OpenOptions.
 * Fails: CheckpointError naming the file and what is wrong with it.
 */
export const open = (folder: string, options: OpenOptions = {}): Effect.Effect<Any, CheckpointError> => folder.endsWith(".gguf") ? openGguf(folder, options) : openFolder(folder, options)

/** The tensors without those of layers for further tokens, and what is left out, in words. */
const withoutFurther = (layout: Family.Family | undefined, config: Parameters<typeof Family.further>[1], model: Model.Model, weights: Weights.Weights): { readonly kept: Weights.Weights; readonly leftOut: ReadonlyArray<string> } => {
  const begins = layout === undefined ? [] : Family.further(layout, config, model), names = [...weights.infos.keys()]
  const leftOut = begins.flatMap((begin) => { const count = names.filter((name) => name.startsWith(begin)).length; return count === 0 ? [] : [`${begin}* (${count} tensors, a layer that predicts further tokens)`] })
  return { kept: leftOut.length === 0 ? weights : Weights.select(weights, (name) => !begins.some((begin) => name.startsWith(begin))), leftOut }
}

/** Folders whose unknown keys have been named: a pipeline opens a folder more than once. */
const told = new Set<string>()
const tellCarried = (file: string, layout: Family.Family | undefined, model: Model.Model): Effect.Effect<void> => Effect.suspend(() => {
  const unknown = layout === undefined ? [] : Family.carried(layout, model), message = `${file}: carried, not understood: ${unknown.map(({ key, nearest }) => `${key} (the nearest known key is ${nearest})`).join(", ")}`
  if (unknown.length === 0 || told.has(message)) return Effect.void
  told.add(message)
  return Effect.logWarning(message)
})

const openFolder = (folder: string, { families = Family.families, tokenizer: given }: OpenOptions): Effect.Effect<Any, CheckpointError> =>
  Effect.gen(function*() {
    const file = join(folder, "config.json"), { block, rest: config } = yield* Effect.fromResult(readBlock(file, yield* readConfigFile(file)))
    const model = yield* Family.readConfig(file, config, families)
    const layout = config["model_type"] === Family.own ? undefined : Family.find(model.family, families)
    yield* tellCarried(file, layout, model)
    const found = yield* Weights.fromFolder(folder), whole = block === undefined ? found : yield* withBlockScales(found, block)
    const { kept, leftOut } = withoutFurther(layout, config, model, whole)
    if (leftOut.length > 0) yield* Effect.logWarning(`${folder}: left out: ${leftOut.join("; ")}`)
    const weights = yield* bindTensors(folder, layout, model, kept)
    const tokenizer = given ?? (yield* Tokenizer.fromFolder(folder))
    yield* unfit(join(folder, "tokenizer.json"), tokenizer, model)
    const present = yield* File.attempt("read", folder, () => readdir(folder))
    const sideFiles: Record<string, Uint8Array> = {}
    for (const name of sideFileNames) if (present.includes(name)) sideFiles[name] = yield* File.attempt("read", join(folder, name), async () => new Uint8Array(await readFile(join(folder, name))))
    const lineage = present.includes(lineageFile)
      ? yield* File.read(join(folder, lineageFile)).pipe(
        Effect.flatMap((text) => Schema.decodeUnknownEffect(Lineage)(text)),
        Effect.catchTag("SchemaError", (error) => Effect.fail(new Family.ConfigError({ file: join(folder, lineageFile), key: "lineage", problem: error.message.replaceAll("\n", " "), remedy: "remove the file, or write the folder again" })))
      )
      : { lineage: [] }
    const step: ReadonlyArray<Step> = leftOut.length === 0 ? [] : [{ stage: "checkpoint/open", key: Key.of({ leftOut }), inputs: {}, facts: { leftOut } }]
    return make({ model, weights, tokenizer, lineage: [...lineage.lineage, ...step], sideFiles })
  })

const requireForm = <F extends Form>(folder: string, form: F, checkpoint: Any): Effect.Effect<Checkpoint<F>, FolderError> =>
  Effect.as(hubCheckpoint.requireForm("Checkpoint", folder, form, checkpoint.header), checkpoint as Checkpoint<F>)

// ---------------------------------------------------------------- writing
/** dtype: of every tensor but routers' corrections, which stay in F32 where they are, as transformers keeps them: they move by thousandths; left out, each keeps its own (8-bit floats in our own layout; in a family's they become BF16, which holds them exactly). family: the layout; left out, the first that can express the model; families: the table of known ones. Units: shardBytes, bytes per file (5e9). */
export interface WriteOptions {
  readonly dtype?: Dtype.Wide
  readonly family?: string
  readonly families?: Family.Table
  readonly shardBytes?: number
}
export type WriteError = Family.CannotExpress | Family.UnknownFamily | File.FileError | FolderError | Safetensors.SafetensorsError | Weights.WeightsError

/** Writes the files of a checkpoint into an existing, empty folder. */
const writeInto = (checkpoint: Any, folder: string, { dtype, families = Family.families, family: asked, shardBytes }: WriteOptions): Effect.Effect<void, Exclude<WriteError, FolderError>> =>
  Effect.gen(function*() {
    const { model, weights, tokenizer, lineage, sideFiles } = checkpoint
    const layout = yield* Family.choose(model, asked, families), family = Family.find(layout, families)
    const canonical = new Map<string, string>(), packs = family === undefined ? new Map<string, Pack>() : packsOf(family, model)
    const dtypeOf = (name: string) => {
      const stored = weights.infos.get(name)!.dtype
      if (stored === "F32" && name.endsWith(".router.correction")) return stored
      return dtype ?? (Dtype.isEight(stored) ? family === undefined ? stored : "BF16" as const : Dtype.isFloat(stored) ? stored : "F32" as const)
    }
    const planned = Model.tensors(model).filter(({ name }) => family === undefined || Family.packedIn(family, name) === undefined).map(({ name, shape }) => {
      const inFile = family === undefined ? name : Family.toFile(family, name)!
      canonical.set(inFile, name)
      return { name: inFile, shape, dtype: dtypeOf(name) }
    })
    const packed = [...packs.values()].map(({ file, members, shape }) => {
      // one that is wider than the others, as an adapter leaves it, keeps its bits
      const [first, ...others] = new Set(members.map(({ name }) => dtypeOf(name)))
      return { name: file, shape, dtype: others.length === 0 ? first! : "F32" as const }
    })
    yield* Safetensors.writeFolder(folder, [...planned, ...packed], (name) => canonical.has(name) ? weights.read(canonical.get(name)!) : pack(weights, packs.get(name)!), shardBytes === undefined ? {} : { shardBytes })
    const config = Family.writeConfig(layout, model, Dtype.isEight(planned[0]!.dtype) ? "BF16" : planned[0]!.dtype, families)
    yield* layout === Family.own ? File.writeJson(join(folder, "config.json"), config) : File.write(join(folder, "config.json"), configText(config))
    yield* File.writeJson(join(folder, lineageFile), { format: 1, lineage })
    for (const [name, content] of [...Object.entries(tokenizer.files), ...Object.entries(sideFiles)]) yield* File.write(join(folder, name), content)
    yield* File.write(join(folder, "README.md"), modelCard(layout, model, lineage))
  })

/**
 * Writes a checkpoint into a folder that appears whole or not at all: weights, config.json, tokenizer and side files, lineage, model card.
 * An earlier checkpoint in its place is replaced. Fails: WriteError: CannotExpress names what the asked family cannot hold; FolderError when the folder holds something else.
 */
export const write = (checkpoint: Any, folder: string, options: WriteOptions = {}): Effect.Effect<void, WriteError> =>
  Effect.gen(function*() {
    yield* Family.choose(checkpoint.model, options.family, options.families)
    const before = yield* File.attempt("read", folder, () => readdir(folder).catch((error: NodeJS.ErrnoException): Array<string> => { if (error.code === "ENOENT") return []; throw error }))
    if (before.length > 0 && !before.includes("config.json")) return yield* new FolderError({ folder, problem: "it holds something other than a model, which writing would remove", remedy: "choose a folder that is new or empty, or holds a model" })
    yield* File.writeFolder(folder, (temporary) => writeInto(checkpoint, temporary, options))
  })

// ---------------------------------------------------------------- in pipelines
const artifact = <F extends Form>(form: F): Artifact.Artifact<Checkpoint<F>> => Artifact.make<Checkpoint<F>>(`checkpoint (${form})`, {
  save: (checkpoint, directory) => writeInto(checkpoint, directory, { family: Family.own }),
  load: (directory) => Effect.flatMap(open(directory), (checkpoint) => requireForm(directory, form, checkpoint))
})

/** Checkpoints as results of stages, kept in our own layout with every tensor in the dtype it came in. */
export const Dense = artifact("dense")
export const Mixture = artifact("mixture")
/** As an input: a checkpoint of either form. */
export const Either = Artifact.anyOf(Dense, Mixture)

/** A model's name: `file("models/seed")`, or a text that is a path where there is one, else `org/name@revision` on the Hub. */
const Name = Schema.Union([File.File, Schema.String])
const isHere = (at: typeof Name.Type): boolean => typeof at !== "string" || existsSync(at)
const onHub = (at: string) => {
  const [id, revision = "main"] = at.split(/@(.*)/s) as [string, string?]
  return { id, revision }
}
const counted = (path: string): File.File | ReadonlyArray<File.File> => {
  const pieces = path.endsWith(".gguf") ? ggufPieces(path).filter((piece) => existsSync(piece)) : []
  return pieces.length > 1 ? pieces.map((piece) => File.file(piece)) : File.file(path)
}
const reader: hubCheckpoint.Reader = { calls: "Checkpoint", open, headerOf }

const loader = <F extends Form>(name: string, form: F, output: Artifact.Artifact<Checkpoint<F>>) => {
  const folderOf = (at: typeof Name.Type) => typeof at === "string" ? at : at.path
  const openHere = (at: typeof Name.Type) => Effect.flatMap(open(folderOf(at)), (found) => requireForm(folderOf(at), form, found))
  return Stage.make(name, {
    version: 1,
    inputs: [],
    options: Schema.Struct({ at: Name }),
    output,
    // a path counts by what lies there, all pieces of a split file too; an id by its name and its commit
    counted: ({ at }) => isHere(at) ? { at: counted(folderOf(at)) } : { at },
    outside: ({ at }) => {
      if (typeof at !== "string" || isHere(at)) return Effect.succeed({})
      const { id, revision } = onHub(at)
      return Effect.mapBoth(commitOf(id, revision), { onFailure: neither, onSuccess: (commit) => ({ [`${id}@${revision}`]: commit }) })
    },
    *describe(_, { at }) {
      if (typeof at === "string" && !isHere(at)) {
        const { id, revision } = onHub(at), header = yield* hubCheckpoint.header(reader, id, revision, form)
        return { header, cost: { bytesRead: header.bytes, bytesWritten: header.bytes } }
      }
      const checkpoint = yield* openHere(at), bytes = storedBytes(checkpoint.weights)
      return { header: checkpoint.header, cost: { bytesRead: bytes, bytesWritten: bytes } }
    },
    *run(_, { at }, context) {
      const step = (checkpoint: Checkpoint<F>, facts: Readonly<Record<string, string>>): Checkpoint<F> =>
        ({ ...checkpoint, lineage: [...checkpoint.lineage, { stage: name, key: context.key, inputs: {}, facts: { ...facts, family: checkpoint.model.family } }] })
      if (typeof at === "string" && !isHere(at)) {
        const { id, revision } = onHub(at), { checkpoint, commit, folder } = yield* hubCheckpoint.bring(reader, id, revision, form, context)
        return step(checkpoint, { id, revision, commit, ...yield* licenceOf(folder) })
      }
      return step(yield* openHere(at), { folder: basename(folderOf(at)), ...yield* licenceOf(folderOf(at)) })
    }
  })
}

/**
 * A dense model as a node. Options: `at`: `file("models/seed")`, or a name: a folder, a `.gguf` file, or `org/name@revision` of the Hub (docs/hub.md), whose key has
 * the commit beside the name. Fails: CheckpointError and HubError, before any work.
 */
export const load = loader("checkpoint/load", "dense", Dense)
/** A mixture as a node. Options and failures as `load`. */
export const loadMixture = loader("checkpoint/loadMixture", "mixture", Mixture)
