import { describe, expect, test } from "@jest/globals"
import { Device, Gradient, Op, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Effect, type Layer, Schema } from "effect"
import * as Balance from "./Balance.ts"
import { route } from "./route.ts"
import * as Router from "./Router.ts"
import { type Given, runOnce } from "./runOnce.ts"

/** Three tokens whose states are their logits (the router's weight is the identity); p are easy fractions. */
const logits = [[Math.log(3), 0], [Math.log(3), 0], [0, Math.log(7)]] // p: 3/4 1/4, 3/4 1/4, 1/8 7/8
const x = Tensor.kept([3, 2], { label: "x" }), weight = Tensor.kept([2, 2], { label: "weight" }), targets = Tensor.kept([3], { dtype: "u32" })
const given = (left: ReadonlyArray<number> = []): ReadonlyArray<Given> => [
  { tensor: x, data: Float64Array.from(logits.flat()) }, { tensor: weight, data: Float64Array.of(1, 0, 0, 1) },
  { tensor: targets, data: Uint32Array.from([5, 6, 7], (id, row) => left.includes(row) ? Op.noTarget : id) }
]
const f64 = plainDevice({ precision: "f64" })
const decide = (active: number) => route(Router.topK({ active }), x, { batch: 1, tokens: 3, experts: 2, tensors: { weight } })
const measure = async (balance: Balance.Loss, options: { active?: number; left?: ReadonlyArray<number> } = {}) => (await runOnce(f64, given(options.left), () => {
  const decision = decide(options.active ?? 1)
  return { loss: Balance.loss(balance, [decision], options.left === undefined ? {} : { shares: Balance.shares(targets, x) }) }
})).loss[0]!

const switchLoss = Balance.switchLoss({ weight: 0.01 }), zLoss = Balance.zLoss({ weight: 0.001 }), mutualLoss = Balance.mutualLoss({ weight: 0.1 })

describe("by hand", () => {
  test("switch: 2 · (2/3 · 13/24 + 1/3 · 11/24)", async () => expect(await measure(switchLoss)).toBeCloseTo(2 * (2 / 3 * 13 / 24 + 1 / 3 * 11 / 24), 12))
  test("switch with both experts active: visits are even, so it is 1 whatever p", async () => expect(await measure(switchLoss, { active: 2 })).toBeCloseTo(1, 12))
  test("switch without the row that is left out: f = 1/2 1/2", async () => expect(await measure(switchLoss, { left: [1] })).toBeCloseTo(1, 12))
  test("switch without the last row: everything goes to expert 0, p = 3/4", async () => expect(await measure(switchLoss, { left: [2] })).toBeCloseTo(2 * 3 / 4, 12))
  test("when every row is left out there is nothing to lose", async () => expect(await measure(switchLoss, { left: [0, 1, 2] })).toBe(0))
  test("z: (log 4)², (log 4)², (log 8)²", async () => {
    expect(await measure(zLoss)).toBeCloseTo((2 * Math.log(4) ** 2 + Math.log(8) ** 2) / 3, 12)
    expect(await measure(zLoss, { left: [0] })).toBeCloseTo((Math.log(4) ** 2 + Math.log(8) ** 2) / 2, 12)
  })
  test("z of logits of a thousand does not overflow", async () => {
    const { loss } = await runOnce(plainDevice(), [{ tensor: x, data: Float32Array.of(1000, 0, 0, 1000, 1000, 1000) }, ...given().slice(1)], () => ({ loss: Balance.loss(zLoss, [decide(1)]) }))
    expect(loss[0]! / 1e6).toBeCloseTo(1, 2)
  })
  test("layers are averaged", async () => {
    const { loss } = await runOnce(f64, given(), () => ({ loss: Balance.loss(switchLoss, [decide(1), decide(2)]) }))
    expect(loss[0]).toBeCloseTo((2 * (2 / 3 * 13 / 24 + 1 / 3 * 11 / 24) + 1) / 2, 12)
  })
  test("observations: loads, mean entropy and entropy of the mean", async () => {
    const h = (...p: ReadonlyArray<number>) => -p.reduce((sum, each) => sum + each * Math.log(each), 0)
    const seen = await runOnce(f64, given(), () => ({ ...Balance.observe(decide(1)) }))
    expect([...seen.load]).toEqual([expect.closeTo(2 / 3, 12), expect.closeTo(1 / 3, 12)])
    expect(seen.meanEntropy[0]).toBeCloseTo((2 * h(3 / 4, 1 / 4) + h(1 / 8, 7 / 8)) / 3, 12)
    expect(seen.entropyOfMean[0]).toBeCloseTo(h(13 / 24, 11 / 24), 12)
    const masked = await runOnce(f64, given([2]), () => ({ ...Balance.observe(decide(1), { shares: Balance.shares(targets, x) }) }))
    expect([...masked.load]).toEqual([1, 0])
    expect(masked.meanEntropy[0]).toBeCloseTo(h(3 / 4, 1 / 4), 12)
  })
})

