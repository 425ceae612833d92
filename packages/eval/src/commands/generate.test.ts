/** The command on a tiny model: the text that the generator gives, and what is refused. */
import { expect, jest, test } from "@jest/globals"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Checkpoint } from "@switchyard/core"
import { Device, Generate } from "@switchyard/gpu"
import { Generation } from "@switchyard/routing"
import { Effect } from "effect"
import { Command } from "effect/cli"
import { fileURLToPath } from "node:url"
import { command } from "./generate.ts"

const model = fileURLToPath(new URL("../fixtures/lm-eval/models/mixtral", import.meta.url))
/** What the command writes, and its exit. */
const run = async (...args: ReadonlyArray<string>) => {
  const written: Record<"stdout" | "stderr", string> = { stdout: "", stderr: "" }
  const spies = (["stdout", "stderr"] as const).map((name) => jest.spyOn(process[name], "write").mockImplementation((text) => { written[name] += String(text); return true }))
  try {
    const work = Command.runWith(command, { version: "0.1.0" })(["--model", model, "--device", "host", ...args])
    return { failure: await Effect.runPromise(Effect.match(work, { onSuccess: () => undefined, onFailure: (error) => (error as Error).message }).pipe(Effect.provide(NodeServices.layer))), ...written }
  } finally { for (const spy of spies) spy.mockRestore() }
}

test("prints the answer of the library, then how fast it came", async () => {
  const options = { maximum: 12, temperature: 0.8, topK: 9, seed: 4 }
  const expected = await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const checkpoint = yield* Checkpoint.open(model)
    return yield* Generate.run(yield* Generation.open(checkpoint), checkpoint.tokenizer, "The cat sat", { ...options, stop: yield* Generation.stopIds(checkpoint) })
  })).pipe(Effect.provide(Device.host({ workers: 0 }))))
  const { failure, stderr, stdout } = await run("--prompt", "The cat sat", "--maximum", "12", "--temperature", "0.8", "--top-k", "9", "--seed", "4")
  expect(failure).toBeUndefined()
  expect(stdout).toBe(`${expected.text}\n`)
  expect(stderr).toMatch(/^\d+ tokens of prompt in [\d.]+ s, then \d+ at [\d.]+ a second; ended at (maximum|stop); /)
})
test.each<readonly [string, ReadonlyArray<string>, RegExp]>([
  ["a chat without a template", ["--prompt", "a", "--chat"], /the model has no chat template/],
  ["an option out of range", ["--prompt", "a", "--top-p", "2"], /--top-p 2. Give a number above 0/],
  ["a window without a place", ["--prompt", "a", "--window", "0"], /--window 0. Give 1 or more/],
  ["a seed below zero", ["--prompt", "a", "--seed", "-1"], /--seed -1. Give 0 or more/],
  ["what a chat alone has", ["--prompt", "a", "--system", "b"], /--system is given without --chat/],
  ["a prompt that does not fit", ["--prompt", "abcdefgh".repeat(60)], /prompt 0: it has \d+ tokens, the generator's window holds 96/]
])("%s is refused by name", async (_, args, says) => {
  const { failure, stdout } = await run(...args)
  expect(failure).toMatch(says)
  expect(stdout).toBe("")
})
