import { afterAll, describe, expect, test } from "@jest/globals"
import { Effect } from "effect"
import fc from "fast-check"
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { tasks } from "../tasks.ts"
import { csvCells, readRows, wikitextPages } from "./readRows.ts"
import { ask } from "./requests.ts"

describe("comma-separated cells", () => {
  test("quotes hold commas, line ends and doubled quotes", () =>
    expect(csvCells("a,\"b,\"\"c\"\"\r\nd\",\r\n\"\",e\n")).toEqual([["a", "b,\"c\"\r\nd", ""], ["", "e"]]))
  test("what was written is read, whatever is in it", () => {
    const quoted = (cell: string) => `"${cell.replaceAll("\"", "\"\"")}"`
    fc.assert(fc.property(fc.array(fc.array(fc.string(), { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 5 }), (lines) => {
      expect(csvCells(lines.map((line) => line.map(quoted).join(",")).join("\n"))).toEqual(lines)
    }), { seed: 3, numRuns: 200 })
  })
})

test("wikitext's pages begin at headings of one =", () =>
  expect(wikitextPages(" \n = A = \n text \n = = Part = = \n more \n = B = \n end \n").map(({ page }) => page)).toEqual([" = A = \n text \n = = Part = = \n more ", " = B = \n end \n"]))

describe("files named after the split, as data sets of the Hub have them", () => {
  const at = mkdtempSync(join(tmpdir(), "rows-")), recipe = tasks["boolq"]!
  const put = (name: string, text: string) => { mkdirSync(dirname(join(at, name)), { recursive: true }); writeFileSync(join(at, name), text) }
  const row = (n: number) => JSON.stringify({ passage: `p${n}`, question: `q${n}`, label: n % 2 })
  afterAll(() => rmSync(at, { recursive: true }))
  const read = (data: string, split = recipe.split) => Effect.runPromise(Effect.match(readRows("boolq", recipe, split, data), { onSuccess: ({ rows }) => rows.map(({ question }) => question), onFailure: (error) => [error._tag, error.message] }))
  test("pieces in their order, beside other splits; JSON lines under the name json; CSV with names", async () => {
    put("a/data/validation-00001-of-00002.jsonl", row(2))
    put("a/data/validation-00000-of-00002.jsonl", `${row(0)}\n${row(1)}\n`)
    put("a/data/train.jsonl", row(9))
    expect(await read(join(at, "a"))).toEqual(["q0", "q1", "q2"])
    expect(await read(join(at, "a"), "train")).toEqual(["q9"])
    put("b/boolq.validation.json", `${row(3)}\n${row(4)}\n`)
    expect(await read(join(at, "b"))).toEqual(["q3", "q4"])
    put("c/validation.csv", "label,passage,question\n1,p,q5\n")
    expect(await read(join(at, "c"))).toEqual(["q5"])
  })
  test("of several, the one below the task's name; else all are named", async () => {
    put("d/boolq/dev/validation.jsonl", row(6))
    put("d/copa/validation.jsonl", row(7))
    expect(await read(join(at, "d"))).toEqual(["q6"])
    put("e/x/validation.jsonl", row(6))
    put("e/y/validation.jsonl", row(7))
    expect((await read(join(at, "e")))[1]).toMatch(/several files could be its validation documents: x.validation\.jsonl, y.validation\.jsonl/)
  })
  test("what lies below another task's name is that task's", async () => {
    put("f/piqa/validation.jsonl", row(6))
    expect((await read(join(at, "f")))[1]).toMatch(/it has no validation documents/)
  })
  test("one file is the evaluated split; it has no other", async () => {
    expect(await read(join(at, "a", "data", "train.jsonl"))).toEqual(["q9"])
    expect((await read(join(at, "a", "data", "train.jsonl"), "train"))[1]).toMatch(/it is one file, and the examples are from the train documents/)
    expect((await read(join(at, "nothing")))[1]).toMatch(/it has no validation documents\. Put them there as boolq\/validation\.jsonl/)
  })
})

/** Public data in the layouts they are given out in. */
const folder = process.env["SWITCHYARD_DATA"], evaluations = folder === undefined ? undefined : join(folder, "eval")
const cases = [
  { task: "arc_challenge", documents: 1150, choices: 4, begins: "Question: " }, { task: "piqa", documents: 1838, choices: 2, begins: "Question: " },
  { task: "lambada_openai", documents: 5153, choices: 1, begins: "" }, { task: "mmlu_anatomy", documents: 135, choices: 4, begins: "The following are multiple choice questions (with answers) about anatomy.\n\n" }
]
const present = evaluations !== undefined && existsSync(evaluations)
;(present ? describe : describe.skip)(`public data in the folder SWITCHYARD_DATA${present ? "" : " (not set: left out)"}`, () => {
  test.each(cases)("$task", async ({ begins, choices, documents, task }) => {
    const recipe = tasks[task]!, { rows } = await Effect.runPromise(readRows(task, recipe, recipe.split, evaluations!))
    const asked = ask(recipe, rows, { shots: 0, pool: [] })
    expect(Math.abs(asked.length - documents)).toBeLessThan(60) // copies differ by a few
    for (const { requests } of asked) {
      expect(requests[0]![0].startsWith(begins)).toBe(true)
      expect(requests[0]!.length).toBe(2)
    }
    expect(asked.filter(({ requests }) => requests.length === choices).length / asked.length).toBeGreaterThan(0.98) // a few questions of ARC have three or five
  })
})
