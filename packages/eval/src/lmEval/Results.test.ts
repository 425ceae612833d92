import { describe, expect, test } from "@jest/globals"
import type { Group } from "../tasks.ts"
import { harness, recipeOf, rowsOf } from "./harness.fixture.ts"
import { ask, valuesOf } from "./requests.ts"
import * as Results from "./Results.ts"
import { resultTable } from "./resultTable.ts"

const two: Readonly<Record<string, Group>> = { mmlu_two: { version: 2, members: ["mmlu_anatomy", "mmlu_high_school_physics"], mean: ["acc"] } }

describe.each(harness.runs)("from the harness's answers: $model, $shots examples", (run) => {
  const scored = Object.entries(run.samples).map(([task, samples]): Results.Scored => {
    const recipe = recipeOf(task), rows = rowsOf(task, recipe.split), asked = ask(recipe, rows, { shots: 0, pool: [] })
    return {
      task, recipe, shots: run.shots ?? 0, original: rows.length, file: "",
      values: samples.map(({ answers }, at) => valuesOf(recipe, asked[at]!, answers.map(([logLikelihood, isGreedy = false]) => ({ logLikelihood, isGreedy }))))
    }
  })
  const results = Results.make(scored, "groups" in run.results ? two : {}, 2000)
  test("the same keys, the same numbers", () => {
    const near = (value: unknown): unknown => typeof value === "number" ? Number(value.toPrecision(10)) : typeof value === "object" && value !== null ? Object.fromEntries(Object.entries(value).map(([key, each]) => [key, near(each)])) : value
    for (const key of ["results", "groups", "versions", "n-shot", "higher_is_better", "n-samples", "group_subtasks"] as const) expect([key, near(results[key])]).toEqual([key, near(run.results[key])])
    expect(Object.keys(results).filter((key) => key !== "groups")).toEqual(Object.keys(run.results).filter((key) => key !== "groups").slice(0, 7))
  })
  test("the same table, letter for letter", () => expect(resultTable(results) + ("groups" in run.results ? `\n${resultTable(results, "groups")}` : "")).toBe(run.table))
})
test("a model's name as a folder", () => expect(Results.sanitize("org/name:v1*[x]")).toBe("org__name__v1__x__"))
