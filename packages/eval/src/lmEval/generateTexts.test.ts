/** gsm8k as lm-evaluation-harness ran it: texts, what its filters take of them, what counts as right, results and table. tools/fixtures/lm_eval_gsm8k.py */
import { afterAll, describe, expect, test } from "@jest/globals"
import { Device } from "@switchyard/gpu"
import { Effect } from "effect"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { tasks } from "../tasks.ts"
import { exactMatch, extractAnswer } from "./extractAnswer.ts"
import { folder } from "./harness.fixture.ts"
import { resultTable } from "./resultTable.ts"
import * as Suite from "./Suite.ts"

interface Sample { readonly document: number; readonly filter: string; readonly text: string; readonly filtered: string; readonly value: number; readonly hashes: ReadonlyArray<string> }
const harness = JSON.parse(readFileSync(new URL("gsm8k.json", folder), "utf8")) as {
  readonly runs: ReadonlyArray<{ readonly model: string; readonly shots: number; readonly tokens: number; readonly samples: ReadonlyArray<Sample>; readonly results: Readonly<Record<string, number>>; readonly table: string; readonly task_hash: string; readonly higher: unknown; readonly versions: unknown }>
  readonly texts: ReadonlyArray<{ readonly text: string; readonly target: string; readonly filtered: Readonly<Record<string, string>>; readonly values: Readonly<Record<string, number>> }>
}
const recipe = tasks["gsm8k"]!, out = mkdtempSync(join(tmpdir(), "switchyard-gsm8k-"))
afterAll(() => rmSync(out, { recursive: true, force: true }))

test.each(harness.texts)("taken from $text for $target", ({ filtered, target, text, values }) => {
  if (recipe.output !== "generate_until") throw new Error("gsm8k generates")
  for (const filter of recipe.filters) {
    const answer = extractAnswer(filter, text)
    expect(answer).toBe(filtered[filter.name])
    expect(exactMatch(answer, target, recipe.ignore)).toBe(values[filter.name])
  }
})
describe.each(harness.runs)("$model, $shots examples", ({ higher, model, results: expected, samples, shots, table, task_hash, tokens, versions }) => {
  const run = (batch: number) => Effect.runPromise(Suite.run({
    model: new URL(`models/${model}`, folder).pathname, data: new URL("data", folder).pathname, tasks: ["gsm8k"], shots, maximumGenerated: tokens, batch, out, logSamples: true, iterations: 100
  }).pipe(Effect.provide(Device.host({ workers: 0 }))))
  test("texts, answers, figures, hashes and table are the harness's; a second run reads the log", async () => {
    const results = await run(2)
    const file = readdirSync(join(out, results.model_name_sanitized)).filter((name) => name.startsWith("samples_gsm8k")).sort().at(-1)!
    const lines = readFileSync(join(out, results.model_name_sanitized, file), "utf8").trim().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(lines.map((line) => ({ document: line["doc_id"], filter: line["filter"], text: (line["resps"] as ReadonlyArray<ReadonlyArray<string>>)[0]![0], filtered: (line["filtered_resps"] as ReadonlyArray<string>)[0], value: line["exact_match"], hashes: [line["doc_hash"], line["prompt_hash"], line["target_hash"]] }))).toEqual(samples)
    expect(resultTable(results)).toBe(table)
    expect(results.task_hashes["gsm8k"]).toBe(task_hash)
    expect(results.higher_is_better).toEqual(higher)
    expect(results.versions).toEqual(versions)
    for (const [name, value] of Object.entries(expected)) if (typeof value === "number") expect(results.results["gsm8k"]![name]).toBeCloseTo(value, 12)
    const again = await run(1)
    expect(again.switchyard.documentsFromLog).toBe(2)
    expect(again.results).toEqual(results.results)
  })
})
