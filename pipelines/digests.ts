/**
 * What every stage makes of a tiny input, summed up: a stage whose numbers change without its version would let kept results pass for new ones.
 *
 * Each stage runs by itself on given inputs, on the plain device (typed arrays, no SIMD), so that the one that changed is the one that is named.
 * Words and whole numbers are hashed; of other numbers the norm and three random projections are kept, compared within 1e-4 of the norm, so that
 * another processor's last bits do not count. These are no oracles: they only notice a change.
 *
 *     npm run pipeline -- pipelines/digests.ts        writes digests.json again; refuses where an output changed and its version did not
 */
import { Checkpoint, Corpus, Digest, Export, file, Key, Model, Random, type Stage, Table, Tables, Tokenizer, Weights } from "@switchyard/core"
import * as core from "@switchyard/core"
import * as evaluation from "@switchyard/eval"
import { Evaluate, Patches, Positions, Report, Scores, Task, Theory } from "@switchyard/eval"
import { Device } from "@switchyard/gpu"
import * as merging from "@switchyard/merge"
import { Compress, Merge, Upcycle } from "@switchyard/merge"
import * as routing from "@switchyard/routing"
import { Adapter, Arrow, Balance, Finetune, Generation, MixLora, Newborn, Ngram, Phatgoose, Prototypes, Router, Trace } from "@switchyard/routing"
import { Effect, Schema } from "effect"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

/** One output: a hash of what is exact; `numbers`: how many there are, their norm, three projections. */
export interface Summary { readonly exact: string; readonly numbers: ReadonlyArray<number> }
export interface StageDigest { readonly version: number; readonly outputs: Readonly<Record<string, Summary>> }
export type Digests = Readonly<Record<string, StageDigest>>

export const path = fileURLToPath(new URL("./digests.json", import.meta.url))
export const committed = (): Digests => JSON.parse(readFileSync(path, "utf8")) as Digests

// ---- the given inputs
const sizes = { family: "llama", vocabulary: Tokenizer.bytes().vocabulary, hidden: 16, layers: 2, heads: 2, keyValueHeads: 1, headSize: 8, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, extra: {} } as const
const dense: Model.Dense = { kind: "dense", inner: 24 }
const random = (name: string, shapes: ReadonlyArray<Model.TensorShape>): Weights.Weights => Weights.fromMemory(new Map(shapes.map(({ name: tensor, shape }) =>
  [tensor, { shape, data: Random.fillNormal(Random.make(1, `${name}/${tensor}`), new Float32Array(shape.reduce((a, b) => a * b, 1)), { mean: tensor.endsWith("norm") ? 1 : 0, deviation: 0.2 }) }] as const)))
const checkpoint = <M extends Model.Model>(name: string, model: M) => Checkpoint.make({
  model, weights: random(name, Model.tensors(model)), tokenizer: Tokenizer.bytes(), lineage: [{ stage: "given", key: name, inputs: {}, facts: { experts: ["sea", "law"] } }]
})
const denseModel = { ...sizes, feedForward: dense }
const mixtureModel = (expert: Model.Mixture["expert"], router: Router.Router, experts: number) => ({
  ...sizes, feedForward: { kind: "mixture" as const, inner: 24, experts, active: Router.active(router, experts), expert, router: router as never, routerTensors: Router.tensors(router, { experts, hidden: sizes.hidden }) }
})
const adapter = (name: string): Adapter.Adapter => ({ kind: "adapter", header: { base: "base", rank: 2, scale: 2, domains: [name], model: denseModel }, weights: random(name, Adapter.tensors(denseModel, 2)) })
const corpus = (domain: string, text: string): Corpus.Corpus => ({
  kind: "corpus", header: { domain }, domain, documents: (["train", "choose", "report"] as const).flatMap((split) => [1, 2].map((n) => ({ id: `${split} ${n}`, split, text: `${split} ${n}: ${text.repeat(8)}` })))
})

