import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals"
import { Hub } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { Effect } from "effect"
import { createHash } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { tasks } from "../tasks.ts"
import { folder, harness, rowsOf } from "./harness.fixture.ts"
import { readRows } from "./readRows.ts"
import * as Suite from "./Suite.ts"

jest.setTimeout(120_000)

// ---- a server that plays the Hub: the data sets of tools/fixtures/parquet.py, which are in parquet alone
const origin = fileURLToPath(new URL("parquet/", folder)), commit = "0123456789abcdef0123456789abcdef01234567"
let server: Server, endpoint: string, cache: string, asked: Array<string> = []
const sha256 = (content: Buffer) => createHash("sha256").update(content).digest("hex")
const gitHash = (content: Buffer) => createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex")
beforeAll(async () => {
  cache = mkdtempSync(join(tmpdir(), "parquet-"))
  server = createServer((request, response) => {
    asked.push(request.url!)
    const [, kind, ...parts] = new URL(request.url!, "http://hub").pathname.split("/").map(decodeURIComponent), json = (value: unknown) => response.setHeader("content-type", "application/json").end(JSON.stringify(value))
    const [name, what] = kind === "api" ? [parts[2]!, parts[3]] : [parts[1]!, "resolve"], at = join(origin, name)
    if (what === "revision") json({ _id: "1", id: `org/${name}`, sha: commit, lastModified: "2024-01-01T00:00:00.000Z" })
    else if (what === "tree") {
      json(readdirSync(at, { recursive: true, withFileTypes: true, encoding: "utf8" }).filter((entry) => entry.isFile()).map((entry) => {
        const file = join(entry.parentPath, entry.name), content = readFileSync(file), path = file.slice(at.length + 1)
        return { type: "file", path, size: content.length, oid: gitHash(content), ...path.endsWith(".parquet") ? { lfs: { oid: sha256(content), size: content.length, pointerSize: 130 } } : {} }
      }))
    } else response.end(readFileSync(join(at, ...parts.slice(4))))
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()))
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  Object.assign(process.env, { HF_ENDPOINT: endpoint, HF_HUB_CACHE: cache })
})
afterAll(async () => {
  delete process.env["HF_ENDPOINT"]
  delete process.env["HF_HUB_CACHE"]
  await new Promise((resolve) => { server.closeAllConnections(); server.close(resolve) })
  rmSync(cache, { recursive: true })
})

const sets = {
  ai2_arc: ["arc_easy", "arc_challenge"], super_glue: ["boolq"], gsm8k: ["gsm8k"], hellaswag: ["hellaswag"], openbookqa: ["openbookqa"], mmlu: ["mmlu_anatomy", "mmlu_high_school_physics"],
  piqa: ["piqa"], winogrande: ["winogrande"], lambada_openai: ["lambada_openai"], wikitext_document_level: ["wikitext"]
}
const open = (set: string, where = cache) => Effect.runPromise(Hub.dataset(`org/${set}`, { cache: where, wait: 1 }))
/** The files whose bytes were asked for since `asked` was emptied, in order. */
const bodies = () => asked.filter((url) => url.includes("/resolve/")).map((url) => url.split(`${commit}/`)[1]!).sort()
/** Runs with a cache of its own. */
const afresh = async (run: (cache: string) => Promise<void>): Promise<void> => {
  const own = mkdtempSync(join(tmpdir(), "parquet-"))
  asked = []
  try { await run(own) } finally { rmSync(own, { recursive: true }) }
}

