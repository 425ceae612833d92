/** Parity with transformers, family by family: tools/parity/families.py made the folders. */
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals"
import { Checkpoint, type Weights } from "@switchyard/core"
import { Device, Op, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Generation from "./Generation.ts"
import * as LanguageModel from "./LanguageModel.ts"
import { devices, openDevice } from "./openDevice.ts"

const root = fileURLToPath(new URL("./fixtures/families", import.meta.url)), names = readdirSync(root).sort()
interface Case { readonly ids: ReadonlyArray<number>; readonly logits: ReadonlyArray<number>; readonly blocks: ReadonlyArray<ReadonlyArray<number>>; readonly choices?: ReadonlyArray<ReadonlyArray<number>>; readonly weights?: ReadonlyArray<ReadonlyArray<number>> }
const casesOf = (name: string) => (JSON.parse(readFileSync(join(root, name, "expected.json"), "utf8")) as { readonly cases: ReadonlyArray<Case> }).cases

/** All prompts of a model as one batch, each filled up at its end with tokens that nothing before them sees. */
const compute = Effect.fnUntraced(function*(name: string) {
  const { model, weights } = yield* Checkpoint.open(join(root, name)), cases = casesOf(name), tokens = Math.max(...cases.map(({ ids }) => ids.length)), batch = cases.length
  const self = yield* LanguageModel.make(model, { batch, tokens }), ids = Tensor.kept([batch * tokens], { dtype: "u32" })
  const arena = yield* (yield* Device.Device).arena
  yield* LanguageModel.load(arena, self, weights)
  yield* arena.upload(ids, Uint32Array.from(cases.flatMap((one) => Array.from({ length: tokens }, (_, at) => one.ids[at] ?? at % model.vocabulary))))
  const program = Recording.record(() => {
    const blocks: Array<Tensor.Tensor> = []
    const { decisions, logits } = LanguageModel.forward(self, ids, { tap: (point, _, tensor) => { if (point === "block.output") blocks.push(Op.keep(tensor)) } })
    return { logits: [Op.keep(logits)], blocks, choices: decisions.map(({ experts }) => Op.keep(experts)), weights: decisions.map((decision) => Op.keep(decision.weights)) }
  })
  yield* arena.submit(program)
  const rows: Record<string, Array<Array<Array<number>>>> = {} // what → prompt → layer → its rows, the filling left out
  for (const [what, tensors] of Object.entries(program.outputs)) {
    const data = yield* Effect.forEach(tensors, (tensor) => Effect.map(arena.read(tensor), (values) => ({ values: [...values], width: tensor.shape[1]! })))
    rows[what] = cases.map((one, prompt) => data.map(({ values, width }) => values.slice(prompt * tokens * width, (prompt * tokens + one.ids.length) * width)))
  }
  return rows as Record<keyof typeof program.outputs, Array<Array<Array<number>>>>
}, Effect.scoped)

/** Choices and weights, each row by the experts' numbers. */
const byNumber = (choices: ReadonlyArray<number>, weights: ReadonlyArray<number>, active: number): readonly [ReadonlyArray<number>, ReadonlyArray<number>] => {
  const order = choices.map((expert, slot) => [Math.floor(slot / active), expert, slot] as const).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, , slot]) => slot)
  return [order.map((slot) => choices[slot]!), order.map((slot) => weights[slot]!)]
}

/** The largest difference; with `relative`, in parts of the largest number where that is above one. */
const apart = (found: ReadonlyArray<ReadonlyArray<number>>, expected: ReadonlyArray<ReadonlyArray<number>>, relative = false): number => {
  expect(found.map((line) => line.length)).toEqual(expected.map((line) => line.length))
  const scale = relative ? Math.max(1, ...expected.flat().map(Math.abs)) : 1
  return Math.max(0, ...found.flatMap((line, i) => line.map((value, j) => Math.abs(value - expected[i]![j]!)))) / scale
}

