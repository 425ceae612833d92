/**
 * A corpus: the documents of one domain, split into train, choose and report so that no near-duplicate stands on two sides.
 *
 * Text is full of copies. Of a licence collection cut at random, half of the held-out text stands verbatim in the rest, and a model is then
 * praised for its memory. So documents that share more than 5 % of their 12-word shingles form clusters, whole clusters go to one side, and
 * what overlap remains between held-out and train text is measured, kept in the header, and refused above 1 % unless allowed.
 *
 * The split depends on the text and the `seed` option alone, not on a pipeline's seed and not on `minimumAscii` or `maximumBytes`: what one
 * run held out, no other run trained on.
 */
import { Effect, Schema } from "effect"
import { statSync } from "node:fs"
import { stat } from "node:fs/promises"
import { join } from "node:path"
import { type Artifact, make as makeArtifact } from "./Artifact.ts"
import { assignSplits } from "./assignSplits.ts"
import { CorpusError } from "./CorpusError.ts"
import * as File from "./File.ts"
import { firstBytes } from "./firstBytes.ts"
import { clusters, shingles, shingleSet, type ShingleSet } from "./nearDuplicates.ts"
import * as Random from "./Random.ts"
import { readDocuments, tableSize, usualBytes } from "./readDocuments.ts"
import * as Stage from "./Stage.ts"

export { batches, type Batch, type Batches, type Corpora, type Encoder } from "./corpusBatches.ts"
export { countWindows, windows, type Window } from "./corpusWindows.ts"
export { CorpusError } from "./CorpusError.ts"

/** What a document is for: to train on, to choose between methods with, to report with. */
export type Split = "train" | "choose" | "report"
export const splits: ReadonlyArray<Split> = ["train", "choose", "report"]

export interface Document { readonly id: string; readonly text: string; readonly split: Split }
/** What is known of a corpus without its text. A plan, made before the text is read, knows `domain`, an upper bound of `bytes`, and of one text that is cut into documents about what each split has. Units: bytes of UTF-8; overlap from 0 to 1. */
export interface Header {
  readonly domain: string
  readonly bytes?: number
  readonly documents?: number
  readonly clusters?: number
  /** Part of all bytes that stands in the largest cluster. */
  readonly largestCluster?: number
  readonly splits?: Readonly<Record<Split, { readonly documents: number; readonly bytes: number }>>
  /** Part of the held-out text's 12-word shingles that stand in the train text too. */
  readonly overlap?: { readonly choose: number; readonly report: number }
}
export interface Corpus {
  readonly kind: "corpus"
  readonly header: Header
  readonly domain: string
  readonly documents: ReadonlyArray<Document>
}

const bytesOf = (documents: ReadonlyArray<{ readonly text: string }>): number => documents.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0)

export interface MakeOptions {
  readonly domain: string
  /** Keep near-duplicates together (default). Without it documents are split one by one; the overlap is measured and refused all the same. */
  readonly clusters?: boolean
  /** Two documents are near-duplicates above this part of the shorter one's shingles. Default 0.05. */
  readonly share?: number
  /** Target parts of the bytes, which make up one. Default 0.8, 0.1, 0.1. */
  readonly shares?: Readonly<Record<Split, number>>
  /** Of the split. Default 0. */
  readonly seed?: number
  /** Keep the documents of which at least this part of the bytes is ASCII: text in other scripts, or in other languages than English, falls out. Chosen after the split. */
  readonly minimumAscii?: number
  /** Keep about this much text, in the proportions of `shares`, chosen after the split. */
  readonly maximumBytes?: number
  /** Accept an overlap above 1 %. */
  readonly allowOverlap?: boolean
}