describe("a data set of the Hub that is in parquet alone", () => {
  test.each(Object.entries(sets).flatMap(([set, names]) => names.map((task) => ({ set, task }))))("$set: the documents of $task, each split, key for key those in JSON lines", async ({ set, task }) => {
    const recipe = tasks[task]!, data = await open(set)
    for (const split of new Set([recipe.split, recipe.examples.split])) {
      const expected = rowsOf(task, split)
      if (expected.length === 0) continue
      const { file, rows } = await Effect.runPromise(readRows(task, recipe, split, data))
      expect(file).toMatch(/\.parquet$/)
      expect(rows.map((row) => JSON.stringify(row))).toEqual(expected.map((row) => JSON.stringify(row)))
    }
  })
  test("a task from the id to its figures and hash, the harness's own; then offline, without a request", async () => {
    const run = harness.runs.find(({ model, samples, shots }) => model === "mixtral" && shots === null && samples["arc_easy"] !== undefined)!
    const figures = () => Effect.runPromise(Effect.provide(Suite.run({ model: fileURLToPath(new URL("models/mixtral", folder)), tasks: ["arc_easy"], data: "org/ai2_arc@main", iterations: 0, shots: 0 }), Device.host({ workers: 0 })))
    const found = await figures()
    expect((found.task_hashes as Record<string, string>)["arc_easy"]).toBe(run.results.task_hashes["arc_easy"])
    for (const metric of ["acc,none", "acc_norm,none"]) expect(found.results["arc_easy"]![metric]).toBeCloseTo(run.results.results["arc_easy"]![metric] as number, 6)
    asked = []
    process.env["HF_HUB_OFFLINE"] = "1"
    try { expect((await figures()).results).toEqual(found.results) } finally { delete process.env["HF_HUB_OFFLINE"] }
    expect(asked).toEqual([])
  })
  test("of the two subjects of a data set, each with two splits, one file is fetched for one task's questions, and the one with examples is added when they are asked for", () => afresh(async (own) => {
    const read = async (split: string, data: Hub.Dataset) => (await Effect.runPromise(readRows("mmlu_anatomy", tasks["mmlu_anatomy"]!, split, data))).file
    const files = (from: string) => readdirSync(from, { recursive: true, encoding: "utf8" }).filter((path) => path.includes(".")).sort()
    const data = await open("mmlu", own)
    expect([bodies(), data.paths().filter((path) => path.endsWith(".parquet")).length]).toEqual([["README.md"], 4])
    expect(await read("test", data)).toBe(join(data.at, "anatomy", "test-00000-of-00001.parquet"))
    expect([bodies(), files(data.at)]).toEqual([["README.md", "anatomy/test-00000-of-00001.parquet"], ["README.md", "anatomy/test-00000-of-00001.parquet"]])
    // another process, later: the list is noted, so only what is missing is asked for
    asked = []
    const later = await open("mmlu", own)
    expect([await read("test", later), asked]).toEqual([join(data.at, "anatomy", "test-00000-of-00001.parquet"), []])
    await read("dev", later)
    expect([later.at, asked.length, bodies(), files(later.at).length]).toEqual([data.at, 1, ["anatomy/dev-00000-of-00001.parquet"], 3])
  }))
  test("a suite fetches its tasks' splits, pieces together, and those of worked examples only where there are any; a split that is missing fetches nothing and says what it did of a folder", () => afresh(async (own) => {
    const model = fileURLToPath(new URL("models/mixtral", folder)), suite = (shots: number) => Effect.runPromise(Effect.provide(Suite.run({ model, tasks: ["arc_easy"], data: "org/ai2_arc", iterations: 0, shots, limit: 1 }), Device.host({ workers: 0 })))
    process.env["HF_HUB_CACHE"] = own
    try {
      await suite(0)
      expect(bodies()).toEqual(["README.md", "ARC-Easy/test-00000-of-00002.parquet", "ARC-Easy/test-00001-of-00002.parquet"].sort())
      asked = []
      await suite(1)
      expect(bodies()).toEqual(["ARC-Easy/train-00000-of-00002.parquet", "ARC-Easy/train-00001-of-00002.parquet"])
      expect(asked.length).toBe(2)
    } finally { process.env["HF_HUB_CACHE"] = cache }
    asked = []
    const data = await open("ai2_arc", own), whole = await Effect.runPromise(Hub.locate("org/ai2_arc", { kind: "dataset", cache: own, wait: 1 }))
    expect(bodies()).toEqual(["ARC-Challenge/test-00000-of-00002.parquet", "ARC-Challenge/test-00001-of-00002.parquet", "ARC-Challenge/train-00000-of-00002.parquet", "ARC-Challenge/train-00001-of-00002.parquet"])
    asked = []
    const refusal = (from: string | Hub.Dataset) => Effect.runPromise(Effect.flip(readRows("arc_easy", tasks["arc_easy"]!, "validation", from))).then(({ message }) => message)
    expect(await refusal(data)).toMatch(/^arc_easy: .*: it has no validation documents\. Put them there as arc_easy\/validation\.jsonl/)
    expect([await refusal(whole), asked]).toEqual([await refusal(data), []])
  }))
  test("cut short, or of a subject that it lacks: an error with file or configurations, and what to do", async () => {
    const mmlu = await open("mmlu"), [file] = await Effect.runPromise(mmlu.bring(["anatomy/test-00000-of-00001.parquet"])), whole = readFileSync(file!)
    const failure = (task: string, data: string | Hub.Dataset = mmlu) => Effect.runPromise(Effect.flip(readRows(task, tasks[task]!, "test", data))).then(({ message }) => message)
    expect(await failure("mmlu_astronomy")).toMatch(/its card has the configurations anatomy, high_school_physics, and it is not clear which is meant\. Put the files of one of them at mmlu_astronomy\/test\.parquet/)
    writeFileSync(join(cache, "cut.parquet"), whole.subarray(0, -9))
    expect(await failure("mmlu_anatomy", join(cache, "cut.parquet"))).toMatch(/^mmlu_anatomy: .*cut\.parquet: it does not end as a Parquet file does \(PAR1\)\. Fetch or write the file again/)
  })
})
