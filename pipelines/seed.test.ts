import { expect, test } from "@jest/globals"
import { Checkpoint, Pipeline, Store, Tokenizer } from "@switchyard/core"
import { Effect } from "effect"
import { readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { seed } from "./seed.ts"

const folder = fileURLToPath(new URL("../models/seed", import.meta.url))

test("the committed seed model is a dense byte-level Llama below 3 MB", async () => {
  const model = await Effect.runPromise(Checkpoint.open(folder))
  expect(model.header).toMatchObject({ form: "dense", parameters: 886_400, tokenizer: Tokenizer.bytes().hash })
  expect(new Set([...model.weights.infos.values()].map(({ dtype }) => dtype))).toEqual(new Set(["BF16"]))
  expect(readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)).toBeLessThan(3e6)
})

test("it was made by this pipeline from these texts: what is held out now was held out then", async () => {
  const { lineage } = await Effect.runPromise(Checkpoint.open(folder))
  const plan = await Effect.runPromise(Effect.provide(Pipeline.plan(seed()), Store.temporary))
  const trained = lineage.find(({ stage }) => stage === "finetune/train")!, planned = plan.find(({ stage }) => stage === "finetune/train")!
  expect(trained.inputs).toEqual(planned.inputs)
  expect(trained.key).toBe(planned.key)
})