/** A corpus of these documents, split; the documents stand in a seeded random order, so that any beginning of a split is a sample of it. Fails: `CorpusError`. */
export const make = (given: ReadonlyArray<{ readonly id: string; readonly text: string }>, options: MakeOptions): Effect.Effect<Corpus, CorpusError> => Effect.gen(function*() {
  const { domain, share = 0.05, shares = { train: 0.8, choose: 0.1, report: 0.1 }, seed = 0, minimumAscii = 0, maximumBytes } = options
  const fail = (reason: CorpusError["reason"], problem: string, remedy: string) => new CorpusError({ reason, domain, problem, remedy })
  if (!isWhole(shares)) throw new Error(`Corpus.make: shares are parts of one, 0 or more each, got ${JSON.stringify(shares)}`)
  const documents = given.filter(({ text }) => text.trim() !== "")
  if (documents.length === 0) return yield* fail("empty", `none of ${given.length} documents has any text`, "Give files with text")
  const hashes = documents.map(({ text }) => shingles(text))
  const cluster = options.clusters === false ? Uint32Array.from(documents.keys()) : clusters(hashes, { share })
  const sizes = new Map<number, number>()
  documents.forEach(({ text }, index) => sizes.set(cluster[index]!, (sizes.get(cluster[index]!) ?? 0) + Buffer.byteLength(text)))
  const order = Random.shuffle(Random.make(seed, `corpus/${domain}`), documents.length)
  const side = assignSplits(sizes, order, shares)
  const trained = shingleSet(hashes.reduce((sum, found) => sum + found.length / 2, 0))
  if (options.clusters !== false) moveOverlapping(side, cluster, hashes, trained, share)
  else hashes.forEach((found, index) => { if (side.get(index) === "train") trained.add(found) })
  const split = Array.from(cluster, (root) => side.get(root)!)
  const of = (name: Split) => hashes.filter((_, index) => split[index] === name)
  const missing = splits.find((name) => shares[name] > 0 && of(name).length === 0)
  if (missing !== undefined) {
    const largest = Math.max(...sizes.values()) / bytesOf(documents)
    return yield* fail("clusters", `nothing is left for ${missing}: ${documents.length} documents form ${sizes.size} clusters of near-duplicates, the largest with ${percent(largest)} of the text`,
      "Give more independent documents, or cut long ones")
  }
  const remaining = { choose: trained.overlap(of("choose")), report: trained.overlap(of("report")) }
  const worst = Math.max(remaining.choose, remaining.report)
  if (worst > overlapLimit && options.allowOverlap !== true) {
    return yield* fail("overlap", `${percent(worst)} of the held-out text's 12-word sequences stand in the train text too (at most 1 % is allowed)`,
      "Split by clusters, lower `share`, or set allowOverlap to accept it")
  }
  const room = (name: Split) => maximumBytes === undefined ? Infinity : Math.round(maximumBytes * shares[name])
  const wanted = splits.flatMap((name) => Array.from(order).filter((index) => split[index] === name && asciiOf(documents[index]!.text) >= minimumAscii).map((index): Document => ({ ...documents[index]!, split: name })))
  const kept = splits.flatMap((name) => atMost(wanted.filter((document) => document.split === name), room(name)))
  const without = (documents: ReadonlyArray<Document>) => splits.find((name) => of(name).length > 0 && !documents.some((document) => document.split === name))
  const foreign = without(wanted), cut = without(kept)
  if (foreign !== undefined) return yield* fail("empty", `none of the ${of(foreign).length} documents of ${foreign} has ${percent(minimumAscii)} of its bytes in ASCII`, "Lower minimumAscii")
  if (cut !== undefined) return yield* fail("empty", `of maximumBytes ${maximumBytes} the part of ${cut} is ${room(cut)} bytes, in which no text of it fits`, "Raise maximumBytes")
  const count = (name: Split) => { const mine = kept.filter((document) => document.split === name); return { documents: mine.length, bytes: bytesOf(mine) } }
  const header: Header = {
    domain, bytes: bytesOf(kept), documents: kept.length, clusters: sizes.size,
    largestCluster: Math.max(...sizes.values()) / bytesOf(documents),
    splits: { train: count("train"), choose: count("choose"), report: count("report") }, overlap: remaining
  }
  return { kind: "corpus", header, domain, documents: kept }
})

/** Whether parts make up a whole. */
const isWhole = (shares: Readonly<Record<Split, number>>): boolean => splits.every((name) => shares[name] >= 0) && Math.abs(splits.reduce((sum, name) => sum + shares[name], 0) - 1) < 1e-6
/** Held-out shingles that may stand in the train text. */
const overlapLimit = 0.01
const percent = (part: number) => `${(100 * part).toFixed(1)} %`

/** Part of a text's bytes that is ASCII, from 0 to 1. */
const asciiOf = (text: string): number => {
  const bytes = Buffer.from(text)
  let ascii = 0
  for (const byte of bytes) if (byte < 128) ascii++
  return ascii / bytes.length
}

/** A held-out cluster may share a little with each of many training documents. One that shares more than `share` with all of them together trains too; `share` is halved until the held-out text as a whole is within the limit. */
const moveOverlapping = (side: Map<number, Split>, cluster: Uint32Array, hashes: ReadonlyArray<Uint32Array>, trained: ShingleSet, share: number): void => {
  const members = new Map<number, Array<Uint32Array>>()
  cluster.forEach((root, index) => members.set(root, [...members.get(root) ?? [], hashes[index]!]))
  const within = (name: Split) => trained.overlap([...side].flatMap(([root, its]) => its === name ? members.get(root)! : [])) <= overlapLimit
  for (const [root, name] of side) if (name === "train") members.get(root)!.forEach(trained.add)
  for (let most = share; most > overlapLimit / 8; most /= 2) {
    for (let moved = true; moved;) {
      moved = false
      for (const [root, name] of side) {
        if (name === "train" || trained.overlap(members.get(root)!) <= most) continue
        side.set(root, "train")
        members.get(root)!.forEach(trained.add)
        moved = true
      }
    }
    if (within("choose") && within("report")) return
  }
}

