import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals"
import { Device } from "@switchyard/gpu"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { appendFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { folder, harness } from "./harness.fixture.ts"
import * as Suite from "./Suite.ts"

jest.setTimeout(120_000)
const data = new URL("data", folder).pathname, model = (name: string) => new URL(`models/${name}`, folder).pathname
const host = <A, E>(work: Effect.Effect<A, E, Device.Device>) => Effect.runPromise(Effect.provide(work, Device.host({ workers: 0 })))
const failure = (options: Suite.Options) => host(Effect.flip(Suite.run(options))).then((error) => (error as Error).message)
let out: string
beforeAll(() => { out = mkdtempSync(join(tmpdir(), "suite-")) })
afterAll(() => rmSync(out, { recursive: true, force: true }))
const written = (run: string) => join(out, run, readdirSync(join(out, run))[0]!)

describe("a suite on the mixture", () => {
  const tasks = ["arc_easy", "boolq", "wikitext"], expected = harness.runs[1]!
  let first: Awaited<ReturnType<typeof run>>
  const run = (changes: Partial<Suite.Options> = {}) => host(Suite.run({ model: model("mixtral"), tasks, data, out: join(out, "run"), iterations: 0, logSamples: true, ...changes }))
  beforeAll(async () => { first = await run() })

  test("has the harness's figures, hashes and keys", () => {
    for (const task of tasks) for (const [key, value] of Object.entries(expected.results.results[task]!)) {
      if (key.includes("_stderr")) expect(first.results[task]![key]).toBe("N/A") // no iterations: no standard errors
      else if (typeof value === "number") expect(Math.abs(first.results[task]![key] as number / value - 1)).toBeLessThan(1e-4)
      else expect(first.results[task]![key]).toBe(value)
    }
    for (const task of tasks) expect((first.task_hashes as Record<string, string>)[task]).toBe(expected.results.task_hashes[task])
    const file = JSON.parse(readFileSync(join(written("run"), readdirSync(written("run")).find((name) => name.startsWith("results_"))!), "utf8"))
    expect(Object.keys(file).sort()).toEqual([...new Set([...Object.keys(expected.results).filter((key) => key !== "groups"), "total_evaluation_time_seconds", "switchyard"])].sort())
    expect(file.switchyard).toMatchObject({ bosPolicy: "tokenizer", prefixToken: 0, form: "mixture", documentsFromLog: 0, documents: 15 })
    expect([file.tokenizer_bos_token, file.tokenizer_eos_token, file.max_length]).toEqual([expected.results["tokenizer_bos_token"], expected.results["tokenizer_eos_token"], expected.results["max_length"]])
  })
  test("writes a line for each document's samples", () => {
    const name = readdirSync(written("run")).find((name) => name.startsWith("samples_boolq"))!
    const [sample] = readFileSync(join(written("run"), name), "utf8").trim().split("\n").map((line) => JSON.parse(line))
    expect(sample).toMatchObject({ doc_id: 0, target: "1", filter: "none", metrics: ["acc"], arguments: { gen_args_1: { arg_1: " yes" } } })
    expect(sample.filtered_resps[0]).toEqual([expect.stringMatching(/^-\d+\.\d+$/), "False"])
  })
  test("again: every document from the log, the same bits, no device work", async () => {
    const again = await run()
    expect(again.results).toEqual(first.results)
    expect(again.switchyard).toMatchObject({ requests: 0, documentsFromLog: 15 })
  })
  test("cut in mid-line by a crash: what is whole is kept, the rest done again, to the same bits", async () => {
    const log = join(written("run"), "finished.jsonl")
    truncateSync(log, Math.floor(statSync(log).size / 2))
    const again = await run(), { documentsFromLog } = again.switchyard
    expect(documentsFromLog).toBeGreaterThan(2)
    expect(documentsFromLog).toBeLessThan(13)
    for (const task of tasks) for (const [key, value] of Object.entries(first.results[task]!)) if (typeof value === "number") expect(again.results[task]![key]).toBeCloseTo(value, 6)
    expect((await run()).switchyard.documentsFromLog).toBe(15)
    appendFileSync(log, "not json\n{\"key\":1}\n")
    expect((await run()).switchyard.documentsFromLog).toBe(15)
  })
  test("another policy, prompt or model asks anew; a limit takes the first", async () => {
    expect((await run({ bosPolicy: "never" })).switchyard.documentsFromLog).toBe(0)
    expect((await run({ tasks: ["boolq"], shots: 1 })).switchyard.documentsFromLog).toBe(0)
    const limited = await run({ limit: 0.5 })
    expect(limited["n-samples"]).toEqual({ arc_easy: { original: 6, effective: 3 }, boolq: { original: 4, effective: 2 }, wikitext: { original: 5, effective: 3 } })
    expect(limited.switchyard).toMatchObject({ documents: 8, documentsFromLog: 8 })
  })
})

describe("what is refused, by name", () => {
  const options = { model: model("llama"), data, iterations: 0 }
  test("a task that is none, one whose answers do not fit, one without documents or with examples missing", async () => {
    expect(await failure({ ...options, tasks: ["hellaswagg"] })).toMatch(/hellaswagg: --tasks: there is no task or group of that name/)
    expect(await failure({ ...options, tasks: ["gsm8k"], shots: 0 })).toMatch(/answers of 256 tokens leave no room for a prompt in a context of 160.*max_gen_toks/)
    expect(await failure({ ...options, tasks: ["mmlu_astronomy"] })).toMatch(/it has no test documents.*mmlu_astronomy\/test\.jsonl/)
    expect(await failure({ ...options, tasks: ["piqa"], shots: 4 })).toMatch(/4 examples of 4 documents/)
  })
  test("a line that is not JSON, a column that is missing, an answer that is none of the labels, an empty choice", async () => {
    const write = async (line: string) => {
      mkdirSync(join(out, "data/openbookqa"), { recursive: true })
      writeFileSync(join(out, "data/openbookqa/test.jsonl"), `${line}\n`)
      return failure({ ...options, data: join(out, "data"), tasks: ["openbookqa"] })
    }
    const row = { question_stem: "The sun is", choices: { text: ["warm", "cold"], label: ["A", "B"] }, answerKey: "A" }
    expect(await write("{")).toMatch(/openbookqa: .*test\.jsonl: .*JSON/)
    expect(await write(JSON.stringify({ ...row, question_stem: undefined }))).toMatch(/document 0: column question_stem is no text/)
    expect(await write(JSON.stringify({ ...row, choices: { ...row.choices, text: ["warm", ""] } }))).toMatch(/document 0: choice 1 is empty/)
    expect(await write(JSON.stringify({ ...row, answerKey: "E" }))).toMatch(/answerKey "E" is none of the labels/)
  })
})

test("names: groups, patterns, each task once", async () => {
  const { groups, tasks } = await Effect.runPromise(Suite.select(["mmlu", "arc_*", "arc_easy"]))
  expect(tasks.length).toBe(59)
  expect(Object.keys(groups)).toEqual(["mmlu", "mmlu_stem", "mmlu_other", "mmlu_social_sciences", "mmlu_humanities"])
})

describe("a text", () => {
  test("the harness's rolling log-likelihood of a page, special tokens never added", async () => {
    const run = harness.runs[3]!, page = run.samples["wikitext"]![0]!
    const file = join(out, "page.txt")
    writeFileSync(file, page.arguments![0]![0]!)
    const found = await host(Suite.text({ model: model("mixtral"), file })), bytes = Buffer.byteLength(page.arguments![0]![0]!)
    expect(Math.abs(found.logLikelihood / page.answers[0]![0] - 1)).toBeLessThan(1e-5)
    expect(Object.keys(found)).toEqual(["tokens", "logLikelihood", "tokenPerplexity", "bytePerplexity", "bitsPerByte", "bosPolicy"])
    expect(found.bitsPerByte).toBeCloseTo(Math.log2(found.bytePerplexity), 10)
    expect(found.bytePerplexity).toBeCloseTo(Math.exp(-page.answers[0]![0] / bytes), 4)
    expect(found.bosPolicy).toBe("never")
  })
  test("through the command line, from a folder that is not the repository's", () => {
    const here = join(out, "elsewhere"), bin = new URL("../../bin/switchyard-eval.js", import.meta.url).pathname
    mkdirSync(here)
    cpSync(model("llama"), join(here, "model"), { recursive: true })
    writeFileSync(join(here, "a.txt"), "The cat sat on the mat.")
    execFileSync(process.execPath, [bin, "--model", "model", "--text", "a.txt", "--json", "score.json", "--device", "cpu"], { cwd: here, env: { ...process.env, INIT_CWD: here }, stdio: "pipe" })
    expect(existsSync(join(here, "score.json"))).toBe(true)
    expect(JSON.parse(readFileSync(join(here, "score.json"), "utf8"))).toMatchObject({ tokens: 23, bosPolicy: "never" })
  })
})
