/** Numbers that the command line refuses, before anything is read. */
import { expect, test } from "@jest/globals"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect } from "effect"
import { Command } from "effect/cli"
import { command } from "./suite.ts"

test.each<readonly [ReadonlyArray<string>, RegExp]>([
  [["--num_fewshot", "1.5"], /--num_fewshot must be a whole number of 0 or more, got 1\.5/],
  [["--max_length", "10.5"], /--max_length must be a whole number of 1 or more, got 10\.5/],
  [["--bootstrap_iters", "-1"], /--bootstrap_iters must be a whole number of 0 or more, got -1/],
  [["--seed", "0,1234,abc"], /--seed must be a whole number, got abc/],
  [["--limit", "many"], /--limit must be a number of 0 or more, got many/]
])("%j is refused by name", async (args, says) => {
  const work = Command.runWith(command, { version: "0.1.0" })(["--model", "none", "--tasks", "piqa", "--data", "none", ...args])
  const failure = await Effect.runPromise(Effect.match(work, { onSuccess: () => "accepted", onFailure: (error) => (error as Error).message }).pipe(Effect.provide(NodeServices.layer)))
  expect(failure).toMatch(says)
})