// ---- summing up
/** What differs between two runs of the same: times, machines, names of folders. */
const passing = new Set(["tokensPerSecond", "device", "key", "base", "inputs", "facts"])

interface Parts { readonly exact: Array<unknown>; readonly numbers: Array<ArrayLike<number>> }
const walk = (value: unknown, place: string, into: Parts): void => {
  if (typeof value === "number") { if (Number.isInteger(value)) into.exact.push([place, value]); else into.numbers.push([value]) }
  else if (typeof value !== "object" || value === null) into.exact.push([place, value ?? null])
  else for (const name of Object.keys(value).sort()) if (!passing.has(name)) walk((value as Readonly<Record<string, unknown>>)[name], `${place}.${name}`, into)
}
const weightsInto = (weights: Weights.Weights, into: Parts) => Effect.forEach([...weights.infos.keys()].sort(), (name) => Effect.map(weights.read(name), (values) => {
  into.exact.push([name, weights.infos.get(name)])
  into.numbers.push(values)
}), { discard: true })
const tableInto = (table: Table.Table, into: Parts): void => {
  for (const row of Table.rows(table) as ReadonlyArray<Readonly<Record<string, unknown>>>) walk(row, "row", into)
}

const summary = (value: unknown) => Effect.gen(function*() {
  const into: Parts = { exact: [], numbers: [] }, { kind } = value as { readonly kind?: string }
  if (kind === "checkpoint") {
    const { header, lineage, model, sideFiles: _files, tokenizer, weights } = value as Checkpoint.Any
    walk({ form: header.form, model, tokenizer: tokenizer.hash, made: lineage.map(({ stage }) => stage) }, "checkpoint", into)
    yield* weightsInto(weights, into)
  } else if (kind === "adapter") {
    walk((value as Adapter.Adapter).header, "adapter", into)
    yield* weightsInto((value as Adapter.Adapter).weights, into)
  } else if (kind === "corpus") walk({ documents: (value as Corpus.Corpus).documents }, "corpus", into)
  else if (kind === "report") walk(Report.toJson(value as Report.Report), "report", into)
  else if (typeof value === "object" && value !== null && "arrow" in value) tableInto(value as Table.Table, into)
  else walk(value, "value", into)
  let count = 0, squares = 0
  const projections = [0, 0, 0], chance = Random.make(0, "digest")
  for (const values of into.numbers) for (let at = 0; at < values.length; at++) {
    const x = values[at]!, signs = Random.unsigned(chance, count++)
    squares += x * x
    for (const bit of [0, 1, 2]) projections[bit] = projections[bit]! + (signs >>> bit & 1 ? x : -x)
  }
  return { exact: Key.digest(into.exact as never).slice(0, 16), numbers: [count, ...[Math.sqrt(squares), ...projections].map((x) => Number(x.toPrecision(7)))] } satisfies Summary
})

// ---- every stage
interface Given { readonly stage: Stage.Any; readonly inputs: Readonly<Record<string, unknown>>; readonly options?: Readonly<Record<string, unknown>>; readonly keys?: Readonly<Record<string, string>> }

