import { describe, expect, test } from "@jest/globals"
import { harness, recipeOf, rowsOf } from "./harness.fixture.ts"
import * as PythonText from "./PythonText.ts"
import { ask, valuesOf } from "./requests.ts"
import { aggregate, type Name, type Value } from "./aggregate.ts"
import { standardError } from "./standardError.ts"

const half = (text: string) => PythonText.sha256(text).slice(0, 16)
const asked = (task: string, shots: number) => {
  const recipe = recipeOf(task)
  return ask(recipe, rowsOf(task, recipe.split), { shots, pool: shots === 0 ? [] : rowsOf(task, recipe.examples.split) })
}
const runs = harness.runs.flatMap((run) => Object.entries(run.samples).map(([task, samples]) => ({ run, task, samples, shots: run.shots ?? 0, name: `${task}, ${run.shots ?? 0} examples, ${run.model}` })))

describe("requests, letter for letter the harness's", () => {
  test.each(runs)("$name", ({ run, samples, shots, task }) => {
    const found = asked(task, task === "wikitext" ? 0 : shots)
    expect(found.map(({ document }) => document)).toEqual(samples.map(({ doc_id }) => doc_id))
    for (const [at, sample] of samples.entries()) {
      const { requests, row, target } = found[at]!
      if (sample.arguments !== undefined) expect(requests).toEqual(sample.arguments)
      expect(half(JSON.stringify(requests))).toBe(sample.requests)
      expect([half(PythonText.dump(row)), half(requests[0]![0]), half(target)]).toEqual(sample.hashes)
    }
    expect(PythonText.sha256(found.map(({ requests, row, target }) => [PythonText.dump(row), requests[0]![0], target].map(PythonText.sha256).join("")).join(""))).toBe(run.results.task_hashes[task])
  })
  test.each(Object.entries(harness.gsm8k))("gsm8k's prompts, %s examples", (shots, prompts) => {
    expect(asked("gsm8k", Number(shots)).map(({ requests, target }) => ({ prompt: requests[0]![0], target }))).toEqual(prompts)
  })
})

describe("metrics and standard errors of the harness's own log-likelihoods", () => {
  const close = (found: unknown, expected: unknown): void => {
    if (typeof expected === "string") expect(found).toBe(expected)
    else if (Array.isArray(expected)) expected.forEach((each, at) => close((found as ReadonlyArray<unknown>)[at], each))
    else expect(Math.abs((found as number) - (expected as number))).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(expected as number)))
  }
  test.each(runs)("$name", ({ run, samples, shots, task }) => {
    const recipe = recipeOf(task), found = asked(task, task === "wikitext" ? 0 : shots)
    const values = samples.map(({ answers }, at) => valuesOf(recipe, found[at]!, answers.map(([logLikelihood, isGreedy = false]) => ({ logLikelihood, isGreedy }))))
    samples.forEach((sample, at) => {
      expect(Object.keys(sample.values).sort()).toEqual(Object.keys(values[at]!).sort())
      for (const [name, expected] of Object.entries(sample.values)) close(values[at]![name as Name], expected)
    })
    const { alias: _alias, name: _name, sample_len: _length, ...figures } = run.results.results[task]!
    expect(Object.keys(figures).length).toBe(2 * recipe.metrics.length)
    for (const name of recipe.metrics) {
      const all = values.map((each) => each[name] as Value)
      close(aggregate(name, all), figures[`${name},none`])
      close(standardError(name, all, 2000), figures[`${name}_stderr,none`])
    }
  })
})