jest.setTimeout(60_000) // the software device compiles each kernel when it first meets it
describe.each(devices.filter(({ name }) => name !== "plain, f32"))("families as transformers computes them, on device $name", ({ layer, precise }) => {
  let opened: Awaited<ReturnType<typeof openDevice>>
  const worst: Record<string, string> = {}
  beforeAll(async () => { opened = await openDevice(layer()) })
  afterAll(async () => {
    if (process.env["SWITCHYARD_FIGURES"] !== undefined) process.stderr.write(`${JSON.stringify(worst)}\n`)
    await opened.close()
  })
  test.each(names)("%s: logits, states after every block, the routers' choices", async (name) => {
    const cases = casesOf(name), found = await Effect.runPromise(Effect.provideService(compute(name), Device.Device, opened.device))
    const logits = found.logits.map(([all]) => all!), expected = cases.map((one) => one.logits), largest = precise ? 1e-5 : 2e-4
    worst[name] = apart(logits, expected).toExponential(1)
    expect(apart(logits, expected, precise)).toBeLessThan(largest) // expectations have seven digits, angles and softmax of transformers 24 bits
    cases.forEach((one, prompt) => {
      expect(apart(found.blocks[prompt]!, one.blocks, precise)).toBeLessThan(largest)
      const chosen = found.choices[prompt]!.map((choices, at) => name.startsWith("deepseek") ? byNumber(choices, found.weights[prompt]![at]!, choices.length / one.ids.length) : [choices, found.weights[prompt]![at]!] as const)
      expect(chosen.map(([choices]) => choices)).toEqual(one.choices ?? [])
      expect(apart(chosen.map(([, weights]) => weights), one.weights ?? [])).toBeLessThan(1e-5)
    })
  })
})

test.each(names)("%s: a prompt and then token by token, from a cache, are what transformers gives for the whole text", async (name) => {
  const { model, weights } = await Effect.runPromise(Checkpoint.open(join(root, name))), { ids, logits } = casesOf(name).at(-1)!
  await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const self = yield* LanguageModel.make(model, { batch: 1, tokens: ids.length }), arena = yield* plainDevice().arena
    yield* LanguageModel.load(arena, self, weights)
    const generator = yield* Generation.make(arena, self)
    for (let at = 7; at < ids.length; at++) {
      const [found] = yield* generator.advance([{ row: 0, ids: at === 7 ? ids.slice(0, 8) : [ids[at]!], fresh: at === 7 }])
      expect(apart([[...found!]], [logits.slice(at * model.vocabulary, (at + 1) * model.vocabulary)], true)).toBeLessThan(1e-5)
    }
  })))
})

describe.each([["matrices split over two workers, f32", undefined, 2e-5], ["matrices split over two workers, bf16", "bf16", 5e-2]] as const)("%s", (_, storage, largest) => {
  test.each(["phi3", "gemma2", "gpt-oss", "deepseek-v2-lite", "deepseek-v3"])("%s: logits after a prompt", async (name) => {
    const checkpoint = await Effect.runPromise(Checkpoint.open(join(root, name))), { ids, logits } = casesOf(name).at(-1)!, window = ids.length
    const [found] = await Effect.runPromise(Effect.scoped(Effect.flatMap(Generation.open(checkpoint, { window, ...storage === undefined ? {} : { storage } }), (generator) => generator.advance([{ row: 0, ids, fresh: true }])))
      .pipe(Effect.provide(Device.host({ workers: 2 }))))
    const expected = logits.slice(-checkpoint.model.vocabulary), scale = Math.max(...expected.map(Math.abs))
    expect(apart([[...found!]], [expected]) / scale).toBeLessThan(largest)
  })
})

const same = async (a: Weights.Weights, b: Weights.Weights) => {
  expect([...a.infos.keys()].sort()).toEqual([...b.infos.keys()].sort())
  for (const name of a.infos.keys()) expect(await Effect.runPromise(b.read(name))).toEqual(await Effect.runPromise(a.read(name)))
}
test.each(names.filter((name) => readdirSync(join(root, name)).includes("fused")))("%s: fused experts, as transformers 5 has them in memory, are the same tensors", async (name) => {
  const [original, fused] = await Promise.all(["", "fused"].map((at) => Effect.runPromise(Checkpoint.open(join(root, name, at)))))
  expect([fused!.weights.infos.size, fused!.model]).toEqual([original!.weights.infos.size, original!.model])
  await same(original!.weights, fused!.weights)
})

test.each(names)("%s: every parameter has one selector of its own, and comes back as it was uploaded", async (name) => {
  const checkpoint = await Effect.runPromise(Checkpoint.open(join(root, name)))
  await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const self = yield* LanguageModel.make(checkpoint.model, { batch: 1, tokens: 2 }), arena = yield* plainDevice().arena, all = LanguageModel.select(self, "all")
    const each = (["routers", "experts", "feedForward", "attention", "norms", "embeddings"] as const).flatMap((selector) => LanguageModel.select(self, selector))
    expect([...each].sort()).toEqual([...all].sort())
    const every = [...LanguageModel.parameters(self).keys()]
    expect(every.filter((name) => !all.includes(name) && !name.endsWith(".router.correction"))).toEqual([]) // which nothing trains
    yield* LanguageModel.load(arena, self, checkpoint.weights)
    const back = yield* LanguageModel.read(arena, self, every)
    yield* Effect.promise(() => same(checkpoint.weights, back))
  })))
})
