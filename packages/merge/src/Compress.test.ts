import { expect, test } from "@jest/globals"
import { Checkpoint, Model, Pipeline, Stage, Store, Table, Tables, Tokenizer } from "@switchyard/core"
import { Effect, Schema } from "effect"
import * as Compress from "./Compress.ts"
import { tinyMixture } from "./tinyMixture.ts"

const never = Effect.die("a plan runs nothing")
const form = { full: { kind: "full" }, biased: { kind: "full", bias: true }, "low-rank": { kind: "lowRank", rank: 2, scale: 1 } } as const satisfies Record<string, Model.Expert>
const mixture = Stage.make("test/mixture", {
  version: 1, inputs: [], options: Schema.Struct({ experts: Schema.Literals(["full", "biased", "low-rank"]) }), output: Checkpoint.Mixture,
  *describe(_, { experts }) { return { header: Checkpoint.headerOf(tinyMixture(4, form[experts]).model as Model.Model & { readonly feedForward: Model.Mixture }, Tokenizer.bytes().hash), cost: {} } },
  *run() { return yield* never }
})
const trace = Stage.make("test/trace", {
  version: 1, inputs: [], options: Schema.Struct({}), output: Table.Artifact(Tables.Trace),
  *describe() { return { header: { table: Tables.Trace.name, version: Tables.Trace.version, rows: 0 }, cost: {} } },
  *run() { return yield* never }
})
const planned = (build: () => ReturnType<typeof Compress.fold>) => Effect.runPromise(Effect.map(Pipeline.plan(Pipeline.make("compress", () => ({ small: build() }))), (steps) => steps.at(-1)!.header as unknown as Checkpoint.Header<"mixture">).pipe(Effect.provide(Store.temporary)))

test.each<readonly [string, () => ReturnType<typeof Compress.fold>, RegExp]>([
  ["low-rank experts merged", () => Compress.mergeExperts(mixture({ experts: "low-rank" }), trace({}), { keep: 2 }), /compress by mergeExperts: low-rank experts.*Compress\.fold/],
  ["biased experts merged", () => Compress.mergeExperts(mixture({ experts: "biased" }), trace({}), { keep: 2 }), /compress by mergeExperts: the experts have biases.*Compress\.dropExperts/],
  ["more kept than there are", () => Compress.mergeExperts(mixture({ experts: "full" }), trace({}), { keep: 5 }), /keep 5 of 4 experts/],
  ["low-rank experts once more", () => Compress.lowRank(mixture({ experts: "low-rank" }), { rank: 2 }), /compress by lowRank: the experts are of rank 2 already/],
  ["biased experts as factors", () => Compress.lowRank(mixture({ experts: "biased" }), { rank: 2 }), /compress by lowRank: the experts have biases/],
  ["a rank above the smaller axis", () => Compress.lowRank(mixture({ experts: "full" }), { rank: 17 }), /rank 17.*from 1 to 16/]
])("refused by the plan, before any work: %s", async (_, build, expected) => { await expect(planned(build)).rejects.toThrow(expected) })

test("a plan describes what comes out: folding leaves full experts, and their biases, as they are", async () => {
  const whole = tinyMixture(4, form.biased).model
  expect((await planned(() => Compress.fold(mixture({ experts: "biased" })))).parameters).toBe(Model.parameters(whole))
  expect((await planned(() => Compress.fold(mixture({ experts: "low-rank" })))).parameters).toBe(Model.parameters(tinyMixture(4).model))
})
