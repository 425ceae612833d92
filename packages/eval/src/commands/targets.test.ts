import { afterAll, beforeAll, describe, expect, test } from "@jest/globals"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Checkpoint, Corpus, Model, Random, Store, Table, Tables, Tokenizer, Weights } from "@switchyard/core"
import { Device, plainDevice } from "@switchyard/gpu"
import { Router } from "@switchyard/routing"
import { Console, Effect, Exit, Option } from "effect"
import { Command } from "effect/cli"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type * as Report from "../Report.ts"
import { bitsPerByte } from "../metrics.ts"
import { grids } from "../reportTables.ts"
import { score } from "../score.ts"
import * as Task from "../Task.ts"
import * as Compare from "./compare.ts"
import * as Perplexity from "./perplexity.ts"
import * as Routing from "./routing.ts"
import { pretrained } from "./suite.ts"

const dense: Model.Model = {
  family: "llama", vocabulary: 260, hidden: 8, layers: 2, heads: 2, keyValueHeads: 2, headSize: 4, contextLength: 16, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true,
  feedForward: { kind: "dense", inner: 12 }, extra: {}
}
const mixture: Model.Model = { ...dense, family: "mixtral", feedForward: { kind: "mixture", inner: 12, experts: 3, active: 2, expert: { kind: "full" }, router: Router.topK({ active: 2 }), routerTensors: { weight: [3, 8] } } }
const plain = Tokenizer.bytes()
/** Bytes, and `th` as one token more. */
const merging = async (): Promise<Tokenizer.Tokenizer> => {
  const described = JSON.parse(new TextDecoder().decode(plain.files["tokenizer.json"]))
  described.model.vocab["th"] = 260
  described.model.merges = ["t h"]
  return Effect.runPromise(Tokenizer.fromFiles({ ...plain.files, "tokenizer.json": new TextEncoder().encode(JSON.stringify(described)) }))
}
const lines = ["the moth is there\n", " both of them", "north", "a path through the heath, with thorns and thistles"]
const words = [5, 4, 1, 9] // as Python's len(re.split(r"\s+", text)) counts

let folder: string
const at = (name: string) => join(folder, name)
const put = (name: string, model: Model.Model, tokenizer: Tokenizer.Tokenizer, deviation: number) => Effect.runPromise(Checkpoint.write(Checkpoint.make({
  model, tokenizer,
  weights: Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }) => {
    const data = new Float32Array(shape.reduce((product, axis) => product * axis, 1))
    return [name, { shape, data: name.endsWith("norm") ? data.fill(1) : deviation === 0 ? data : Random.fillNormal(Random.make(4, name), data, { deviation }) }]
  })))
}), at(name)))
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "switchyard-eval-"))
  const other = await merging()
  expect([...other.encode("moth")]).toEqual([...plain.encode("mo"), 260])
  // zero weights give every token the same probability: one over the vocabulary
  await put("uniform", dense, plain, 0)
  await put("merging", { ...dense, vocabulary: 261 }, other, 0)
  await put("random", dense, plain, 0.5)
  await put("mixture", mixture, plain, 0)
  await writeFile(at("words.jsonl"), lines.map((text) => `${JSON.stringify({ text })}\n`).join(""))
  await writeFile(at("oneid.jsonl"), lines.map((text) => `${JSON.stringify({ id: "same", text })}\n`).join(""))
  await writeFile(at("long.txt"), "some other text, with a line\nor two of it. ".repeat(12))
  await writeFile(at("empty.txt"), "")
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const running = <A, E>(effect: Effect.Effect<A, E, Device.Device | Store.Store>) => Effect.runPromise(effect.pipe(Effect.provideService(Device.Device, Device.Device.of(plainDevice())), Effect.provide(Store.temporary)))
const failing = async <A, E extends { readonly _tag: string; readonly message: string }>(effect: Effect.Effect<A, E, Device.Device | Store.Store>): Promise<string> => {
  const exit = await running(Effect.exit(effect)), error = Option.getOrThrow(Exit.findErrorOption(exit))
  return `${error._tag}: ${error.message}`
}
const flags = (model: ReadonlyArray<string>, text: ReadonlyArray<string>): Perplexity.Flags => ({ model: model.map(at), text: text.map(at), tokens: 8, documentBytes: 64, limit: Option.none() })
const value = (report: Report.Report, model: string, task: string, metric: string) => report.values.find((each) => each.model === model && each.task === task && each.metric === metric)

