import { expect, test } from "@jest/globals"
import { Context, Effect, Layer, Schema } from "effect"
import { Flag } from "effect/cli"
import * as Artifact from "./Artifact.ts"
import { File, file, type FileError } from "./File.ts"
import type { StoreLocked } from "./Lock.ts"
import * as Pipeline from "./Pipeline.ts"
import * as Stage from "./Stage.ts"
import { Store, temporary, type StoreError } from "./Store.ts"

// kinds as the packages have them: the same names of properties, so that the compiler's last line names the kind
interface Dense { readonly feedForward: "dense" }
interface Mixture { readonly feedForward: "mixture" }
interface Checkpoint<out F extends Dense | Mixture> { readonly kind: `checkpoint (${F["feedForward"]})`; readonly header: { readonly hidden: number } }
interface Adapter { readonly kind: "adapter"; readonly header: { readonly rank: number; readonly base: string } }
interface Trace { readonly kind: "trace"; readonly header: { readonly tokens: number } }
interface Log { readonly kind: "log"; readonly header: {}; readonly loss: ReadonlyArray<number> }
const header = Schema.Struct({ hidden: Schema.Finite })
const dense: Artifact.Artifact<Checkpoint<Dense>> = Artifact.json("checkpoint (dense)", Schema.Struct({ kind: Schema.Literal("checkpoint (dense)"), header }))
const mixture: Artifact.Artifact<Checkpoint<Mixture>> = Artifact.json("checkpoint (mixture)", Schema.Struct({ kind: Schema.Literal("checkpoint (mixture)"), header }))
const adapter: Artifact.Artifact<Adapter> = Artifact.json("adapter", Schema.Struct({ kind: Schema.Literal("adapter"), header: Schema.Struct({ rank: Schema.Finite, base: Schema.String }) }))
const trace: Artifact.Artifact<Trace> = Artifact.json("trace", Schema.Struct({ kind: Schema.Literal("trace"), header: Schema.Struct({ tokens: Schema.Finite }) }))
const log: Artifact.Artifact<Log> = Artifact.json("log", Schema.Struct({ kind: Schema.Literal("log"), header: Schema.Struct({}), loss: Schema.Array(Schema.Finite) }))
const anyModel = Artifact.anyOf(dense, mixture)

class Mismatch extends Schema.TaggedError<Mismatch>()("Mismatch", { tensor: Schema.String }) {}
class WrongBase extends Schema.TaggedError<WrongBase>()("WrongBase", { base: Schema.String }) {}
class Gpu extends Context.Service<Gpu, { readonly name: string }>()("test/Gpu") {}

const load = Stage.make("checkpoint/load", {
  version: 1, inputs: [], options: Schema.Struct({ at: File }), output: dense,
  *describe() { return { header: { hidden: 64 }, cost: {} } },
  *run() { return { kind: "checkpoint (dense)", header: { hidden: 64 } } }
})
const lora = Stage.make("finetune/lora", {
  version: 1, seeded: true, inputs: [Stage.one("base", dense)], optional: { teacher: anyModel },
  options: Schema.Struct({ text: File, rank: Schema.Int.pipe(Stage.byDefault(8)) }), output: adapter, sides: { log },
  *describe({ base }, { rank }) { return { header: { rank, base: base.key }, cost: { flops: base.hidden } } },
  *run({ base }, { rank }, context) {
    const gpu = yield* Gpu
    if (gpu.name === "") return yield* new Mismatch({ tensor: base.kind })
    return { main: { kind: "adapter", header: { rank, base: context.keys["base"]! } }, log: { kind: "log", header: {}, loss: [] } }
  }
})
const fromAdapters = Stage.make("upcycle/fromAdapters", {
  version: 1, inputs: [Stage.one("base", dense), Stage.record("experts", adapter)], options: Schema.Struct({ active: Schema.Int }), output: mixture,
  *describe({ base, experts }) {
    for (const expert of Object.values(experts)) if (expert.base !== base.key) return yield* new WrongBase({ base: expert.base })
    return { header: { hidden: base.hidden }, cost: {} }
  },
  *run({ base }) { return { kind: "checkpoint (mixture)", header: base.header } }
})
const train = Stage.make("finetune/train", {
  version: 1, inputs: [Stage.one("model", anyModel), Stage.record("texts", trace)], options: Schema.Struct({ all: Schema.Boolean.pipe(Stage.byDefault(true)) }), output: Stage.same, sides: { log },
  *describe({ model }) { return { header: model, cost: {} } },
  *run({ model }) { return { main: model, log: { kind: "log", header: {}, loss: [] } } }
})
const capture = Stage.make("trace/capture", {
  version: 1, inputs: [Stage.one("model", mixture)], options: Schema.Struct({ tokens: Schema.Int.pipe(Stage.byDefault(100)) }), output: trace,
  *describe(_, { tokens }) { return { header: { tokens }, cost: {} } },
  *run(_, { tokens }) { return { kind: "trace", header: { tokens } } }
})
const mergeExperts = Stage.make("compress/mergeExperts", {
  version: 1, inputs: [Stage.one("model", mixture), Stage.one("trace", trace)], options: Schema.Struct({ keep: Schema.Int }), output: mixture,
  *describe({ model }) { return { header: model, cost: {} } },
  *run({ model }) { return model }
})
const average = Stage.make("merge/average", {
  version: 1, inputs: [Stage.array("models", dense)], options: Schema.Struct({}), output: dense,
  *describe({ models }) { return { header: models[0] ?? { hidden: 0 }, cost: {} } },
  *run({ models }) { return models[0]! }
})

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const is = <T extends true>(_proof?: T): void => {}
type Own = FileError | Pipeline.CannotFit | StoreError | StoreLocked

