/** Parity with transformers: tools/fixtures/tiny_mixtral.py made the file. */
import { beforeAll, describe, expect, jest, test } from "@jest/globals"
import { Family, Model, Safetensors, Weights } from "@switchyard/core"
import { Device, Op, Recording, Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import { fileURLToPath } from "node:url"
import * as Balance from "./Balance.ts"
import * as LanguageModel from "./LanguageModel.ts"
import { devices } from "./openDevice.ts"

const path = fileURLToPath(new URL("./fixtures/tiny-mixtral.safetensors", import.meta.url))
/** What the device makes of the model, and what transformers did. */
const compute = Effect.gen(function*() {
  const stored = yield* Weights.fromFile(path)
  const { batch, config, padding, tokens } = JSON.parse((yield* Safetensors.open(path)).header.metadata.get("about")!) as { batch: number; tokens: number; padding: number; config: Record<string, unknown> }
  const model = yield* Family.readConfig("config.json", config as never)
  const row = Family.find("mixtral")!
  const weights = Weights.rename(stored, new Map(Model.tensors(model).map(({ name }) => [name, `weights/${Family.toFile(row, name)!}`])))
  const self = yield* LanguageModel.make(model, { batch, tokens })
  const rows = batch * tokens, ids = Tensor.kept([rows], { dtype: "u32" }), targets = Tensor.kept([rows], { dtype: "u32" })
  const arena = yield* (yield* Device.Device).arena
  yield* LanguageModel.load(arena, self, weights)
  const numbers = Uint32Array.from(yield* stored.read("ids"))
  yield* arena.upload(ids, numbers)
  yield* arena.upload(targets, numbers.map((id, row) => row < rows - padding ? id : Op.noTarget)) // the last tokens of the last sequence are left out
  const program = Recording.record(() => {
    const { decisions, logits } = LanguageModel.forward(self, ids), shares = Balance.shares(targets, logits)
    const keep = (tensors: ReadonlyArray<Tensor.Tensor>) => tensors.map((tensor) => Op.keep(tensor))
    return {
      logits: keep([logits]), experts: keep(decisions.map(({ experts }) => experts)), weights: keep(decisions.map(({ weights }) => weights)), scores: keep(decisions.map(({ logits }) => logits)),
      balance: keep(decisions.map((decision) => Balance.loss(Balance.switchLoss({ weight: 1 }), [decision]))),
      masked: keep(decisions.map((decision) => Balance.loss(Balance.switchLoss({ weight: 1 }), [decision], { shares })))
    }
  })
  yield* arena.submit(program)
  const read: Record<string, Array<number>> = {}
  for (const [name, tensors] of Object.entries(program.outputs)) read[name] = (yield* Effect.forEach(tensors, arena.read)).flatMap((data) => [...data])
  const expected: Record<string, Array<number>> = {}
  for (const name of ["logits", "choices", "routerLogits", "routerWeights", "balance", "balanceMasked"]) expected[name] = [...yield* stored.read(name)]
  return { read: read as Record<keyof typeof program.outputs, Array<number>>, expected: (name: string) => expected[name]! }
}).pipe(Effect.scoped)

jest.setTimeout(60_000) // the software device compiles each kernel when it first meets it
describe.each(devices)("a tiny Mixtral as transformers computes it, on device $name", ({ layer }) => {
  let result: Effect.Success<typeof compute>
  beforeAll(async () => { result = await Effect.runPromise(Effect.provide(compute, layer())) })
  const apart = (a: ReadonlyArray<number>, b: ReadonlyArray<number>) => {
    expect(a.length).toBe(b.length)
    return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0)
  }
  test("logits", () => expect(apart(result.read.logits, result.expected("logits"))).toBeLessThan(1e-4))
  test("the routers' choices, the same in the same order", () => expect(result.read.experts).toEqual(result.expected("choices")))
  test("router logits and weights", () => {
    expect(apart(result.read.scores, result.expected("routerLogits"))).toBeLessThan(1e-4)
    expect(apart(result.read.weights, result.expected("routerWeights"))).toBeLessThan(1e-5)
  })
  test("the load-balancing loss is ours times the active experts, with padding and without", () => {
    expect(apart(result.read.balance.map((value) => 2 * value), result.expected("balance"))).toBeLessThan(1e-5)
    expect(apart(result.read.masked.map((value) => 2 * value), result.expected("balanceMasked"))).toBeLessThan(1e-5)
  })
})
