import { describe, expect, test } from "@jest/globals"
import { Checkpoint, Model, Pipeline, Stage, Store, Tokenizer, Weights } from "@switchyard/core"
import { Router } from "@switchyard/routing"
import { Effect, Schema } from "effect"
import fc from "fast-check"
import { readFileSync } from "node:fs"
import * as Merge from "./Merge.ts"
import { dense, randomWeights } from "./tinyMixture.ts"
import * as Upcycle from "./Upcycle.ts"

const run = Effect.runPromise
interface Golden {
  readonly shapes: Readonly<Record<string, ReadonlyArray<number>>>
  readonly models: Readonly<Record<string, Readonly<Record<string, ReadonlyArray<number>>>>>
  readonly cases: ReadonlyArray<{ readonly case: string; readonly method: string; readonly weights: Readonly<Record<string, number>>; readonly parameters: { readonly normalize: boolean; readonly lambda?: number }; readonly out: Readonly<Record<string, ReadonlyArray<number>>> }>
}
const golden = JSON.parse(readFileSync(new URL("./fixtures/mergekit.json", import.meta.url), "utf8")) as Golden
const model = (name: string) => Weights.fromMemory(new Map(Object.entries(golden.models[name]!).map(([tensor, data]) => [tensor, { shape: golden.shapes[tensor]!, data: Float32Array.from(data) }])))

describe("agrees with mergekit", () => {
  test.each(golden.cases.map((each) => [each.case, each] as const))("%s", async (_, { method, out, parameters, weights }) => {
    const recipe = method === "linear" ? { ...Merge.linear(), combine: parameters.normalize ? "mean" as const : "sum" as const } : Merge.taskArithmetic({ scale: parameters.lambda! })
    const merged = await run(Merge.fold(recipe, Object.fromEntries(Object.keys(weights).map((name) => [name, model(name)])), { weights, ...method === "linear" ? {} : { base: model("base") } }))
    for (const [tensor, expected] of Object.entries(out)) {
      const found = await run(merged.read(tensor))
      expected.forEach((value, at) => { expect(Math.abs(found[at]! - value)).toBeLessThan(1e-6) })
    }
  })
})

describe("laws", () => {
  const numbers = (count: number) => fc.array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: count, maxLength: count })
  const weightsOf = (data: ReadonlyArray<number>) => Weights.fromMemory({ x: { shape: [3, 2], data: Float32Array.from(data) } })
  const read = async (merge: Effect.Effect<Weights.Weights, Merge.MergeError>, rows?: Weights.Rows) => [...await run(Effect.flatMap(merge, (merged) => merged.read("x", rows)))]

  test("a mean of copies is the model; weights zero or scale zero give the base; a model alone at full scale is itself", () => fc.assert(fc.asyncProperty(numbers(6), numbers(6), fc.double({ min: 0.1, max: 5, noNaN: true }), async (a, b, weight) => {
    const one = weightsOf(a), base = weightsOf(b)
    ;(await read(Merge.fold(Merge.linear(), { a: one, b: one }, { weights: { a: weight } }))).forEach((value, at) => { expect(value).toBeCloseTo(Math.fround(a[at]!), 5) })
    expect(await read(Merge.fold(Merge.taskArithmetic({ scale: 0 }), { a: one }, { base }))).toEqual([...Float32Array.from(b)])
    ;(await read(Merge.fold(Merge.taskArithmetic(), { a: one }, { base }))).forEach((value, at) => { expect(value).toBeCloseTo(a[at]!, 5) })
  }), { seed: 5, numRuns: 40 }))

  test("the order of models changes nothing, and rows read alone are rows of the whole", () => fc.assert(fc.asyncProperty(numbers(6), numbers(6), fc.double({ min: 0.1, max: 5, noNaN: true }), async (a, b, weight) => {
    const fold = (names: ReadonlyArray<"a" | "b">) => Merge.fold(Merge.linear(), Object.fromEntries(names.map((name) => [name, weightsOf({ a, b }[name])])), { weights: { a: weight } })
    const whole = await read(fold(["a", "b"]))
    ;(await read(fold(["b", "a"]))).forEach((value, at) => { expect(value).toBeCloseTo(whole[at]!, 5) })
    expect(await read(fold(["a", "b"]), { from: 1, to: 2 })).toEqual(whole.slice(2, 4))
  }), { seed: 6, numRuns: 40 }))
})

