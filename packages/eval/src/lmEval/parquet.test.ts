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
const locate = (set: string) => Effect.runPromise(Hub.locate(`org/${set}`, { kind: "dataset", wait: 1 }))

describe("a data set of the Hub that is in parquet alone", () => {
  test.each(Object.entries(sets).flatMap(([set, names]) => names.map((task) => ({ set, task }))))("$set: the documents of $task, each split, key for key those in JSON lines", async ({ set, task }) => {
    const recipe = tasks[task]!, at = await locate(set)
    for (const split of new Set([recipe.split, recipe.examples.split])) {
      const expected = rowsOf(task, split)
      if (expected.length === 0) continue
      const { file, rows } = await Effect.runPromise(readRows(task, recipe, split, at))
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
  test("cut short, or of a subject that it lacks: an error with file or configurations, and what to do", async () => {
    const at = await locate("mmlu"), file = join(at, "anatomy", "test-00000-of-00001.parquet"), whole = readFileSync(file)
    const failure = (task: string, data = at) => Effect.runPromise(Effect.flip(readRows(task, tasks[task]!, "test", data))).then(({ message }) => message)
    expect(await failure("mmlu_astronomy")).toMatch(/its card has the configurations anatomy, high_school_physics, and it is not clear which is meant\. Put the files of one of them at mmlu_astronomy\/test\.parquet/)
    writeFileSync(join(cache, "cut.parquet"), whole.subarray(0, -9))
    expect(await failure("mmlu_anatomy", join(cache, "cut.parquet"))).toMatch(/^mmlu_anatomy: .*cut\.parquet: it is no Parquet file that can be read \(.*\)\. Fetch or write the file again/)
  })
})