const given = (folder: string): ReadonlyArray<Given> => {
  const seed = checkpoint("seed", denseModel), other = checkpoint("other", denseModel), texts = { sea: corpus("sea", "Call me Ishmael. "), law: corpus("law", "Permission is hereby granted. ") }
  const linear = Router.topK({ active: 2 }), full = checkpoint("full", mixtureModel({ kind: "full" }, linear, 3)), low = checkpoint("low", mixtureModel({ kind: "lowRank", rank: 2, scale: 2 }, linear, 3))
  const nearest = checkpoint("nearest", mixtureModel({ kind: "full" }, Router.prototypes({ unit: { of: "prefix", pool: "mean" }, metric: "whitened", active: 1 }), 2))
  const named = (name: string, router: Router.Router) => checkpoint(name, mixtureModel({ kind: "full" }, router, 2)), whitened = named("whitened", Router.prefixMlp({ active: 1, inner: 3, normalize: "whitened" }))
  const rows = Array.from({ length: 60 }, (_, at) => at), adapters = { sea: adapter("sea"), law: adapter("law") }
  const trace = Table.make(Tables.Trace, {
    run: rows.map(() => "given"), domain: rows.map((at) => at % 3 === 0 ? "sea" : "law"), document: rows.map(() => 0), position: rows.map((at) => at >> 2), token: rows.map((at) => at),
    layer: rows.map((at) => (at >> 1) & 1), rank: rows.map((at) => at & 1), expert: rows.map((at) => (at * at + (at & 1)) % 3), weight: rows.map((at) => (at & 1 ? 1 : 3) / 4), logit: rows.map((at) => at / 60), dropped: rows.map(() => false)
  })
  const training = { steps: 3, batch: 2, tokens: 16, learningRate: 0.01, warmup: 1 }
  const scores = (shift: number) => Scores.fromDocuments(["sea", "law"].flatMap((domain) => [1, 2, 3].map((n) => ({ domain, document: `${domain} ${n}`, tokens: 10 * n, bytes: 11 * n, logLikelihood: -20 * n - shift * (n + domain.length) }))))
  const facts = (parameters: number) => ({ form: "dense", parameters, activeParameters: parameters, experts: 1, active: 1, flopsPerToken: 2 * parameters, tokens: 120, device: "given", key: "given", made: ["given"] })
  const log = Table.make(Tables.TrainLog, { step: [1, 2], tokens: [32, 64], loss: [5.5, 4.5], gradientNorm: [1, 0.5], learningRate: [0.1, 0.2], tokensPerSecond: [1, 1] })
  const text = join(folder, "text"), task = Task.bitsPerByte({ tokens: 32 })
  writeFileSync(text, Array.from({ length: 40 }, (_, at) => `Paragraph ${at}. ${"It was a damp, drizzly November in the soul. ".repeat(1 + at % 5)}`.replaceAll("a", String.fromCodePoint(97 + at % 26))).join("\n\n"))
  return [
    { stage: Corpus.load, inputs: {}, options: { at: file(text), domain: "sea", documentBytes: 300 } },
    { stage: Checkpoint.load, inputs: {}, options: { at: file(join(folder, "dense")) } }, { stage: Checkpoint.loadMixture, inputs: {}, options: { at: file(join(folder, "mixture")) } },
    { stage: Newborn.dense, inputs: {}, options: { hidden: 16, layers: 2, heads: 2, inner: 24, contextLength: 64 } },
    { stage: Finetune.lora, inputs: { seed, texts }, options: { rank: 2, ...training }, keys: { seed: "base" } },
    { stage: Finetune.train, inputs: { checkpoint: full, texts }, options: { trainable: "all", balance: [Balance.switchLoss({ weight: 0.01 }), Balance.zLoss({ weight: 0.001 })], supervise: { weight: 0.5, labels: { sea: 0, law: 2 } }, ...training } },
    { stage: Prototypes.fit, inputs: { mixture: nearest, texts }, options: { tokens: 64, batch: 2, labels: { sea: 0, law: 1 } } },
    { stage: Prototypes.embed, inputs: { mixture: named("generated", Router.nexus({ active: 1, embedding: sizes.hidden, inner: 3 })), texts }, options: { tokens: 64, batch: 2, labels: { sea: 0, law: 1 } } },
    { stage: Arrow.fit, inputs: { mixture: named("arrow", Router.arrow({ active: 1 })) } },
    { stage: Phatgoose.fit, inputs: { mixture: named("phatgoose", Router.phatgoose({ active: 1 })), texts }, options: { ...training, labels: { sea: 0, law: 1 } } },
    { stage: Ngram.fit, inputs: { mixture: named("ngram", Router.ngram({ active: 1, orders: 2, buckets: 16 })), texts }, options: { tokens: 64, window: 16, labels: { sea: 0, law: 1 } } },
    { stage: Prototypes.standardize, inputs: { mixture: whitened, texts }, options: { tokens: 64, batch: 2, labels: { sea: 0, law: 1 } } },
    { stage: Generation.answers, inputs: { model: low }, options: { prompts: ["a damp", "November"], maximum: 6, temperature: 1 } },
    { stage: Adapter.load, inputs: { base: seed }, options: { at: file(join(folder, "adapter")) }, keys: { base: "base" } },
    { stage: MixLora.load, inputs: { base: checkpoint("four", { ...denseModel, heads: 4, keyValueHeads: 2, headSize: 4 }) }, options: { at: file(fileURLToPath(new URL("../packages/routing/src/fixtures/mixlora", import.meta.url))) } },
    { stage: Adapter.apply, inputs: { base: seed, adapter: adapters.sea } },
    { stage: Upcycle.fromDense, inputs: { base: seed }, options: { experts: 2, router: linear } },
    { stage: Upcycle.fromModels, inputs: { models: { seed, other } }, options: { router: linear } },
    { stage: Upcycle.fromAdapters, inputs: { base: seed, adapters }, options: { router: Router.prefix({ active: 2, weight: "renorm" }) } },
    { stage: Merge.models, inputs: { models: { seed, other } }, options: { recipe: Merge.linear(), weights: { seed: 3 } } },
    { stage: Compress.dropExperts, inputs: { mixture: full, trace }, options: { keep: 2 } }, { stage: Compress.mergeExperts, inputs: { mixture: full, trace }, options: { keep: 2 } },
    { stage: Compress.fold, inputs: { mixture: low } }, { stage: Compress.lowRank, inputs: { mixture: full }, options: { rank: 3 } },
    { stage: Trace.capture, inputs: { mixture: full, texts }, options: { split: "choose", tokens: 64, batch: 2 } },
    { stage: Export.dense, inputs: { model: seed }, options: { dtype: "BF16" } }, { stage: Export.mixture, inputs: { model: full }, options: { family: "mixtral" } },
    { stage: Evaluate.score, inputs: { model: full, texts }, options: { task } },
    { stage: Positions.positions, inputs: { model: full, texts }, options: { task, labels: { sea: 0, law: 2 } } },
    { stage: Theory.train, inputs: {}, options: { setting: "S1", form: "mixture", activation: "cubic", gate: "softmax", experts: 3, filters: 2, seed: 0, examples: 40, steps: 4 } },
    { stage: Patches.train, inputs: {}, options: { method: "joint", patches: 6, samples: 10, seed: 0, seeds: 2, kept: 2, experts: 2, filters: 2, epochs: 3, tests: 20 } },
    { stage: Evaluate.report, inputs: { scores: { a: scores(0), b: scores(1) }, facts: { a: facts(10), b: facts(20) }, logs: { a: log }, trace }, options: { title: "Given", task, baselines: ["a"], oracle: { sea: "a", law: "b" } } }
  ]
}