describe("what cannot be merged is named, with what to do", () => {
  const x = (shape: ReadonlyArray<number>, name = "x") => Weights.fromMemory({ [name]: { shape, data: new Float32Array(shape[0]! * shape[1]!) } })
  const message = async (merge: Effect.Effect<Weights.Weights, Merge.MergeError>) => (await run(Effect.flip(merge))).message
  test.each<readonly [string, Effect.Effect<Weights.Weights, Merge.MergeError>, RegExp]>([
    ["shapes", Merge.fold(Merge.linear(), { a: x([3, 2]), b: x([2, 3]) }), /merge linear: b: x has shape \[2, 3\], in a it has \[3, 2\]/],
    ["names", Merge.fold(Merge.linear(), { a: x([3, 2]), b: x([3, 2], "y") }), /b: compared with a, missing tensors: x; additional tensors: y/],
    ["an unknown weight", Merge.fold(Merge.linear(), { a: x([3, 2]) }, { weights: { c: 1 } }), /c: a weight names a model that is not merged/],
    ["a zero sum", Merge.fold(Merge.linear(), { a: x([3, 2]), b: x([3, 2]) }, { weights: { b: -1 } }), /the weights sum to 0/],
    ["no base", Merge.fold(Merge.taskArithmetic(), { a: x([3, 2]) }), /base: the recipe works on differences/],
    ["a base that nothing looks at", Merge.fold(Merge.linear(), { a: x([3, 2]) }, { base: x([3, 2]) }), /base: the recipe does not look at a base, and one was given/],
    ["a model called base beside the base", Merge.fold(Merge.taskArithmetic(), { a: x([3, 2]), base: x([3, 2], "y") }, { base: x([3, 2]) }), /base: compared with a, missing tensors: x/],
    ["no model", Merge.fold(Merge.linear(), {}), /no model was given/]
  ])("%s", async (_, merge, expected) => { expect(await message(merge)).toMatch(expected) })
})

describe("a stage that cannot merge is refused by plan, before the models are trained", () => {
  const feedForward = dense.feedForward as Model.Dense
  const given = Stage.make("test/dense", {
    version: 1, inputs: [], options: Schema.Struct({ hidden: Schema.Int }), output: Checkpoint.Dense,
    *describe(_none, { hidden }) { return { header: Checkpoint.headerOf({ ...dense, hidden, feedForward }, "bytes"), cost: {} } },
    *run() { return Checkpoint.make({ model: { ...dense, feedForward }, weights: randomWeights(dense, 1), tokenizer: Tokenizer.bytes() }) }
  })
  const one = () => given({ hidden: dense.hidden })
  const refusal = (build: () => ReturnType<typeof Merge.models>) =>
    Effect.runPromise(Effect.flip(Pipeline.plan(Pipeline.make("refused", () => ({ merged: build() })))).pipe(Effect.provide(Store.temporary))).then((error) => (error as Error).message)
  test.each<readonly [string, () => ReturnType<typeof Merge.models>, RegExp]>([
    ["no base", () => Merge.models({ a: one() }, { recipe: Merge.taskArithmetic() }), /base: the recipe works on differences/],
    ["a base of another shape", () => Merge.models({ a: one() }, { recipe: Merge.taskArithmetic(), base: given({ hidden: 2 * dense.hidden }) }), /base: .* has shape .*, in a it has/],
    ["models of other shapes", () => Merge.models({ a: one(), b: given({ hidden: 2 * dense.hidden }) }, { recipe: Merge.linear() }), /b: .* has shape .*, in a it has/],
    ["a misspelt weight", () => Merge.models({ a: one() }, { recipe: Merge.linear(), weights: { A: 1 } }), /A: a weight names a model that is not merged/],
    ["no model", () => Merge.models({}, { recipe: Merge.linear() }), /no model was given/]
  ])("%s", async (_, build, expected) => { expect(await refusal(build)).toMatch(expected) })
})