test("mutual: the rows' mean entropy less that of their mean, of softmaxes and of sigmoids' shares", async () => {
  const entropy = (...p: ReadonlyArray<number>) => -p.reduce((sum, each) => sum + each * Math.log(each), 0)
  expect(await measure(mutualLoss)).toBeCloseTo((2 * entropy(3 / 4, 1 / 4) + entropy(1 / 8, 7 / 8)) / 3 - entropy(13 / 24, 11 / 24), 10)
  expect(await measure(mutualLoss, { left: [0, 2] })).toBeCloseTo(0, 10) // one row tells nothing
  const { loss, observed, mean } = await runOnce(f64, given(), () => {
    const decision = route({ ...Router.topK({ active: 1 }), activation: "sigmoid" }, x, { batch: 1, tokens: 3, experts: 2, tensors: { weight } }), seen = Balance.observe(decision)
    return { loss: Balance.loss(mutualLoss, [decision]), observed: seen.meanEntropy, mean: seen.entropyOfMean }
  })
  expect(loss[0]).toBeCloseTo(observed[0]! - mean[0]!, 10)
})

test("sigmoids: probabilities are their shares of the sum, and entropies those of the shares", async () => {
  const plain: Router.Router = { ...Router.topK({ active: 1 }), activation: "sigmoid" }
  const found = await runOnce(f64, given(), () => {
    const decision = route(plain, x, { batch: 1, tokens: 3, experts: 2, tensors: { weight } })
    return { ...Balance.observe(decision), loss: Balance.loss(switchLoss, [decision]) }
  })
  // σ(log 3) = 3/4 and σ(0) = 1/2: shares 3/5 2/5, twice; σ(log 7) = 7/8: shares 4/11 7/11
  const shares = [[3 / 5, 2 / 5], [3 / 5, 2 / 5], [4 / 11, 7 / 11]], entropy = (p: ReadonlyArray<number>) => -p.reduce((sum, each) => sum + each * Math.log(each), 0)
  const mean = [0, 1].map((e) => shares.reduce((sum, p) => sum + p[e]! / 3, 0))
  expect(found.meanEntropy[0]).toBeCloseTo(shares.reduce((sum, p) => sum + entropy(p) / 3, 0), 10)
  expect(found.entropyOfMean[0]).toBeCloseTo(entropy(mean), 10)
  expect(found.loss[0]).toBeCloseTo(2 * (2 / 3 * mean[0]! + 1 / 3 * mean[1]!), 12)
})

describe("gradients with respect to the router's weight, by central differences", () => {
  test.each([switchLoss, zLoss, mutualLoss])("%j", async (balance) => {
    const loss = () => Balance.loss(balance, [decide(1)], { shares: Balance.shares(targets, x) })
    const at = async (data: Float64Array) => (await runOnce(f64, [...given([1]), { tensor: weight, data }], () => ({ loss: loss() }))).loss[0]!
    const { gradient } = await runOnce(f64, given([1]), () => ({ gradient: Gradient.of(loss(), [weight])[0]! }))
    for (let i = 0; i < 4; i++) {
      const moved = (by: number) => at(Float64Array.of(1, 0, 0, 1).map((value, j) => value + (i === j ? by : 0)))
      expect(gradient[i]).toBeCloseTo((await moved(1e-5) - await moved(-1e-5)) / 2e-5, 8)
    }
  })
})

