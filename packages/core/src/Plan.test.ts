import { beforeEach, expect, test } from "@jest/globals"
import { Effect, Schema } from "effect"
import * as Artifact from "./Artifact.ts"
import * as Pipeline from "./Pipeline.ts"
import * as Plan from "./Plan.ts"
import { surprises } from "./planTable.ts"
import * as Stage from "./Stage.ts"
import * as Store from "./Store.ts"

const ran: Array<string> = []
beforeEach(() => { ran.length = 0 })
const Base = Artifact.json("base", Schema.Struct({ header: Schema.Struct({ hidden: Schema.Int, parameters: Schema.Int }) }))
const Delta = Artifact.json("delta", Schema.Struct({ header: Schema.Struct({ base: Schema.String }) }))
class WrongBase extends Schema.TaggedError<WrongBase>()("WrongBase", { trainedOn: Schema.String, given: Schema.String }) {}

const base = Stage.make("base", {
  version: 1, inputs: [], options: Schema.Struct({ hidden: Schema.Int }), output: Base,
  *describe(_, { hidden }) { return { header: { hidden, parameters: 12 * hidden * hidden }, cost: { bytesRead: 48 * hidden * hidden } } },
  *run(_, { hidden }) { ran.push("base"); return { header: { hidden, parameters: 12 * hidden * hidden } } }
})
// the second figure of `wrong` is what a mistaken plan says
const train = Stage.make("train", {
  version: 1, inputs: [Stage.one("base", Base)], options: Schema.Struct({ planned: Schema.Finite.pipe(Stage.byDefault(1)) }), output: Delta,
  *describe({ base }, { planned }) { return { header: { base: base.key }, cost: { flops: planned * 6e6 * base.hidden, deviceBytes: 1000 * base.hidden, largestBuffer: 400 } } },
  *run({ base }, _, context) {
    ran.push("train")
    yield* context.actual({ flops: 6.3e6 * base.header.hidden, deviceBytes: 900 * base.header.hidden })
    return { header: { base: context.keys["base"]! } }
  }
})
const fold = Stage.make("fold", {
  version: 1, inputs: [Stage.one("base", Base), Stage.record("deltas", Delta)], options: Schema.Struct({}), output: Base,
  *describe({ base, deltas }) {
    for (const delta of Object.values(deltas)) if (delta.base !== base.key) return yield* new WrongBase({ trainedOn: delta.base, given: base.key })
    return { header: { hidden: base.hidden, parameters: base.parameters }, cost: {} }
  },
  *run({ base }) { ran.push("fold"); return base }
})
const within = <A, E>(effect: Effect.Effect<A, E, Store.Store>) => Effect.runPromise(Effect.provide(effect, Store.temporary))

test("a plan walks the graph from headers, runs nothing, and shows the actual figures once they are known", () => within(Effect.gen(function*() {
  const pipeline = Pipeline.make("p", () => { const seed = base({ hidden: 64 }); return { folded: fold(seed, { law: train(seed) }) } })
  const before = yield* Pipeline.plan(pipeline)
  expect(ran).toEqual([])
  expect(before.map((row) => [row.stage, row.status])).toEqual([["base", "to do"], ["train", "to do"], ["fold", "to do"]])
  expect(before[2]!.header).toEqual({ hidden: 64, parameters: 49_152 })
  expect(before[2]!.inputs).toEqual({ base: before[0]!.key, "deltas.law": before[1]!.key })
  const planned = Plan.table(before).split("\n")
  expect(planned[1]).toMatch(/^to do {2}[0-9a-f]{8} {2}base +49\.2k +· +· +· +197k +·/)
  expect(planned[2]).toMatch(/^to do {2}[0-9a-f]{8} {2}train +· +384M +· +64\.0k +· +· +400/)
  yield* Pipeline.run(pipeline)
  const after = yield* Pipeline.plan(pipeline)
  expect(after.map((row) => row.status)).toEqual(["kept", "kept", "kept"])
  expect(after[1]!.cost).toEqual(before[1]!.cost)
  expect(after[1]!.actual).toMatchObject({ flops: 403_200_000, deviceBytes: 57_600 })
  expect(Plan.table(after)).toMatch(/ {2}actual +403M +· +57\.6k/)
})))