test("kinds, errors and needs are inferred; mistakes do not compile (checked by tsc, never run)", () => {
  const types = () => {
    const seed = load({ at: file("x") })
    is<Equal<typeof seed, Stage.Node<Checkpoint<Dense>>>>()
    const law = lora(seed, { text: file("law") })
    is<Equal<typeof law.log, Stage.Node<Log, Mismatch, Gpu>>>()
    const moe = fromAdapters(seed, { law }, { active: 2 })
    is<Equal<typeof moe, Stage.Node<Checkpoint<Mixture>, Mismatch | WrongBase, Gpu>>>()
    const seen = capture(moe) // every option has a default
    is<Equal<typeof seen, Stage.Node<Trace, Mismatch | WrongBase, Gpu>>>()
    const routed = train(moe, { law: seen }), again = train(seed, { law: seen })
    is<Equal<typeof routed.log, Stage.Node<Log, Mismatch | WrongBase, Gpu>>>()
    mergeExperts(routed, seen, { keep: 1 }) // still a mixture
    average([seed, again]) // still dense
    // @ts-expect-error a trained mixture is a mixture
    average([seed, routed])
    // @ts-expect-error there is nothing to train in a trace
    train(seen, { law: seen })
    const taught = lora(seed, { text: file("law"), teacher: moe })
    const pipeline = Pipeline.make("p", () => ({ moe, deep: { seen }, many: Pipeline.each({ a: 1, b: 2 }, () => law), taught }))
    const run = Pipeline.run(pipeline)
    type Run = typeof run
    is<Equal<Effect.Success<Run>["deep"], { readonly seen: Trace }>>()
    is<Equal<Effect.Success<Run>["many"], { readonly a: Adapter; readonly b: Adapter }>>()
    is<Equal<Effect.Services<Run>, Gpu | Store>>()
    is<Equal<Effect.Error<Run>, Mismatch | WrongBase | Own>>()
    // calls written inside the outputs infer as well as constants do
    const inline = Pipeline.run(Pipeline.make("p", () => ({ t: capture(fromAdapters(load({ at: file("x") }), { a: lora(load({ at: file("x") }), { text: file("law") }) }, { active: 2 })) })))
    is<Equal<Effect.Services<typeof inline>, Gpu | Store>>()
    is<Equal<Effect.Success<typeof inline>["t"], Trace>>()
    // @ts-expect-error compressing a dense model
    mergeExperts(seed, seen, { keep: 1 })
    // @ts-expect-error misspelt option
    lora(seed, { text: file("law"), rnk: 4 })
    // @ts-expect-error options are needed here
    fromAdapters(seed, { law })
    // @ts-expect-error a record of nodes, not a node
    fromAdapters(seed, law, { active: 2 })
    // @ts-expect-error a teacher is a checkpoint
    lora(seed, { text: file("law"), teacher: seen })
    // @ts-expect-error outputs are nodes
    Pipeline.make("p", () => ({ moe, n: 3 }))
    // @ts-expect-error the layer lacks Gpu
    Pipeline.main(pipeline, Layer.empty, import.meta)
    Pipeline.main(pipeline, Layer.succeed(Gpu, Gpu.of({ name: "" })), import.meta, { after: ({ deep }) => Effect.sync(() => { is<Equal<typeof deep.seen, Trace>>() }) })
    Pipeline.main((flags) => { is<Equal<typeof flags.seed, number>>(); return pipeline }, (flags) => Layer.succeed(Gpu, Gpu.of({ name: flags.device })), import.meta)
    // a pipeline and a layer that depend on the script's own flags, written inline
    Pipeline.main((flags) => Pipeline.make("p", () => ({ seed: load({ at: file(flags.text) }), law: lora(load({ at: file(flags.text) }), { text: file("law"), rank: flags.rank }) })),
      (flags) => Layer.succeed(Gpu, Gpu.of({ name: flags.device })), import.meta, {
        flags: { rank: Flag.Int("rank").pipe(Flag.withDefault(8)), text: Flag.String("text") },
        after: ({ law }, { out, rows, flags }) => Effect.sync(() => { is<Equal<typeof law, Adapter>>(); is<Equal<typeof flags.rank, number>>(); is<Equal<typeof out, string>>(); return rows })
      })
    // @ts-expect-error the layer lacks Gpu here too
    Pipeline.main((flags) => Pipeline.make("p", () => ({ law: lora(load({ at: file("x") }), { text: file("law"), rank: flags.rank }) })), Layer.empty, import.meta, { flags: { rank: Flag.Int("rank") } })
    Stage.make("y", { version: 1, inputs: [Stage.one("base", dense), Stage.record("experts", adapter)], optional: { teacher: mixture }, options: Schema.Struct({ rank: Schema.Int.pipe(Stage.byDefault(8)) }), output: trace,
      *describe({ base }, { rank }) { is<Equal<typeof base, { readonly hidden: number } & { readonly key: string }>>(); is<Equal<typeof rank, number>>(); return { header: { tokens: rank }, cost: {} } },
      *run({ base, experts, teacher }, { rank }, context) {
        is<Equal<typeof base, Checkpoint<Dense>>>(); is<Equal<typeof experts, Readonly<Record<string, Adapter>>>>(); is<Equal<typeof teacher, Checkpoint<Mixture> | undefined>>(); is<Equal<typeof context, Stage.Context>>()
        return { kind: "trace", header: { tokens: rank } }
      } })
    // @ts-expect-error run gives another kind than declared
    Stage.make("x", { version: 1, inputs: [], options: Schema.Struct({}), output: trace, *describe() { return { header: { tokens: 1 }, cost: {} } }, *run() { return { kind: "log" as const, header: {}, loss: [] } } })
  }
  expect(typeof types).toBe("function")
})