describe("replicas", () => {
  test("shares and visits are the only things that cross them", () => {
    const program = Recording.record(() => Balance.loss(switchLoss, [decide(1)], { shares: Balance.shares(targets, x) }), { replicas: 4 })
    expect(program.steps.filter(({ kernel }) => kernel === "sumReplicas").length).toBe(2)
  })
  test("their parts add to the loss that one replica has of the whole batch, and so do the gradients", async () => {
    const rows = 6, numbers = Float32Array.of(1, 0, 0.5, 0, 0, 2, 3, 1, -1, 1, 0, 0.2), ids = Uint32Array.from([1, 2, Op.noTarget, 4, 5, Op.noTarget])
    const measureOn = (replicas: number, device: Layer.Layer<Device.Device, Device.Failure>) => Effect.gen(function*() {
      const share = rows / replicas, x = Tensor.kept([share, 2], { sharded: true }), targets = Tensor.kept([share], { dtype: "u32", sharded: true })
      const program = Recording.record(() => {
        const decision = route(Router.topK({ active: 1 }), x, { batch: 1, tokens: share, experts: 2, tensors: { weight } }), shares = Balance.shares(targets, x)
        const total = [switchLoss, zLoss, mutualLoss].map((balance) => Balance.loss(balance, [decision], { shares })).reduce((sum, each) => Op.add(sum, each)), [gradient] = Gradient.of(total, [weight])
        const found = [total, gradient!, ...Object.values(Balance.observe(decision, { shares }))].map((tensor) => Op.keep(tensor))
        Recording.sumReplicas(found.slice(0, 2))
        return found
      }, { replicas })
      const arena = yield* (yield* Device.Device).arena
      yield* Effect.all([arena.upload(x, numbers), arena.upload(targets, ids), arena.upload(weight, Float32Array.of(1, 0.3, -0.2, 1))], { discard: true })
      yield* arena.submit(program)
      return (yield* Effect.forEach(program.outputs, arena.read)).flatMap((data) => [...data])
    }).pipe(Effect.scoped, Effect.provide(device), Effect.runPromise)
    const whole = await measureOn(1, Device.plain()), parts = await measureOn(2, Device.host({ workers: 2 }))
    expect(parts.length).toBe(1 + 4 + 2 + 1 + 1)
    parts.forEach((value, at) => expect(value).toBeCloseTo(whole[at]!, 5))
  })
  test("the z-loss crosses nothing", () => {
    const z = Recording.record(() => Balance.loss(zLoss, [decide(1)]), { replicas: 4 })
    expect(z.steps.some(({ kernel }) => kernel === "sumReplicas")).toBe(false)
  })
})

test("data: decodes, refuses a negative weight, and a dense model's decisions are a defect", async () => {
  expect(await Effect.runPromise(Schema.decodeUnknownEffect(Balance.Balance)({ loss: "z", weight: 0.5 }))).toEqual(Balance.zLoss({ weight: 0.5 }))
  expect(() => Schema.decodeUnknownSync(Balance.Balance)({ loss: "switch", weight: -1 })).toThrow(/weight/)
  expect(Schema.decodeUnknownSync(Balance.Balance)({ correction: "sign", rate: 0.001 })).toEqual(Balance.lossFree())
  expect(() => Schema.decodeUnknownSync(Balance.Balance)({ correction: "sign", rate: -1 })).toThrow(/rate/)
  expect([switchLoss, zLoss, mutualLoss, Balance.lossFree()].map((each) => [Balance.name(each), Balance.isLoss(each)])).toEqual([["balance.switch", true], ["balance.z", true], ["balance.mutual", true], ["balance.load", false]])
  expect(() => Recording.record(() => Balance.loss(switchLoss, []))).toThrow(/decisions must not be empty/)
})
