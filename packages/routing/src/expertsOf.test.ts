import { expect, test } from "@jest/globals"
import { Checkpoint, type Model, Tokenizer, Weights } from "@switchyard/core"
import { Effect } from "effect"
import { expertsOf } from "./expertsOf.ts"

const model: Model.Model = {
  family: "switchyard", vocabulary: 260, hidden: 4, layers: 1, heads: 1, keyValueHeads: 1, headSize: 4, contextLength: 8, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true,
  feedForward: { kind: "mixture", inner: 4, experts: 2, active: 1, expert: { kind: "full" }, router: {}, routerTensors: {} }, extra: {}
}
/** A mixture of two experts whose upcycle recorded these. */
const mixture = (...experts: ReadonlyArray<string>): Checkpoint.Any => ({
  kind: "checkpoint", header: Checkpoint.headerOf(model, ""), model, weights: Weights.fromMemory({}), tokenizer: Tokenizer.bytes(), sideFiles: {},
  lineage: [{ stage: "upcycle", key: "", inputs: {}, facts: { experts } }, { stage: "compress", key: "", inputs: {}, facts: { keep: 2 } }]
})
const run = Effect.runPromise

test("the upcycle's names, in their order, or the labels given", async () => {
  expect(await run(expertsOf(mixture("code", "law"), ["law", "code", "law"]))).toEqual([1, 0, 1])
  expect(await run(expertsOf(mixture("code", "law"), ["law", "sea"], { law: 0, sea: 0 }))).toEqual([0, 0])
})
test("names of experts that have been dropped or merged since say nothing of those that are left", async () => {
  const four = mixture("code", "law", "news", "sea")
  expect((await run(Effect.flip(expertsOf(four, ["code", "law"])))).message).toMatch(/recorded 4 experts, code, law, news, sea, and the mixture has 2: .*Remedy: give labels/)
  expect(await run(expertsOf(four, ["code", "sea"], { code: 0, sea: 1 }))).toEqual([0, 1])
})
