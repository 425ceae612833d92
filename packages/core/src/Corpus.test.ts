import { describe, expect, test } from "@jest/globals"
import { Effect, Exit } from "effect"
import * as fc from "fast-check"
import { mkdirSync, mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Corpus from "./Corpus.ts"
import * as Pipeline from "./Pipeline.ts"
import { readDocuments } from "./readDocuments.ts"
import * as Store from "./Store.ts"

const run = Effect.runPromise
const failure = async <A, E>(effect: Effect.Effect<A, E>): Promise<E> => {
  const exit = await Effect.runPromiseExit(effect)
  if (Exit.isSuccess(exit)) throw new Error("expected a failure")
  const error = Exit.findErrorOption(exit)
  if (error._tag === "None") throw new Error("expected a typed failure")
  return error.value
}
/** Words that no two documents share. */
const document = (index: number, length = 60) => ({ id: `d${index}`, text: Array.from({ length }, (_, word) => `w${index}x${word}`).join(" ") })
const documents = (count: number, length?: number) => Array.from({ length: count }, (_, index) => document(index, length))
/** Bytes, with 256 and 257 as beginning and end. */
const tokenizer = { encode: (text: string) => new TextEncoder().encode(text), bos: 256, eos: 257 }
const shown = (ids: ArrayLike<number>) => Array.from(ids, (id) => id === 256 ? "^" : id === 257 ? "$" : String.fromCharCode(id)).join("")

describe("Corpus.make", () => {
  test("copies of a text never stand on two sides, and the shares are near their targets", async () => {
    const families = Array.from({ length: 60 }, (_, family) => document(family).text)
    const given = Array.from({ length: 180 }, (_, index) => ({ id: `${index % 60}/${index}`, text: `${families[index % 60]} and here number ${index}` }))
    const corpus = await run(Corpus.make(given, { domain: "law" }))
    const sides = new Map<string, Set<string>>()
    for (const { id, split } of corpus.documents) sides.set(id.split("/")[0]!, (sides.get(id.split("/")[0]!) ?? new Set()).add(split))
    expect(corpus.documents.length).toBe(180)
    expect([...sides.values()].every((side) => side.size === 1)).toBe(true)
    expect(corpus.header.clusters).toBe(60)
    expect(corpus.header.overlap).toEqual({ choose: 0, report: 0 })
    const { train, choose, report } = corpus.header.splits!
    expect(train.bytes + choose.bytes + report.bytes).toBe(corpus.header.bytes)
    expect(train.bytes / corpus.header.bytes!).toBeGreaterThan(0.75)
    expect(Math.min(choose.documents, report.documents)).toBeGreaterThan(10)
  })

  test("the same documents cut one by one overlap: a typed error with the figure, unless allowed", async () => {
    const given = Array.from({ length: 60 }, (_, index) => ({ id: String(index), text: `${document(index % 20).text} end ${index}` }))
    const error = await failure(Corpus.make(given, { domain: "law", clusters: false }))
    expect(error.reason).toBe("overlap")
    expect(error.message).toMatch(/^corpus law: \d+\.\d % of the held-out text's 12-word sequences stand in the train text too/)
    const corpus = await run(Corpus.make(given, { domain: "law", clusters: false, allowOverlap: true }))
    // counted again, with strings
    const grams = (split: Corpus.Split) => Corpus.of(corpus, split).flatMap(({ text }) => {
      const words = text.split(" ")
      return Array.from({ length: words.length - 11 }, (_, at) => words.slice(at, at + 12).join(" "))
    })
    const known = new Set(grams("train")), held = grams("report")
    expect(corpus.header.overlap!.report).toBeCloseTo(held.filter((gram) => known.has(gram)).length / held.length, 12)
    expect(corpus.header.overlap!.report).toBeGreaterThan(0.01)
  })

  test("a held-out document made of many small loans from train goes to train", async () => {
    const others = documents(40, 1200)
    // 20 words of each: below 5 % of the lender's and of the borrower's shingles, together most of it
    const borrower = { id: "borrower", text: others.slice(0, 30).map(({ text }) => text.split(" ").slice(0, 20).join(" ")).join(" ") }
    for (const seed of [0, 1, 2, 3, 4, 5, 6, 7]) {
      const corpus = await run(Corpus.make([...others, borrower], { domain: "law", seed }))
      expect(corpus.header.clusters).toBe(41)
      expect(corpus.header.overlap!.report).toBeLessThanOrEqual(0.01)
      expect(corpus.documents.find(({ id }) => id === "borrower")!.split).toBe("train")
    }
  })

  test("the split is the seed's and not the amount's: a smaller corpus holds out what the larger one does", async () => {
    const whole = await run(Corpus.make(documents(100), { domain: "a" }))
    const less = await run(Corpus.make(documents(100), { domain: "a", maximumBytes: 10_000 }))
    const other = await run(Corpus.make(documents(100), { domain: "a", seed: 1 }))
    const side = new Map(whole.documents.map(({ id, split }) => [id, split]))
    expect(less.header.bytes).toBeGreaterThan(9_900)
    expect(less.header.bytes).toBeLessThanOrEqual(10_000)
    expect(less.documents.every(({ id, split }) => side.get(id) === split)).toBe(true)
    expect(less.documents.some(({ split }) => split === "report")).toBe(true)
    expect(other.documents.every(({ id, split }) => side.get(id) === split)).toBe(false)
  })

  test("minimumAscii leaves documents in other scripts out of each split and moves none to another", async () => {
    const given = documents(100).map((document, index) => index % 4 === 0 ? { ...document, text: `${document.text} ${"é".repeat(document.text.length)}` } : document) // two bytes each: a third of theirs is ASCII
    const whole = await run(Corpus.make(given, { domain: "a" })), ascii = await run(Corpus.make(given, { domain: "a", minimumAscii: 0.9 }))
    expect(ascii.documents).toEqual(whole.documents.filter(({ text }) => !text.includes("é")))
    expect(ascii.documents).toHaveLength(75)
    expect(ascii.header.documents).toBe(75)
    expect(ascii.header.bytes).toBe(ascii.documents.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0))
    expect((await run(Corpus.make(given, { domain: "a", minimumAscii: 0.3 }))).documents).toEqual(whole.documents)
    const none = await run(Effect.flip(Corpus.make(given.map((document) => ({ ...document, text: "é".repeat(99) + document.id })), { domain: "a", clusters: false, allowOverlap: true, minimumAscii: 0.9 })))
    expect(none.message).toMatch(/none of the \d+ documents of train has 90.0 % of its bytes in ASCII.*Lower minimumAscii/s)
  })

  test("too little room is told as such, of the split that it leaves without text", async () => {
    expect(await failure(Corpus.make(documents(30), { domain: "a", maximumBytes: 4 }))).toMatchObject({ reason: "empty", problem: "of maximumBytes 4 the part of choose is 0 bytes, in which no text of it fits", remedy: "Raise maximumBytes" })
  })

  test("shares that make up no whole, and a seed below zero, are refused where they are written", async () => {
    const at = { _tag: "File" as const, path: "a.txt" }
    for (const shares of [{ train: 8, choose: 1, report: 1 }, { train: 0, choose: 0, report: 0 }, { train: 1.5, choose: -0.5, report: 0 }, { train: NaN, choose: 0.5, report: 0.5 }]) {
      await expect(run(Corpus.make(documents(5), { domain: "a", shares }))).rejects.toThrow("Corpus.make: shares are parts of one, 0 or more each")
      expect(() => Corpus.load({ at, domain: "a", shares })).toThrow(/^corpus\/load\.options: .*(parts of one|NaN|finite)/s)
    }
    expect(() => Corpus.load({ at, domain: "a", seed: -1 })).toThrow(/^corpus\/load\.options: /)
  })

  test("empty, blank and indivisible corpora are typed errors", async () => {
    expect((await failure(Corpus.make([], { domain: "a" }))).reason).toBe("empty")
    expect((await failure(Corpus.make([{ id: "1", text: " \n" }], { domain: "a" }))).message).toMatch(/none of 1 documents has any text/)
    const copies = Array.from({ length: 20 }, (_, index) => ({ id: String(index), text: document(0).text }))
    expect((await failure(Corpus.make(copies, { domain: "a" }))).message).toMatch(/20 documents form 1 clusters of near-duplicates, the largest with 100.0 %/)
  })

  test("kept and read back whole, text of every kind included", async () => {
    const given = [...documents(30), { id: "strange", text: "a\u2028b\n\"ü😀\u0000" }]
    const corpus = await run(Corpus.make(given, { domain: "a" }))
    const place = mkdtempSync(join(tmpdir(), "switchyard-corpus-"))
    await run(Corpus.Artifact.save(corpus as never, place))
    expect(await run(Corpus.Artifact.load(place))).toEqual(corpus)
    for (const name of ["corpus.json", "documents.jsonl"]) {
      const whole = readFileSync(join(place, name))
      writeFileSync(join(place, name), whole.subarray(0, whole.length >> 1))
      expect(await run(Effect.flip(Corpus.Artifact.load(place)))).toMatchObject({ _tag: "CorpusError", reason: "unreadable", remedy: "Make it again" })
      writeFileSync(join(place, name), whole)
    }
  })
})

describe("Corpus.load", () => {
  test("text, JSON lines and folders; what is no text is named by file and line", async () => {
    const place = mkdtempSync(join(tmpdir(), "switchyard-corpus-"))
    writeFileSync(join(place, "a.txt"), "one\n\ntwo\n\nthree")
    writeFileSync(join(place, "b.jsonl"), '{"id":7,"text":"x"}\n\n"y"\n')
    expect(await run(readDocuments(join(place, "a.txt"), { domain: "d", documentBytes: 6 }))).toEqual([
      { id: "a.txt#1", text: "one\n\n" }, { id: "a.txt#2", text: "two\n\n" }, { id: "a.txt#3", text: "three" }])
    expect((await run(readDocuments(join(place, "a.txt"), { domain: "d", separator: "\n\n" }))).map(({ text }) => text)).toEqual(["one", "two", "three"])
    expect((await run(readDocuments(place, { domain: "d" }))).map(({ id }) => id)).toEqual(["a.txt/a.txt#1", "b.jsonl/7", "b.jsonl/3"])
    mkdirSync(join(place, "bad"))
    writeFileSync(join(place, "bad", "c.jsonl"), '{"text":"x"}\n{"text":')
    expect((await failure(readDocuments(join(place, "bad"), { domain: "d" }))).message).toMatch(/c\.jsonl: line 2 is no JSON/)
    writeFileSync(join(place, "bad", "c.jsonl"), '{"txt":"x"}')
    expect((await failure(readDocuments(join(place, "bad", "c.jsonl"), { domain: "d" }))).message).toMatch(/line 1 has no text/)
    writeFileSync(join(place, "bad", "d.txt"), Buffer.of(0xff, 0xfe, 0x41))
    expect((await failure(readDocuments(join(place, "bad", "d.txt"), { domain: "d" }))).message).toMatch(/d\.txt: is not UTF-8/)
    const parquet = new URL("./fixtures/parquet/", import.meta.url).pathname
    expect((await run(readDocuments(join(parquet, "documents.parquet"), { domain: "d" })))[16]).toEqual({ id: "d16", text: expect.stringMatching(/^w592 w593 /) })
    expect((await failure(readDocuments(join(parquet, "nested-snappy.parquet"), { domain: "d" }))).message).toMatch(/nested-snappy\.parquet: row 2 has no text\. Give /)
    expect((await failure(readDocuments(join(parquet, "boolq-plain.parquet"), { domain: "d" }))).message).toMatch(/boolq-plain\.parquet: it has no column text/)
    expect((await failure(readDocuments(join(place, "none"), { domain: "d" }))).message).toMatch(/cannot read .*none/)
  })
})

test("the plan of a Parquet file: a bound of its text's bytes, and the bytes that its text takes of the file", async () => {
  const path = new URL("./fixtures/parquet/documents.parquet", import.meta.url).pathname
  const [planned] = await run(Effect.provide(Pipeline.plan(Pipeline.make("table", () => ({ texts: Corpus.load({ at: { _tag: "File", path }, domain: "d" }) }))), Store.temporary))
  const texts = (await run(readDocuments(path, { domain: "d" }))).reduce((sum, { text }) => sum + Buffer.byteLength(text), 0), { bytes } = planned!.header as Corpus.Header
  expect([bytes! >= texts, bytes! < 2 * texts, planned!.cost.bytesRead! < statSync(path).size]).toEqual([true, true, true])
})

test("the plan of one text that is cut says about what each split will have", async () => {
  const place = mkdtempSync(join(tmpdir(), "switchyard-corpus-")), { definition } = Corpus.load
  writeFileSync(join(place, "a.txt"), documents(200, 30).map(({ text }) => text).join("\n\n"))
  const options = { at: { _tag: "File", path: join(place, "a.txt") }, domain: "d", clusters: true, share: 0.05, shares: { train: 0.8, choose: 0.1, report: 0.1 }, seed: 0, documentBytes: 500, allowOverlap: false }
  const { header: planned } = await run(definition.describe({}, options)) as { readonly header: Corpus.Header }, made = await run(Effect.scoped(definition.run({}, options, { metric: () => Effect.void })) as Effect.Effect<Corpus.Corpus>)
  for (const split of Corpus.splits) for (const what of ["documents", "bytes"] as const) expect(Math.abs(planned.splits![split][what] / made.header.splits![split][what] - 1)).toBeLessThan(0.35)
  expect((await run(definition.describe({}, { ...options, separator: "\n\n" })) as { readonly header: Corpus.Header }).header.splits).toBeUndefined()
})

test("the same bytes as a text and as JSON lines are two corpora, and each is kept as its own", async () => {
  const place = mkdtempSync(join(tmpdir(), "switchyard-forms-")), lines = documents(30).map((document) => `${JSON.stringify(document)}\n`).join("")
  const of = (name: string) => Pipeline.make("p", () => ({ corpus: Corpus.load({ at: { _tag: "File", path: join(place, name) }, domain: "a", separator: "\n" }) }))
  for (const name of ["a.json", "a.jsonl", "b.jsonl"]) writeFileSync(join(place, name), lines)
  await run(Effect.gen(function*() {
    const { corpus: text } = yield* Pipeline.run(of("a.json")), { corpus: records } = yield* Pipeline.run(of("a.jsonl"))
    expect(new Set(records.documents.map(({ text }) => text))).toEqual(new Set(documents(30).map(({ text }) => text)))
    expect(text.documents.every(({ text }) => text.startsWith("{\"id\":"))).toBe(true)
    expect((yield* Pipeline.plan(of("b.jsonl")))[0]!.status).toBe("kept")
  }).pipe(Effect.provide(Store.layer(join(place, "store")))))
})

describe("Corpus.batches", () => {
  const make = async (count: number, length = 60, domain = "a") => run(Corpus.make(documents(count, length), { domain }))

  test("a step's rows depend on nothing but seed and step, and another seed gives others", async () => {
    const corpora = { a: await make(40), b: await make(20, 90, "b"), c: await make(60, 10, "c") }
    const options = { tokenizer, split: "train", batch: 4, tokens: 32, seed: 7 } as const
    const forward = await run(Corpus.batches(corpora, options)), again = await run(Corpus.batches(corpora, options))
    const all = Array.from({ length: 12 }, (_, step) => forward.at(step))
    for (const step of [11, 3, 0, 7]) expect(again.at(step)).toEqual(all[step])
    expect((await run(Corpus.batches(corpora, { ...options, seed: 8 }))).at(3)).not.toEqual(all[3])
    expect(forward.domains).toEqual(["a", "b", "c"])
    const counts = [0, 0, 0]
    for (const { domains } of all) for (const domain of domains) counts[domain]!++
    expect(counts).toEqual([16, 16, 16]) // 48 rows, three domains, though their sizes differ
    for (let row = 0; row + 3 <= 48; row += 3) {
      expect(new Set([0, 1, 2].map((next) => all[(row + next) >> 2]!.domains[(row + next) & 3]))).toEqual(new Set([0, 1, 2]))
    }
  })

  test("a row is BOS and a stretch of one document of its domain, or runs on after EOS when that is short; targets are one later", async () => {
    const long = await make(40, 100), short = await make(60, 2, "short")
    const streams = [long, short].map((corpus) => Corpus.of(corpus, "train").map(({ text }) => `${text}$`))
    const batches = await run(Corpus.batches([long, short], { tokenizer, split: "train", batch: 8, tokens: 48, seed: 1 }))
    const starts = new Set<number>()
    for (let step = 0; step < 20; step++) {
      const { ids, targets, domains, documents: first } = batches.at(step)
      for (let row = 0; row < 8; row++) {
        const fed = shown(ids.subarray(row * 48, (row + 1) * 48)), predicted = shown(targets.subarray(row * 48, (row + 1) * 48))
        expect(fed).toBe(`^${predicted.slice(0, -1)}`)
        const stream = streams[domains[row]!]!, own = stream[first[row]!]!
        if (domains[row] === 0) { expect(own).toContain(predicted); starts.add(own.indexOf(predicted)) }
        else expect(`${stream.slice(first[row]!).join("")}${stream.join("")}`.startsWith(predicted)).toBe(true)
      }
    }
    expect(starts.size).toBeGreaterThan(40) // random places, not document beginnings
  })

  test("a split shorter than one row, a corpus without the split and a tokenizer without edges are typed errors", async () => {
    const corpus = await make(30, 2)
    const error = await failure(Corpus.batches(corpus, { tokenizer, split: "report", batch: 1, tokens: 100_000, seed: 0 }))
    expect(error.message).toMatch(/^corpus a: its report text has \d+ tokens, one row needs 100000\. Give more text, or shorter rows$/)
    const only = await run(Corpus.make(documents(5), { domain: "a", shares: { train: 1, choose: 0, report: 0 } }))
    expect((await failure(Corpus.batches(only, { tokenizer, split: "report", batch: 1, tokens: 4, seed: 0 }))).reason).toBe("empty")
    expect((await failure(Corpus.batches(corpus, { tokenizer: { encode: tokenizer.encode }, split: "train", batch: 1, tokens: 4, seed: 0 }))).reason).toBe("tokenizer")
  })
})

describe("Corpus.windows", () => {
  test("every token of every document is scored once, from what precedes it; bytes add up to the documents' bytes", async () => {
    const corpus = await run(Corpus.make(documents(20, 12).map(({ id, text }) => ({ id, text: `${text} é😀` })), { domain: "a" }))
    await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 200 }), async (tokens) => {
      const rows = await run(Corpus.windows(corpus, { tokenizer, split: "train", tokens }))
      const texts = Corpus.of(corpus, "train").map(({ text }) => tokenizer.encode(text))
      const scored = texts.map(() => [] as Array<number>)
      for (const { ids, targets, from, length, document: index, position, bytes } of rows) {
        expect([ids.length, targets.length]).toEqual([tokens, tokens])
        expect(bytes).toBe(length - from) // bytes are the tokens here
        for (let at = from; at < length; at++) {
          const place = position + at - from
          expect(ids[at]).toBe(place === 0 ? 256 : texts[index]![place - 1])
          scored[index]!.push(targets[at]!)
        }
        // what precedes the scored part is the document too
        for (let at = 0; at < from; at++) expect(ids[at]).toBe(position - from + at === 0 ? 256 : texts[index]![position - from + at - 1])
      }
      expect(scored).toEqual(texts.map((text) => [...text]))
    }), { numRuns: 25 })
  })

  test("limits: beginnings of documents, no character cut, so much text, so many tokens", async () => {
    const corpus = await run(Corpus.make(documents(30).map(({ id, text }) => ({ id, text: `éé${text}` })), { domain: "a" }))
    const options = { tokenizer, split: "train", tokens: 16 } as const
    const sum = (rows: ReadonlyArray<Corpus.Window>) => rows.reduce((total, { bytes }) => total + bytes, 0)
    const beginnings = await run(Corpus.windows(corpus, { ...options, documentBytes: 3 }))
    expect(beginnings.length).toBe(Corpus.of(corpus, "train").length)
    expect(beginnings.every(({ bytes }) => bytes === 2)).toBe(true) // one é, not one and a half
    expect(sum(await run(Corpus.windows(corpus, { ...options, maximumBytes: 1000 })))).toBe(1000)
    const cut = await run(Corpus.windows(corpus, { ...options, maximumTokens: 101 }))
    expect(cut.reduce((total, { from, length }) => total + length - from, 0)).toBe(101)
  })

  test("how many there will be is told by the header: exactly of documents that are cut alike, nearly of others", async () => {
    await fc.assert(fc.asyncProperty(fc.integer({ min: 30, max: 60 }), fc.integer({ min: 1, max: 90 }), fc.integer({ min: 20, max: 150 }), fc.integer({ min: 1, max: 1500 }), async (count, tokens, documentBytes, maximumBytes) => {
      const corpus = await run(Corpus.make(documents(count, 40).map(({ id, text }) => ({ id, text: text.padEnd(400, "x") })), { domain: "a", clusters: false })), options = { split: "report", tokens } as const
      const { documents: has, bytes } = corpus.header.splits!.report, made = async (limits: object) => (await run(Corpus.windows(corpus, { tokenizer, ...options, ...limits }))).length
      expect(Corpus.countWindows(corpus.header, { ...options, documentBytes })).toBe(await made({ documentBytes }))
      expect(Corpus.countWindows(corpus.header, { ...options, documentBytes, maximumBytes: documentBytes * 2 })).toBe(await made({ documentBytes, maximumBytes: documentBytes * 2 }))
      for (const limits of [{}, { maximumBytes }, { documentBytes, maximumBytes }]) { // whole documents, and a last one cut, end in windows that are filled in part: each may be half a window off
        const found = await made(limits)
        expect(Math.abs(Corpus.countWindows(corpus.header, { ...options, ...limits }) - found)).toBeLessThanOrEqual(1 + Math.min(has, Math.ceil(maximumBytes / Math.min(bytes / has, documentBytes))) / 2)
      }
    }), { numRuns: 10, seed: 4 })
    expect(Corpus.countWindows({ domain: "a", bytes: 1000 }, { split: "report", tokens: 64, maximumBytes: 300 })).toBe(5) // before the text was read
    expect(Corpus.countWindows({ domain: "a", bytes: 1000 }, { split: "report", tokens: 64, documentBytes: 100, maximumBytes: 300 })).toBe(6)
    expect(Corpus.countWindows({ domain: "a" }, { split: "report", tokens: 64 })).toBe(0)
  })

  test("a tokenizer whose tokens are several bytes: bytes are shared out and still add up", async () => {
    const pairs = { ...tokenizer, encode: (text: string) => Uint32Array.from({ length: Math.ceil(Buffer.byteLength(text) / 3) }, (_, index) => index) }
    const corpus = await run(Corpus.make(documents(20), { domain: "a" }))
    const rows = await run(Corpus.windows(corpus, { tokenizer: pairs, split: "report", tokens: 16 }))
    expect(rows.reduce((total, { bytes }) => total + bytes, 0)).toBe(corpus.header.splits!.report.bytes)
  })
})