test("figures of any size have three digits and a unit below a thousand", () => {
  const shown = (flops: number) => Plan.table([{ stage: "s", key: "k", status: "to do", cached: false, inputs: {}, header: {}, cost: { flops }, actual: undefined, seconds: undefined }]).split("\n")[1]!.split(/ +/)[5]
  expect([0, 1, 999, 1000, 999_499, 999_500, 999_999, 1e6, 1.5e18, 2e21, 0.1 + 0.2].map(shown)).toEqual(["0", "1", "999", "1.00k", "999k", "1.00M", "1.00M", "1.00M", "1.50E", "2.00Z", "0.3"])
})

test("a plan that is right within 20 % passes; a planted wrong one is flagged", () => within(Effect.gen(function*() {
  const of = (planned: number) => Pipeline.make("p", () => ({ delta: train(base({ hidden: 10 }), { planned }) }))
  for (const [planned, flagged] of [[1, []], [2, ["flops"]], [0.5, ["flops"]]] as const) {
    yield* Pipeline.run(of(planned))
    const row = (yield* Pipeline.plan(of(planned)))[1]!
    expect(Plan.compare(row.cost, row.actual!).filter((difference) => difference.flagged).map((difference) => difference.quantity)).toEqual(flagged)
    expect(surprises([row]).length).toBe(flagged.length)
  }
  expect(surprises(yield* Pipeline.plan(of(2)))).toEqual([expect.stringMatching(/^train [0-9a-f]{8}: flops planned 120M, actual 63\.0M \(-48 %\)$/)])
})))

test("compare: relative to the plan; what one side does not know is left out; nothing planned and something used is flagged", () => {
  expect(Plan.compare({ flops: 100, hostBytes: 5 }, { flops: 120, deviceBytes: 7 })).toEqual([{ quantity: "flops", planned: 100, actual: 120, relative: 0.2, flagged: false }])
  expect(Plan.compare({ flops: 100 }, { flops: 79 })[0]).toMatchObject({ relative: -0.21, flagged: true })
  expect(Plan.compare({ flops: 0 }, { flops: 0 })[0]).toMatchObject({ relative: 0, flagged: false })
  expect(Plan.compare({ flops: 0 }, { flops: 1 })[0]).toMatchObject({ flagged: true })
  expect(Plan.compare({ flops: Number.NaN }, { flops: 1 })[0]).toMatchObject({ flagged: true })
})

test("what cannot fit is refused before any work, and names what is lacking", () => within(Effect.gen(function*() {
  const pipeline = Pipeline.make("p", () => ({ delta: train(base({ hidden: 64 })) }))
  const limits = { hostBytes: Infinity, deviceBytes: Infinity, largestBuffer: Infinity }
  const refused = yield* Effect.flip(Effect.provideService(Pipeline.run(pipeline), Pipeline.Limits, { ...limits, deviceBytes: 63_999 }))
  expect(refused).toMatchObject({ _tag: "CannotFit", stage: "train", what: "deviceBytes", needed: 64_000, available: 63_999 })
  expect(refused.message).toContain("train needs 64,000 bytes of device memory, there are 63,999")
  expect(yield* Effect.flip(Effect.provideService(Pipeline.plan(pipeline), Pipeline.Limits, { ...limits, largestBuffer: 399 }))).toMatchObject({ what: "largestBuffer" })
  expect(ran).toEqual([])
  yield* Effect.provideService(Pipeline.run(pipeline), Pipeline.Limits, { ...limits, deviceBytes: 64_000 })
  // a kept result needs no room
  expect((yield* Effect.provideService(Pipeline.plan(pipeline), Pipeline.Limits, { ...limits, deviceBytes: 1 }))[1]!.status).toBe("kept")
})))

test("a delta of another base is refused by the plan, whether it is kept already or not", () => within(Effect.gen(function*() {
  const seed = base({ hidden: 64 }), other = base({ hidden: 32 }), law = train(seed)
  const wrong = Pipeline.make("p", () => ({ folded: fold(other, { law }) }))
  for (const prepare of [Effect.void, Effect.asVoid(Pipeline.run(Pipeline.make("q", () => ({ law }))))]) {
    yield* prepare
    ran.length = 0
    expect([(yield* Effect.flip(Pipeline.run(wrong)))._tag, ran]).toEqual(["WrongBase", []])
  }
})))