/** Runs a target's command line; what it prints. */
const printed = async <Name extends string, I, C, E>(command: Command.Command<Name, I, C, E, never>, args: ReadonlyArray<string>): Promise<string> => {
  const said: Array<string> = [], log = (...parts: ReadonlyArray<unknown>) => { said.push(parts.join(" ")) }
  const console: Console.Console = Object.assign(Object.create(globalThis.console), { log, error: log })
  await Effect.runPromise(Effect.exit(Command.runWith(command, { version: "0.1.0" })(args)).pipe(Effect.provideService(Console.Console, console), Effect.provide(NodeServices.layer)) as Effect.Effect<unknown>)
  return said.join("\n")
}

describe("eval:perplexity", () => {
  test("a model that spreads its probability evenly has the perplexity of its vocabulary, by token, byte and word", async () => {
    const report = await running(Perplexity.perplexity(flags(["uniform"], ["words.jsonl", "long.txt"])))
    const bytes = lines.reduce((sum, line) => sum + line.length, 0), all = words.reduce((sum, count) => sum + count, 0)
    const expected = { bitsPerByte: Math.log2(260), bitsPerToken: Math.log2(260), tokenPerplexity: 260, bytePerplexity: 260, wordPerplexity: 260 ** (bytes / all) }
    for (const [metric, number] of Object.entries(expected)) {
      const found = value(report, "uniform", "words", metric)!
      expect(Math.abs(found.value / number - 1)).toBeLessThan(1e-5)
      expect(found.count).toBe(4)
    }
    expect(Math.abs(value(report, "uniform", "all domains", "tokenPerplexity")!.value / 260 - 1)).toBeLessThan(1e-5)
  })

  test("a random model's figures are those of the pure functions on its scores", async () => {
    const report = await running(Perplexity.perplexity(flags(["random"], ["words.jsonl"])))
    const checkpoint = await Effect.runPromise(Checkpoint.open(at("random")))
    const corpus: Corpus.Corpus = { kind: "corpus", header: { domain: "words" }, domain: "words", documents: lines.map((text, id) => ({ id: `${id}`, text, split: "report" })) }
    const direct = bitsPerByte((await running(score(checkpoint, { words: corpus }, Task.bitsPerByte({ tokens: 8 }), () => Effect.void))).scores)
    const found = value(report, "random", "words", "bitsPerByte")!
    expect(found.value).toBeCloseTo(direct.value, 10)
    expect(found.standardError).toBeCloseTo(direct.standardError!, 10)
    const perplexity = value(report, "random", "words", "bytePerplexity")!
    expect(perplexity.value).toBeCloseTo(2 ** direct.value, 6)
    expect(perplexity.standardError).toBeCloseTo(Math.LN2 * 2 ** direct.value * direct.standardError!, 6)
  })

  test("documents to which their file gave one id are scored, counted and paired as others are", async () => {
    const [one, own] = [await running(Compare.compare({ ...flags(["random", "uniform"], ["oneid.jsonl"]), control: Option.none() })), await running(Compare.compare({ ...flags(["random", "uniform"], ["words.jsonl"]), control: Option.none() }))]
    expect(one.verdicts.map(({ text }) => text)).toEqual(own.verdicts.map(({ text }) => text))
    const [found, expected] = [await running(Perplexity.perplexity(flags(["random"], ["oneid.jsonl"]))), await running(Perplexity.perplexity(flags(["random"], ["words.jsonl"])))]
    expect(value(found, "random", "oneid", "wordPerplexity")!.value / value(expected, "random", "words", "wordPerplexity")!.value).toBeCloseTo(1, 9)
  })

  test("--limit takes so many bytes of each text", async () => {
    const report = await running(Perplexity.perplexity({ ...flags(["uniform"], ["long.txt"]), limit: Option.some(100) }))
    expect((report.lineage["uniform"] as { tokens: number }).tokens).toBe(100)
  })

  test("a Hub id is read from the cache, offline, and scores as its folder; its key is its commit's", async () => {
    const commit = "0123456789abcdef0123456789abcdef01234567", cached = at("cache/models--tiny--uniform")
    cpSync(at("uniform"), join(cached, "snapshots", commit), { recursive: true })
    mkdirSync(join(cached, "refs"))
    writeFileSync(join(cached, "refs", "main"), commit)
    Object.assign(process.env, { HF_HUB_CACHE: at("cache"), HF_HUB_OFFLINE: "1" })
    try {
      const given = { ...flags(["uniform"], ["long.txt"]), model: [at("uniform"), "tiny/uniform@main"] }
      const report = await running(Perplexity.perplexity(given)), scores = ["uniform", "uniform@main"].map((name) => value(report, name, "long", "bitsPerByte")?.value)
      expect(scores[0]).toBeGreaterThan(1)
      expect(scores[1]).toBe(scores[0])
      expect((await running(Perplexity.perplexity({ ...given, model: [`tiny/uniform@${commit}`] }))).values.length).toBeGreaterThan(0)
      expect(await failing(Perplexity.perplexity({ ...given, model: ["tiny/unifrom"] }))).toMatch(/HubError: tiny\/unifrom: there is no such folder, and revision main is not in the cache .*nearest id in the cache is tiny\/uniform/)
    } finally { delete process.env["HF_HUB_CACHE"]; delete process.env["HF_HUB_OFFLINE"] }
    expect([pretrained("pretrained=a/b,revision=v1,dtype=float32"), pretrained("dtype=float16,pretrained=a/b"), pretrained(`revision=v1,pretrained=${at("uniform")}`)]).toEqual(["a/b@v1", "a/b", at("uniform")])
  })

  test("what is not there or has no text is named", async () => {
    expect(await failing(Perplexity.perplexity(flags(["nothing"], ["long.txt"])))).toMatch(/HubError: .*nothing: there is no such folder, and this is no model's id\. Remedy: check the path/)
    expect(await failing(Perplexity.perplexity(flags(["uniform"], ["nothing.txt"])))).toMatch(/FileError: cannot read .*nothing\.txt.*ENOENT/)
    expect(await failing(Perplexity.perplexity(flags(["uniform"], ["empty.txt"])))).toMatch(/CorpusError: corpus empty: none of 0 documents has any text/)
    expect(await failing(Perplexity.perplexity(flags(["uniform", "./uniform"], ["long.txt"])))).toMatch(/TargetError: eval:perplexity: .*uniform is given twice/)
  })

  test.each(["-1", "5000000000"])("a seed of %s, which the results could not hold, is refused before any work", async (seed) => {
    expect(await printed(Perplexity.command, ["--model", at("random"), "--text", at("words.jsonl"), "--out", at("seeds"), "--seed", seed])).toMatch(/--seed must be from 0 to 2\^32 - 1/)
    expect(existsSync(at("seeds"))).toBe(false)
  })

  test("the command writes Arrow, Markdown, HTML and JSON, prints its table, and starts no stage a second time", async () => {
    const args = ["--model", at("random"), "--text", at("words.jsonl"), "--tokens", "8", "--device", "host", "--out", at("out"), "--seed", "3"]
    const first = await printed(Perplexity.command, args)
    expect(first).toMatch(/bitsPerByte \(bits\/byte\)\n +words\nrandom /)
    for (const name of ["report.md", "report.html", "report.json", "results.arrow"]) expect(existsSync(join(at("out"), name))).toBe(true)
    const rows = Table.rows(await Effect.runPromise(Table.read(Tables.Results, join(at("out"), "results.arrow"))))
    expect(rows.map(({ metric }) => metric)).toEqual(["bitsPerByte", "bitsPerToken", "tokenPerplexity", "bytePerplexity", "wordPerplexity"])
    expect(new Set(rows.map(({ seed }) => seed))).toEqual(new Set([3]))
    const results = join(at("out"), ".store", "results")
    const written = () => readdirSync(results).map((key) => [key, statSync(join(results, key, "provenance.json")).mtimeMs])
    const before = readFileSync(join(at("out"), "report.json"), "utf8"), kept = written()
    expect(await printed(Perplexity.command, args)).toBe(first)
    expect(readFileSync(join(at("out"), "report.json"), "utf8")).toBe(before)
    expect(written()).toEqual(kept)
  }, 60_000)
})

describe("eval:compare", () => {
  test("models of different tokenizers are paired by the bytes of the same documents", async () => {
    const { report, verdicts } = await running(Compare.compare({ ...flags(["uniform", "merging"], ["words.jsonl"]), control: Option.some(at("random")) }))
    const bytes = lines.reduce((sum, line) => sum + line.length, 0), merged = lines.reduce((sum, line) => sum + line.split("th").length - 1, 0)
    const gap = (bytes * Math.log2(260) - (bytes - merged) * Math.log2(261)) / bytes
    const found = value(report, "uniform", "words", "bitsPerByte − merging")!
    expect(found.value).toBeCloseTo(gap, 5)
    expect(found.standardError).toBeGreaterThan(0)
    expect(verdicts.map(({ text }) => text.replace(/=.*:/, "="))).toEqual([
      "uniform − merging = merging better", expect.stringMatching(/^uniform − random = /), expect.stringMatching(/^merging − random = /)
    ])
    expect(report.banner).toContain("uniform − merging")
    expect(report.notes.join(" ")).toContain("Control: random")
  })

  test("a difference is one when it exceeds two standard errors; less is better", () => {
    expect(Compare.verdict("a", "b", { value: -0.5, standardError: 0.2, count: 9 })).toBe("a − b = −0.50 ± 0.20 bits/byte: a better")
    expect(Compare.verdict("a", "b", { value: 0.5, standardError: 0.2, count: 9 })).toMatch(/: b better$/)
    expect(Compare.verdict("a", "b", { value: 0.4, standardError: 0.2, count: 9 })).toMatch(/: no difference beyond two standard errors$/)
    expect(Compare.verdict("a", "b", { value: 0.4, standardError: null, count: 1 })).toMatch(/: too few documents for a standard error$/)
  })

  test("one model is none to compare", async () => {
    expect(await failing(Compare.compare({ ...flags(["uniform"], ["long.txt"]), control: Option.none() }))).toMatch(/TargetError: eval:compare: 1 model is given/)
  })
})

describe("eval:routing", () => {
  test("where all scores tie, the first two of three experts take every token", async () => {
    const { layers, report, trace } = await running(Routing.routing({ ...flags([], ["words.jsonl", "long.txt"]), model: at("mixture"), seed: 0 }))
    expect(layers.map(({ layer }) => layer)).toEqual([0, 1])
    for (const { coActivation, load, specialisation } of layers) {
      expect(load).toEqual([0.5, 0.5, 0])
      expect(coActivation).toEqual([[1, 1, 0], [1, 1, 0], [0, 0, 0]])
      expect(specialisation).toBeCloseTo(0, 12)
    }
    expect(value(report, "mixture", "layer 0", "loadEntropy")!.value).toBeCloseTo(1, 12)
    expect(value(report, "mixture", "layer 1", "tokenEntropy")!.value).toBeCloseTo(1, 6)
    expect(value(report, "mixture", "layer 1", "largestLoad")!.value).toBeCloseTo(0.5, 12)
    expect(grids(report.values).map(({ better }) => better)).toEqual([undefined, undefined, undefined, undefined])
    const tokens = lines.reduce((sum, line) => sum + line.length, 0) + readFileSync(at("long.txt")).length
    expect(trace.header.rows).toBe(tokens * 2 * 2)
    expect(report.sections.map(({ figures }) => figures.length)).toEqual([1, 1, 1])
  })

  test("a dense model is refused by name", async () => {
    expect(await failing(Routing.routing({ ...flags([], ["long.txt"]), model: at("uniform"), seed: 0 }))).toMatch(/TargetError: eval:routing: .*uniform holds a dense model.*eval:perplexity/)
  })
})

describe("--help", () => {
  test.each([["perplexity", Perplexity.command], ["compare", Compare.command], ["routing", Routing.command]] as const)("of eval:%s names every flag", async (name, command) => {
    const help = await printed(command as typeof Perplexity.command, ["--help"])
    for (const flag of ["--model", "--text", "--out", "--store", "--seed", "--device", "--limit"]) expect(help).toContain(flag)
    expect(help).toContain(`eval:${name}`)
  })
})
