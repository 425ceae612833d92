/** What a report refuses when it is planned: a name that is none of its models would leave a comparison out. */
import { describe, expect, test } from "@jest/globals"
import { Checkpoint, Corpus, Model, Pipeline, Stage, Store, Tokenizer, Weights } from "@switchyard/core"
import { plain } from "@switchyard/gpu"
import { Cause, Effect, Exit, Layer, Schema } from "effect"
import * as Evaluate from "./Evaluate.ts"
import * as Task from "./Task.ts"

const shape: Model.Model = {
  family: "llama", vocabulary: 260, hidden: 8, layers: 1, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 16, normEpsilon: 1e-5, ropeTheta: 1e4, tiedEmbeddings: true,
  feedForward: { kind: "dense", inner: 8 }, extra: {}
}
const weights = Weights.fromMemory(Object.fromEntries(Model.tensors(shape).map(({ name, shape }) => [name, { shape, data: new Float32Array(shape.reduce((product, axis) => product * axis, 1)).fill(1) }])))
const checkpoint = Checkpoint.make({ model: shape as Model.Model & { readonly feedForward: Model.Dense }, tokenizer: Tokenizer.bytes(), weights })
const given = Stage.make("test/dense", {
  version: 1, inputs: [], options: Schema.Struct({ copy: Schema.Int }), output: Checkpoint.Dense,
  *describe() { return { header: checkpoint.header, cost: {} } },
  *run() { return checkpoint }
})
const text = Stage.make("test/text", {
  version: 1, inputs: [], options: Schema.Struct({}), output: Corpus.Artifact,
  *describe() { return { header: { domain: "law" }, cost: {} } },
  *run() { return { kind: "corpus", header: { domain: "law" }, domain: "law", documents: [] } }
})

describe("refused by plan, before any work", () => {
  const planned = (options: { readonly baselines?: ReadonlyArray<string>; readonly oracle?: Readonly<Record<string, string>> }, last = "b") => Effect.runPromiseExit(Pipeline.plan(Pipeline.make("test", () => ({
    report: Evaluate.compare({ a: given({ copy: 0 }), [last]: given({ copy: 1 }) }, { law: text({}) }, { title: "test", task: Task.bitsPerByte({ tokens: 8 }), ...options })
  }))).pipe(Effect.provide(Layer.mergeAll(Store.temporary, plain()))))
  const message = async (options: Parameters<typeof planned>[0], last?: string) => {
    const exit = await planned(options, last)
    return Exit.isFailure(exit) ? (Cause.squash(exit.cause) as Error).message : "planned"
  }
  test("a baseline that is none of the models", async () => { expect(await message({ baselines: ["a", "contrl"] })).toMatch(/baselines: "contrl" is none of the models, which are a, b/) })
  test("an oracle's expert that is none of the models", async () => { expect(await message({ oracle: { law: "c" } })).toMatch(/oracle\.law: "c" is none of the models/) })
  test("a model that is called oracle, beside an oracle", async () => { expect(await message({ oracle: { law: "a" } }, "oracle")).toMatch(/oracle: a model has that name already/) })
  test("a baseline that is the oracle is none of them, and is planned", async () => { expect(await message({ oracle: { law: "a" }, baselines: ["b", "oracle"] })).toBe("planned") })
  test("a model may be called oracle where no oracle is asked for", async () => { expect(await message({ baselines: ["oracle"] }, "oracle")).toBe("planned") })
})
