/** What bad input gets, from the folder that is damaged to the store that is looked at afterwards: an error by name, nothing half-written, nothing lost. */
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals"
import { Checkpoint, Corpus, file, Pipeline, Random, Store } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { Compress, Upcycle } from "@switchyard/merge"
import { Finetune, Router } from "@switchyard/routing"
import { Cause, Effect, Exit, Fiber } from "effect"
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { hashes, leftovers, writeTiny } from "./journey.ts"

const place = mkdtempSync(join(tmpdir(), "switchyard-bad-")), model = join(place, "model")
const prose = (name: string) => { // paragraphs of seeded words: no two alike
  const chance = Random.make(0, name)
  return Array.from({ length: 60 }, (_, at) => Array.from({ length: 40 }, (_, word) => Random.below(chance, 40 * at + word, 100_000).toString(36)).join(" "))
    .map((text, id) => JSON.stringify({ id: `${id}`, text })).join("\n")
}
const training = { rank: 2, steps: 6, batch: 2, tokens: 16, saveEvery: 2 }
const domains = { text: join(place, "text.jsonl"), other: join(place, "other.jsonl") }
beforeAll(async () => {
  await writeTiny(model)
  for (const [name, path] of Object.entries(domains)) writeFileSync(path, prose(name))
})
afterAll(() => { rmSync(place, { recursive: true, force: true }) })

const job = (options: { readonly seed?: string; readonly texts?: Readonly<Record<string, string>>; readonly active?: number; readonly learningRate?: number; readonly tokens?: number } = {}) => Pipeline.make("job", () => {
  const seed = Checkpoint.load({ at: file(options.seed ?? model) })
  const texts = Pipeline.each(options.texts ?? domains, (path, domain) => Corpus.load({ at: file(path), domain }))
  const experts = Pipeline.each(texts, (text, domain) => Finetune.lora(seed, { [domain]: text }, { ...training, learningRate: options.learningRate ?? 1e-3, tokens: options.tokens ?? training.tokens, clip: 0 }))
  return { mixture: Compress.fold(Upcycle.fromAdapters(seed, experts, { router: Router.topK({ active: options.active ?? 1 }) })) }
})
const running = (name: string, pipeline: ReturnType<typeof job>) => Pipeline.run(pipeline).pipe(Effect.provide(Store.layer(join(place, name))), Effect.provide(Device.plain()))
/** Runs and fails: the error, and the stages whose results are kept. */
const fails = async (name: string, pipeline: ReturnType<typeof job>): Promise<{ readonly tag: string; readonly message: string; readonly kept: ReadonlyArray<string>; readonly inTheWay: ReadonlyArray<string> }> => {
  const exit = await Effect.runPromiseExit(running(name, pipeline))
  if (Exit.isSuccess(exit)) throw new Error("it should have failed")
  const error = Cause.squash(exit.cause) as { readonly _tag?: string; readonly message: string }, root = join(place, name)
  const results = existsSync(join(root, "results")) ? readdirSync(join(root, "results")) : []
  return {
    tag: error._tag ?? "defect", message: error.message, inTheWay: existsSync(root) ? leftovers(root) : [],
    kept: results.map((key) => (JSON.parse(readFileSync(join(root, "results", key, "provenance.json"), "utf8")) as { readonly stage: string }).stage).sort()
  }
}

