import { describe, expect, test } from "@jest/globals"
import { Effect } from "effect"
import fc from "fast-check"
import { existsSync } from "node:fs"
import { join } from "node:path"
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