const changed = (change: unknown) => ({ ...dense, ...change as object, feedForward: { kind: "dense" as const, inner: 24 } }) satisfies Model.Model
/** A random model of this description; `tokenizer` is what its header says of one. */
const random = Stage.make("test/random", {
  version: 1, inputs: [], options: Schema.Struct({ seed: Schema.Int, change: Schema.Json.pipe(Stage.byDefault({})), tokenizer: Schema.String.pipe(Stage.byDefault(Tokenizer.bytes().hash)) }), output: Checkpoint.Dense,
  *describe(_, { change, tokenizer }) { return { header: Checkpoint.headerOf(changed(change), tokenizer), cost: {} } },
  *run(_, { change, seed }) { return Checkpoint.make({ model: changed(change), weights: randomWeights(dense, seed), tokenizer: Tokenizer.bytes() }) }
})

describe("models of one meaning, in no order", () => {
  test("does not know in which order its models were written down: same key, same bits, same description", async () => {
    const made = { a: random({ seed: 1, change: { contextLength: 65 } }), b: random({ seed: 2, change: { contextLength: 66 } }), c: random({ seed: 3, change: { contextLength: 67 } }) }
    const merged = (names: ReadonlyArray<keyof typeof made>) => run(Effect.gen(function*() {
      const { model } = yield* Pipeline.run(Pipeline.make("order", () => ({ model: Merge.models(Object.fromEntries(names.map((name) => [name, made[name]])), { recipe: Merge.linear(), weights: { a: 0.3, b: 0.5, c: 0.7 } }) })))
      const values = yield* Effect.forEach(Model.tensors(dense), ({ name }) => model.weights.read(name))
      return { key: model.lineage.at(-1)!.key, context: model.model.contextLength, bits: values.map((data) => Buffer.from(data.slice().buffer).toString("hex")) }
    }).pipe(Effect.provide(Store.temporary)))
    const first = await merged(["a", "b", "c"])
    expect(first.context).toBe(65)
    expect(await merged(["c", "b", "a"])).toEqual(first)
  })

  const refusal = (build: () => ReturnType<typeof Merge.models>) => run(Effect.flip(Pipeline.plan(Pipeline.make("refused", () => ({ merged: build() })))).pipe(Effect.provide(Store.temporary))).then((error) => (error as Error).message)
  const one = random({ seed: 1 }), other = (change: object) => random({ seed: 2, change: change as never })
  test.each<readonly [string, () => ReturnType<typeof Merge.models>, RegExp]>([
    ["as many rows in other heads", () => Merge.models({ a: one, b: other({ heads: 8, headSize: 2, keyValueHeads: 4 }) }, { recipe: Merge.linear() }), /b: its tensors mean something else than those of a: heads 8, not 4/],
    ["another activation", () => Merge.models({ a: one, b: other({ activation: { kind: "geluTanh" } }) }, { recipe: Merge.linear() }), /activation \{"kind":"geluTanh"\}, not "silu"/],
    ["a base of another vocabulary", () => Merge.models({ a: one }, { recipe: Merge.taskArithmetic(), base: random({ seed: 3, tokenizer: "another" }) }), /the base: its tokenizer differs from that of a/]
  ])("refused by plan: %s", async (_, build, expected) => { expect(await refusal(build)).toMatch(expected) })

  test("and so does the upcycle that takes a mean", async () => {
    const made = Pipeline.make("refused", () => ({ mixture: Upcycle.fromModels({ a: one, b: other({ heads: 8, headSize: 2, keyValueHeads: 4 }) }, { router: Router.topK({ active: 1 }) }) }))
    expect((await run(Effect.flip(Pipeline.plan(made)).pipe(Effect.provide(Store.temporary))) as Error).message).toMatch(/upcycle\/fromModels: b: .* heads 8, not 4.* Upcycle fine-tunes of one model/)
  })
})