const ran = ({ inputs, keys = {}, options = {}, stage }: Given, directory: string) => Effect.gen(function*() {
  const { definition } = stage
  mkdirSync(directory, { recursive: true })
  const context = {
    key: "given", keys, seed: 7, directory, resume: { last: undefined, save: () => Effect.void },
    progress: () => Effect.void, metric: () => Effect.void, actual: () => Effect.void
  }
  const result: unknown = yield* definition.run(inputs, Schema.decodeUnknownSync(definition.options)(options), context)
  const sides = Object.keys(definition.sides), ports = sides.length === 0 ? { main: result } : result as Readonly<Record<string, unknown>>
  const outputs: Record<string, Summary> = {}
  for (const port of ["main", ...sides]) outputs[port] = yield* summary(ports[port])
  // what a stage streams into its folder itself, less what tells of the run; weights have been read from there already
  const files = (yield* Digest.folder(directory)).filter(({ path }) => !/(README\.md|lineage\.json)$/.test(path))
    .map(({ bytes, path, sha256 }) => ({ path, bytes, ...path.endsWith(".safetensors") ? {} : { sha256 } }))
  if (files.length > 0) outputs["files"] = { exact: Key.digest(files as never).slice(0, 16), numbers: [files.length, 0, 0, 0, 0] }
  return { version: definition.version, outputs } satisfies StageDigest
})