describe("a seed that is damaged", () => {
  const damaged = (name: string, change: (at: string) => void): string => {
    const at = join(place, `model ${name}`)
    cpSync(model, at, { recursive: true })
    change(at)
    return at
  }
  /** The same file with another header, of the same length. */
  const header = (at: string, change: (json: Record<string, { shape: Array<number>; data_offsets: [number, number] }>) => void) => {
    const path = join(at, "model.safetensors"), bytes = readFileSync(path), length = Number(bytes.readBigUInt64LE()), json = JSON.parse(bytes.subarray(8, 8 + length).toString())
    change(json)
    bytes.write(JSON.stringify(json).padEnd(length), 8)
    writeFileSync(path, bytes)
  }
  const json = (at: string, name: string, change: (json: Record<string, unknown>) => void) => {
    const found = JSON.parse(readFileSync(join(at, name), "utf8")) as Record<string, unknown>
    change(found)
    writeFileSync(join(at, name), JSON.stringify(found))
  }
  const gain = "model.norm.weight", other = "model.layers.0.input_layernorm.weight"
  test.each<readonly [string, (at: string) => void, string, RegExp]>([
    ["cut off", (at) => writeFileSync(join(at, "model.safetensors"), readFileSync(join(at, "model.safetensors")).subarray(0, -64)), "SafetensorsError", /model\.safetensors.*ends at byte/],
    ["overlapping", (at) => header(at, (json) => { json[gain]!.data_offsets = json[other]!.data_offsets }), "SafetensorsError", /model\.safetensors/],
    ["lying", (at) => header(at, (json) => { json[gain]!.shape = [33] }), "SafetensorsError", /model\.safetensors.*model\.norm\.weight/],
    ["without a key", (at) => json(at, "config.json", (json) => { delete json["num_attention_heads"] }), "ConfigError", /config\.json: num_attention_heads: it is missing/],
    ["with a tokenizer too large", (at) => json(at, "tokenizer.json", (json) => { const added = json["added_tokens"] as Array<object>; added.push({ ...added[0], id: 999, content: "<|more|>" }) }), "TokenizerError", /tokenizer\.json/]
  ])("%s: named, and no result of it is kept", async (name, change, tag, message) => {
    const found = await fails(`seed ${name}`, job({ seed: damaged(name, change) }))
    expect([name, found.tag]).toEqual([name, tag])
    expect(found.message).toMatch(message)
    expect(found.kept.filter((stage) => stage !== "corpus/load")).toEqual([])
    expect(found.inTheWay).toEqual([])
  })
})

test("a corpus of nothing is named; what was finished before it stays", async () => {
  const nothing = join(place, "nothing.jsonl")
  writeFileSync(nothing, "")
  const { inTheWay, kept, message, tag } = await fails("nothing", job({ texts: { text: domains.text, nothing } }))
  expect([tag, message]).toEqual(["CorpusError", expect.stringContaining("nothing")])
  expect(kept).toContain("checkpoint/load")
  expect(kept.filter((stage) => !/^(checkpoint|corpus)\/load$|^finetune\/lora$/.test(stage))).toEqual([])
  expect(inTheWay).toEqual([])
})

test("a corpus shorter than one sequence is named", async () => {
  const short = join(place, "short.jsonl")
  writeFileSync(short, Array.from({ length: 12 }, (_, id) => JSON.stringify({ id: `${id}`, text: `no. ${id}` })).join("\n"))
  const { inTheWay, kept, message, tag } = await fails("short", job({ texts: { text: domains.text, short }, tokens: 64 }))
  expect([tag, message]).toEqual(["CorpusError", expect.stringContaining("short")])
  expect(kept).not.toContain("upcycle/fromAdapters")
  expect(inTheWay).toEqual([])
})

test("more active experts than experts: refused by the plan, before any work", async () => {
  const { kept, message, tag } = await fails("active", job({ active: 3 }))
  expect([tag, message]).toEqual(["RouterError", expect.stringMatching(/3 active experts of 2/)])
  expect(kept).toEqual([])
})

test("a loss that is no number: step and layer are named, the seed, the texts and the last good state stay", async () => {
  const { inTheWay, kept, message, tag } = await fails("diverged", job({ learningRate: 1e25 }))
  expect([tag, message]).toEqual(["TrainingDiverged", expect.stringMatching(/step \d+.*layer \d+/)])
  expect(kept).toEqual(expect.arrayContaining(["checkpoint/load", "corpus/load"]))
  expect(kept).not.toContain("finetune/lora")
  expect(inTheWay.filter((name) => !name.startsWith("resume/"))).toEqual([])
  expect(inTheWay.some((name) => name.endsWith("state.safetensors"))).toBe(true)
})

test("interrupted at five random moments and then let alone: nothing half-written at any of them, the same bytes in the end", async () => {
  const started = performance.now()
  await Effect.runPromise(running("whole", job()))
  const took = performance.now() - started, chance = Random.make(3, "badInput/interrupt")
  const results = (name: string) => hashes(join(place, name, "results"), (path) => path.endsWith(".safetensors"))
  for (let at = 0; at < 5; at++) {
    const fiber = Effect.runFork(running("interrupted", job()))
    await new Promise((resolve) => setTimeout(resolve, Random.below(chance, at, Math.ceil(took / 4))))
    await Effect.runPromise(Fiber.interrupt(fiber))
    if (existsSync(join(place, "interrupted"))) expect(leftovers(join(place, "interrupted")).filter((name) => !name.startsWith("resume/"))).toEqual([])
  }
  await Effect.runPromise(running("interrupted", job()))
  expect(Object.keys(results("whole")).length).toBeGreaterThan(3)
  expect(results("interrupted")).toEqual(results("whole"))
  expect(leftovers(join(place, "interrupted"))).toEqual([])
})