/** The first documents up to `bytes`, the last one cut. */
const atMost = (documents: ReadonlyArray<Document>, bytes: number): ReadonlyArray<Document> => {
  const kept: Array<Document> = []
  let left = bytes
  for (const document of documents) {
    if (left <= 0) break
    const text = firstBytes(document.text, left)
    if (text.trim() !== "") kept.push({ ...document, text })
    left -= Buffer.byteLength(text)
  }
  return kept
}

/** The documents of one split, in order. */
export const of = (corpus: Corpus, split: Split): ReadonlyArray<Document> => corpus.documents.filter((document) => document.split === split)

/** Kept as `corpus.json` (the header) and `documents.jsonl`. */
const artifact: Artifact<Corpus> = makeArtifact<Corpus>("corpus", {
  save: (corpus, directory) => Effect.andThen(
    File.write(join(directory, "documents.jsonl"), corpus.documents.map((document) => `${JSON.stringify(document)}\n`).join("")),
    File.writeJson(join(directory, "corpus.json"), corpus.header)
  ),
  load: (directory) => Effect.gen(function*() {
    const text = yield* File.read(join(directory, "corpus.json")), lines = (yield* File.read(join(directory, "documents.jsonl"))).split("\n")
    return yield* Effect.try({
      try: (): Corpus => {
        const header = JSON.parse(text) as Header
        return { kind: "corpus", header, domain: header.domain, documents: lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Document) }
      },
      catch: (error) => new CorpusError({ reason: "unreadable", domain: directory, problem: `a file of the kept corpus is damaged (${(error as Error).message})`, remedy: "Make it again" })
    })
  })
})
export { artifact as Artifact }

const isText = (path: string): boolean => !/\.(?:jsonl|parquet)$/.test(path) && statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true

/**
 * Stage: the corpus of a text file, a JSON-lines file (`{ "id", "text" }`), a Parquet file with a column `text`, or a folder of them.
 *
 * Options: as `make`, and `separator` between the documents of a text (else it is cut between paragraphs into about `documentBytes`, default 4096).
 * Fails: `CorpusError`, `FileError`.
 */
export const load = Stage.make("corpus/load", {
  version: 1,
  inputs: [],
  options: Schema.Struct({
    at: File.File,
    domain: Schema.String,
    clusters: Schema.Boolean.pipe(Stage.byDefault(true)),
    share: Schema.Number.check(Schema.isBetween({ minimum: 0, maximum: 1 })).pipe(Stage.byDefault(0.05)),
    shares: Schema.Struct({ train: Schema.Number, choose: Schema.Number, report: Schema.Number }).check(Schema.makeFilter((shares) => isWhole(shares) || "shares are parts of one, 0 or more each")).pipe(Stage.byDefault({ train: 0.8, choose: 0.1, report: 0.1 })),
    seed: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).pipe(Stage.byDefault(0)),
    separator: Schema.optionalKey(Schema.String),
    documentBytes: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThan(0))),
    minimumAscii: Schema.optionalKey(Schema.Number.check(Schema.isBetween({ minimum: 0, maximum: 1 }))),
    maximumBytes: Schema.optionalKey(Schema.Int.check(Schema.isGreaterThan(0))),
    allowOverlap: Schema.Boolean.pipe(Stage.byDefault(false))
  }),
  output: artifact,
  // how a file is read follows from its name: the same bytes as a text and as JSON lines are two corpora
  counted: ({ at, ...options }) => ({ at, ...options, ...isText(at.path) ? { form: "text" } : {} }),
  *describe(_, { at, documentBytes = usualBytes, domain, maximumBytes = Infinity, separator, shares }) {
    const size = yield* File.attempt("read", at.path, async () => { const found = await stat(at.path); return found.isFile() ? found.size : undefined })
    // of a Parquet file the text's own bytes, which the footer tells, and not the file's
    const table = size === undefined || !at.path.endsWith(".parquet") ? undefined : yield* tableSize(at.path, domain)
    const bytes = Math.min((table === undefined ? size : table.text) ?? Infinity, maximumBytes)
    const about = (split: Split) => ({ documents: Math.ceil(shares[split] * bytes / documentBytes), bytes: Math.round(shares[split] * bytes) })
    const isCut = size !== undefined && separator === undefined && isText(at.path)
    return { header: { domain, ...bytes === Infinity ? {} : { bytes }, ...isCut ? { splits: { train: about("train"), choose: about("choose"), report: about("report") } } : {} }, cost: size === undefined ? {} : { bytesRead: table?.read ?? size } }
  },
  *run(_, options, context) {
    const documents = yield* readDocuments(options.at.path, options)
    const corpus = yield* make(documents, options)
    yield* context.metric("overlap.report", corpus.header.overlap?.report ?? 0)
    return corpus
  }
})