/** The digests of all stages as they are now. */
export const digests = (): Promise<Digests> => {
  const folder = mkdtempSync(join(tmpdir(), "switchyard-digests-"))
  return Effect.runPromise(Effect.gen(function*() {
    yield* Checkpoint.write(checkpoint("stored", denseModel), join(folder, "dense"), { dtype: "BF16" })
    yield* Checkpoint.write(checkpoint("stored", mixtureModel({ kind: "full" }, Router.topK({ active: 2 }), 2)), join(folder, "mixture"))
    yield* Adapter.write(adapter("sea"), join(folder, "adapter"))
    const found: Record<string, StageDigest> = {}
    for (const one of given(folder)) found[one.stage.definition.name] = yield* Effect.scoped(ran(one, join(folder, "made", one.stage.definition.name))) as Effect.Effect<StageDigest>
    return found
  }).pipe(Effect.provide(Device.plain()), Effect.ensuring(Effect.sync(() => rmSync(folder, { recursive: true, force: true })))) as Effect.Effect<Digests>)
}

/** Every stage that the packages export, by name. */
export const stages = (): ReadonlyArray<string> => [core, routing, merging, evaluation].flatMap((library) => Object.values(library)).flatMap((namespace) => Object.values(namespace as object))
  .filter((value): value is Stage.Any => typeof value === "function" && "definition" in value).map(({ definition }) => definition.name)

/** What is not as it was committed, one line per output; `undefined` digests are missing ones. */
export const differences = (now: Digests, before: Digests): ReadonlyArray<{ readonly stage: string; readonly versions: readonly [before: number | undefined, now: number | undefined]; readonly what: string }> =>
  [...new Set([...Object.keys(now), ...Object.keys(before)])].sort().flatMap((stage) => {
    const [a, b] = [before[stage], now[stage]], versions = [a?.version, b?.version] as const
    if (a === undefined || b === undefined) return [{ stage, versions, what: a === undefined ? "is new" : "is gone" }]
    const changed = [...new Set([...Object.keys(a.outputs), ...Object.keys(b.outputs)])].filter((port) => !same(a.outputs[port], b.outputs[port]))
    return changed.length > 0 || a.version !== b.version ? [{ stage, versions, what: changed.length > 0 ? `gives another ${changed.join(", ")}` : "gives the same" }] : []
  })
const same = (a: Summary | undefined, b: Summary | undefined): boolean => a !== undefined && b !== undefined && a.exact === b.exact && a.numbers[0] === b.numbers[0]
  && a.numbers.slice(1).every((value, at) => Math.abs(value - b.numbers[at + 1]!) <= 1e-4 * a.numbers[1]!)

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const now = await digests()
  let before: Digests = {}
  try { before = committed() } catch { /* the first time there is none */ }
  const forgotten = differences(now, before).filter(({ versions, what }) => what.startsWith("gives another") && versions[0] === versions[1])
  for (const { stage, versions, what } of forgotten) console.error(`${stage} ${what} under version ${versions[0]}: raise its version first`)
  if (forgotten.length > 0) process.exitCode = 1
  else writeFileSync(path, `{\n${Object.entries(now).map(([stage, digest]) => `  ${JSON.stringify(stage)}: ${JSON.stringify(digest)}`).join(",\n")}\n}\n`)
}
