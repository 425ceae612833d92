/** What transformers generates, family by family, with its own padding on the left: tools/fixtures/generation.py made the fixture. */
import { describe, expect, test } from "@jest/globals"
import { Checkpoint } from "@switchyard/core"
import { Device, Generate, Sampling } from "@switchyard/gpu"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as Generation from "./Generation.ts"

interface Family { readonly greedy: ReadonlyArray<ReadonlyArray<number>>; readonly penalised: ReadonlyArray<ReadonlyArray<number>>; readonly left: ReadonlyArray<ReadonlyArray<number>>; readonly right: ReadonlyArray<ReadonlyArray<number>> }
const fixture = JSON.parse(readFileSync(new URL("./fixtures/generation.json", import.meta.url), "utf8")) as {
  readonly prompts: ReadonlyArray<ReadonlyArray<number>>; readonly new: number; readonly families: Readonly<Record<string, Family>>
  readonly sampling: ReadonlyArray<{ readonly options: Sampling.Options; readonly logits: ReadonlyArray<number>; readonly before: ReadonlyArray<number>; readonly ids: ReadonlyArray<number>; readonly probabilities: ReadonlyArray<number> }>
}
const { prompts } = fixture, folder = (name: string) => fileURLToPath(new URL(`./fixtures/families/${name}`, import.meta.url))
const on = <A, E>(layer: ReturnType<typeof Device.host>, work: Effect.Effect<A, E, Device.Device>) => Effect.runPromise(Effect.provide(work, layer) as Effect.Effect<A>)

/** LongRoPE has factors for texts up to the original context, 16, and others beyond: ours follow from the window, transformers' change when a text grows past it. */
const windows: Readonly<Record<string, number>> = { "phi3-short": 16 }
describe.each(Object.entries(fixture.families))("%s", (name, expected) => {
  test("a batch, and each prompt alone: the logits and greedy ids that transformers has with padding", () => on(Device.host({ workers: 0 }), Effect.scoped(Effect.gen(function*() {
    const checkpoint = yield* Checkpoint.open(folder(name)), window = windows[name] ?? 24, maximum = Math.min(fixture.new, window - Math.max(...prompts.map(({ length }) => length)))
    const together = yield* Generation.open(checkpoint, { batch: prompts.length, window }), alone = yield* Generation.open(checkpoint, { window })
    const logits = yield* together.advance(prompts.map((ids, row) => ({ row, ids, fresh: true })))
    for (const [row, ids] of prompts.entries()) {
      const [own] = yield* alone.advance([{ row: 0, ids, fresh: true }])
      for (const side of ["left", "right"] as const) for (const found of [logits[row]!, own!]) for (const [id, value] of expected[side][row]!.entries()) expect(Math.abs(found[id]! - value)).toBeLessThan(2e-4)
    }
    for (const [options, ids] of [[{}, expected.greedy], [{ repetitionPenalty: 1.7 }, expected.penalised]] as const) {
      const answers = yield* Generate.answers(together, checkpoint.tokenizer, prompts, { maximum, stop: [], ...options })
      expect(answers.map((answer) => answer.ids)).toEqual(ids.map((row) => row.slice(0, maximum)))
    }
  }))))
})
test.each(fixture.sampling)("$options: the ids and probabilities that transformers' processors leave", ({ before, ids, logits, options, probabilities }) => {
  const found = Sampling.candidates(Sampling.penalized(Float32Array.from(logits), before, options.repetitionPenalty ?? 1), options), total = found.weights.reduce((sum, weight) => sum + weight, 0)
  expect(found.ids).toEqual(ids)
  found.weights.forEach((weight, at) => expect(Math.abs(weight / total - probabilities[at]!)).toBeLessThan(1e-6))
})