test("mistakes that types cannot see throw where they are made, and say where", () => {
  const seed = load({ at: file("x") })
  expect(() => lora(seed, { text: file("law"), rank: 1.5 })).toThrow('finetune/lora.options: Expected an integer\n  at ["rank"]')
  expect(() => lora(seed, { text: file("law"), rnk: 1 } as never)).toThrow(/finetune\/lora\.options: [^]*rnk/)
  expect(() => capture(seed as never)).toThrow("trace/capture.inputs.model: expected checkpoint (mixture), got checkpoint (dense) (from checkpoint/load)")
  expect(() => average(seed as never, {})).toThrow("merge/average.inputs.models: expected array, got one")
  expect(() => average([3] as never, {})).toThrow("merge/average.inputs.models: expected nodes, got number")
  expect(() => (average as Function)()).toThrow("merge/average.inputs.models: missing: give array of nodes of checkpoint (dense)")
  expect(() => lora(seed, { text: file("law"), rank: Number.NaN })).toThrow("finetune/lora.options")
})

test("an output of its input's kind is kept as that kind; a union is no output", () => {
  expect(train(load({ at: file("x") }), {}).artifact.kinds).toEqual(["checkpoint (dense)"])
  expect(() => anyModel.load("x")).toThrow("an input, never an output")
})

test("main is inert in a module that is not the program", () => {
  let built = 0
  Pipeline.main(() => { built++; return Pipeline.make("p", () => ({ seed: load({ at: file("x") }) })) }, temporary, import.meta)
  expect(built).toBe(0)
})
