/** Against lm-evaluation-harness run on the same two model folders: tools/fixtures/lm_eval.py. */
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals"
import { Checkpoint } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { Effect, Exit, Layer, Scope } from "effect"
import { aggregate, type Value } from "./aggregate.ts"
import { encodePair, encoder, type Pair } from "./encodePair.ts"
import { folder, harness, recipeOf, rowsOf, type Run } from "./harness.fixture.ts"
import { argmax, type Answer } from "./judgeChoices.ts"
import { ask, valuesOf } from "./requests.ts"
import * as Scorer from "./Scorer.ts"

jest.setTimeout(120_000)
/** What one run asked, as tokens: each request is one pair, or the pairs of a rolling text. */
const requestsOf = (checkpoint: Checkpoint.Any, run: Run) => {
  const encode = encoder(checkpoint.tokenizer, run.options.add_bos_token === false ? "never" : "tokenizer")
  return Object.entries(run.samples).map(([task, samples]) => {
    const recipe = recipeOf(task), shots = task === "wikitext" ? 0 : run.shots ?? 0
    const asked = ask(recipe, rowsOf(task, recipe.split), { shots, pool: shots === 0 ? [] : rowsOf(task, recipe.examples.split) })
    return { task, recipe, samples, asked, pairs: asked.map(({ requests }) => requests.map((request): ReadonlyArray<Pair> => request.length === 1 ? Scorer.rollingPairs(encode, request[0], checkpoint.model.contextLength) : [encodePair(encode, ...request)])) }
  })
}
let scope: Scope.Closeable
const devices = { host: () => Device.host({ workers: 0 }), "two replicas": () => Device.host({ workers: 2 }), software: () => Device.software() }
const open = async (name: string, options: { readonly batch?: number } = {}, device: keyof typeof devices = "host") => {
  const checkpoint = await Effect.runPromise(Checkpoint.open(new URL(`models/${name}`, folder).pathname))
  const scorer = await Effect.runPromise(Scorer.make(checkpoint, { longest: checkpoint.model.contextLength, ...options }).pipe(Effect.provideContext(await Effect.runPromise(Layer.buildWithScope(devices[device](), scope))), Effect.provideService(Scope.Scope, scope)))
  return { checkpoint, scorer }
}
beforeAll(() => { scope = Effect.runSync(Scope.make()) })
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

const cases = harness.runs.map((run) => ({ run, device: "host" as keyof typeof devices, name: `${run.model}, ${run.shots ?? 0} examples${run.options.add_bos_token === false ? ", no BOS" : ""}` }))
const elsewhere = (["two replicas", "software"] as const).map((device) => ({ ...cases[1]!, device }))

describe.each([...cases, ...elsewhere])("the harness's run: $name, on $device", ({ device, run }) => {
  let tasks: ReturnType<typeof requestsOf>, answers: ReadonlyArray<ReadonlyArray<ReadonlyArray<Answer>>>
  beforeAll(async () => {
    const { checkpoint, scorer } = await open(run.model, {}, device)
    tasks = requestsOf(checkpoint, run)
    const flat = tasks.flatMap(({ pairs }) => pairs.flat(2)), all = await Effect.runPromise(scorer.score(flat))
    let at = 0
    answers = tasks.map(({ pairs }) => pairs.map((document) => document.map((request) => request.map(() => all[at++]!)
      .reduce((sum, answer) => ({ logLikelihood: sum.logLikelihood + answer.logLikelihood, isGreedy: sum.isGreedy && answer.isGreedy }), { logLikelihood: 0, isGreedy: true }))))
  })
  test("every request's log-likelihood within 1e-3 nats or 1e-5 of it, and the same greediness", () => {
    let worst = 0, requests = 0
    for (const [t, { samples }] of tasks.entries()) for (const [d, { answers: expected }] of samples.entries()) for (const [r, [logLikelihood, isGreedy]] of expected.entries()) {
      const found = answers[t]![d]![r]!
      worst = Math.max(worst, Math.abs(found.logLikelihood - logLikelihood) / Math.max(1e-3, 1e-5 * Math.abs(logLikelihood)))
      if (isGreedy !== undefined) expect(found.isGreedy).toBe(isGreedy)
      requests++
    }
    expect(worst).toBeLessThan(1)
    expect(requests).toBeGreaterThan(20)
  })
  test("perplexities within 1e-4, accuracies equal but for near-ties", () => {
    const ties: Array<string> = []
    for (const [t, { asked, recipe, samples, task }] of tasks.entries()) {
      const values = answers[t]!.map((document, d) => valuesOf(recipe, asked[d]!, document))
      for (const [d, each] of values.entries()) for (const [name, value] of Object.entries(each)) {
        if (typeof value !== "number" || name === "perplexity") continue
        if (value !== samples[d]!.values[name]) {
          const sums = samples[d]!.answers.map(([sum]) => sum), best = argmax(sums)
          expect(Math.min(...sums.map((sum, at) => at === best ? Infinity : sums[best]! - sum))).toBeLessThan(2e-3)
          ties.push(`${task} ${d} ${name}`)
        }
      }
      for (const name of recipe.metrics) if (!name.startsWith("acc") && name !== "exact_match") {
        const expected = run.results.results[task]![`${name},none`] as number
        expect(Math.abs(aggregate(name, values.map((value) => value[name] as Value)) / expected - 1)).toBeLessThan(1e-4)
      }
    }
    expect(ties).toEqual([])
  })
})

test("one at a time and many at once give the same numbers; equal inputs are run once", async () => {
  const { checkpoint, scorer } = await open("mixtral", { batch: 1 }), many = (await open("mixtral", { batch: 7 })).scorer
  const pairs = requestsOf(checkpoint, harness.runs[1]!).flatMap(({ pairs }) => pairs.flat(2)).slice(0, 60)
  const [alone, together] = [await Effect.runPromise(scorer.score(pairs)), await Effect.runPromise(many.score(pairs))]
  for (const [at, { isGreedy, logLikelihood }] of alone.entries()) {
    expect(Math.abs(together[at]!.logLikelihood - logLikelihood)).toBeLessThan(1e-4)
    expect(together[at]!.isGreedy).toBe(isGreedy)
  }
  const calls: Array<number> = [], letters = [10, 11, 12, 13].map((token): Pair => ({ context: [5, 6, 7], continuation: [token] }))
  const found = await Effect.runPromise(scorer.score(letters, (answers) => Effect.sync(() => { calls.push(answers.size) })))
  expect(calls).toEqual([4]) // a batch of one row answered all four
  expect(found.map(({ logLikelihood }) => Math.exp(logLikelihood)).reduce((sum, p) => sum + p, 0)).toBeLessThan(1)
})
test("nothing to score, or too much, is an error that says which request", async () => {
  const { scorer } = await open("llama")
  const fail = (pair: Pair) => Effect.runPromise(Effect.flip(scorer.score([{ context: [1], continuation: [2] }, pair])))
  expect((await fail({ context: [1], continuation: [] })).message).toMatch(/request 1: its continuation has no token/)
  expect((await fail({ context: [1], continuation: new Array<number>(161).fill(5) })).message).toMatch(/161 tokens, the model sees 160/)
})
