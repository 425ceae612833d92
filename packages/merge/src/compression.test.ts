import { describe, expect, test } from "@jest/globals"
import { Model, Table, Tables, Weights } from "@switchyard/core"
import { Router } from "@switchyard/routing"
import { Effect } from "effect"
import { permute } from "./alignment.ts"
import { dropExperts, fold, lowRank, mergeExperts, ranking, usage } from "./compression.ts"
import { randomWeights, tinyMixture } from "./tinyMixture.ts"
import { type Described, forced } from "./upcycling.ts"

const run = Effect.runPromise
const values = (weights: Weights.Weights, name: string) => run(weights.read(name))
const complete = ({ model, weights }: Described) => { expect([...weights.infos].map(([name, { shape }]) => ({ name, shape: [...shape] })).sort((a, b) => a.name < b.name ? -1 : 1)).toEqual(Model.tensors(model).map(({ name, shape }) => ({ name, shape: [...shape] })).sort((a, b) => a.name < b.name ? -1 : 1)) }
const even = (experts: number) => Array.from({ length: 2 }, () => Array.from({ length: experts }, () => 1 / experts))
const expertNames = (layer: number, expert: number) => ["gate", "up", "down"].map((part) => `layers.${layer}.experts.${expert}.${part}`)

test("usage is the share of combine weight, by layer, without what was dropped", () => {
  const trace = Table.make(Tables.Trace, {
    run: ["a", "a", "a", "a"], domain: ["d", "d", "d", "d"], document: [0, 0, 0, 0], position: [0, 0, 1, 1], token: [1, 1, 2, 2], layer: [0, 0, 0, 0], rank: [0, 1, 0, 1], expert: [1, 0, 1, 2],
    weight: [0.75, 0.25, 0.5, 0.5], logit: [0, 0, 0, 0], dropped: [false, false, false, true]
  })
  const [first, second] = usage(trace, 2, 3)
  expect(first!.map((share) => Number(share.toFixed(6)))).toEqual([0.166667, 0.833333, 0])
  expect(second).toEqual([1 / 3, 1 / 3, 1 / 3]) // a layer that the trace never saw counts all alike
  expect(ranking([0.2, 0.5, 0.2, 0.1])).toEqual([1, 0, 2, 3])
})

describe("dropExperts", () => {
  test("keeps the most used experts and their router rows, in their order; keeping all changes nothing", async () => {
    const mixture = tinyMixture(4), shares = [[0.1, 0.4, 0.2, 0.3], [0.4, 0.3, 0.2, 0.1]]
    const small = await run(dropExperts(mixture, shares, 2))
    complete(small)
    expect(await values(small.weights, "layers.0.experts.1.up")).toEqual(await values(mixture.weights, "layers.0.experts.3.up"))
    expect(await values(small.weights, "layers.0.router.weight")).toEqual(Float32Array.from([...(await values(mixture.weights, "layers.0.router.weight")).subarray(16, 32), ...(await values(mixture.weights, "layers.0.router.weight")).subarray(48, 64)]))
    const whole = await run(dropExperts(mixture, shares, 4))
    for (const name of mixture.weights.infos.keys()) expect(await values(whole.weights, name)).toEqual(await values(mixture.weights, name))
  })
  test("of any router it keeps what belongs to the experts kept, and all of the rest", async () => {
    const shares = [[0.1, 0.4, 0.2, 0.3], [0.4, 0.3, 0.2, 0.1]], mlp = tinyMixture(4, { kind: "full" }, 1, { ...Router.prefixMlp({ active: 1, inner: 4 }), correction: true }), small = await run(dropExperts(mlp, shares, 2)) // as many units within as experts
    complete(small)
    const of = (name: string, { weights }: Described = mlp) => values(weights, `layers.0.router.${name}`)
    for (const name of ["bias", "correction"]) expect(await of(name, small)).toEqual(Float32Array.of((await of(name))[1]!, (await of(name))[3]!))
    for (const name of ["inner.weight", "inner.bias"]) expect(await of(name, small)).toEqual(await of(name))
    const hash = tinyMixture(4, { kind: "full" }, 1, Router.once(Router.hash({ active: 1 }), { layer: 0 })), table = await of("table", hash), fewer = await run(dropExperts(hash, shares, 2))
    complete(fewer)
    expect(await of("table", fewer)).toEqual(Float32Array.from([...table.subarray(260, 520), ...table.subarray(780)]))
    const merged = await run(mergeExperts(mlp, even(4), 2))
    complete(merged)
    expect(String(await Effect.runPromiseExit(dropExperts(tinyMixture(4, { kind: "full" }, 1, Router.sigmoid({ active: 1, groups: { count: 2, keep: 1, by: "max" } })), shares, 3)))).toContain("3 experts in 2 groups")
    expect(String(await Effect.runPromiseExit(dropExperts(tinyMixture(4, { kind: "full" }, 1, Router.once(Router.topK({ active: 1 }), { layer: 1, before: [0] })), shares, 3)))).toContain("names experts one by one")
  })
  test("refuses what it cannot keep, and says what it could", async () => {
    const exit = await Effect.runPromiseExit(dropExperts(tinyMixture(4), even(4), 5))
    expect(String(exit)).toContain("keep 5 of 4")
  })
})

describe("a router by n-grams", () => {
  const router = Router.ngram({ active: 2, orders: 2, buckets: 8 }), shares = [[0.1, 0.4, 0.2, 0.3], [0.4, 0.3, 0.2, 0.1]], name = "layers.0.router.table"
  const row = (table: Float32Array, expert: number) => table.subarray(expert * 16, (expert + 1) * 16)
  test("dropping experts takes their rows; the layer that takes over has none", async () => {
    const mixture = tinyMixture(4, { kind: "full" }, 1, router), small = await run(dropExperts(mixture, shares, 2)), table = await values(mixture.weights, name)
    complete(small)
    expect(await values(small.weights, name)).toEqual(Float32Array.from([...row(table, 1), ...row(table, 3)]))
    expect(small.weights.infos.has("layers.1.router.table")).toBe(false)
  })
  test("merged experts have the mean of their log-odds, weighed as they are; folding keeps the table", async () => {
    const mixture = tinyMixture(4, { kind: "full" }, 1, router), small = await run(mergeExperts(mixture, shares, 2)), table = await values(mixture.weights, name), found = await values(small.weights, name)
    complete(small)
    small.groups[0]!.forEach((group, to) => {
      const total = group.reduce((sum, expert) => sum + shares[0]![expert]!, 0)
      row(found, to).forEach((value, at) => expect(value).toBeCloseTo(group.reduce((sum, expert) => sum + shares[0]![expert]! / total * row(table, expert)[at]!, 0), 6))
    })
    const low = tinyMixture(3, { kind: "lowRank", rank: 2, scale: 1 }, 1, router), full = await run(fold(low))
    complete(full)
    expect(await values(full.weights, name)).toEqual(await values(low.weights, name))
  })
})

describe("mergeExperts", () => {
  test("experts that are permuted copies merge into the original, whatever the usage", async () => {
    const mixture = tinyMixture(4), order = Uint32Array.from({ length: 24 }, (_, i) => (i * 5 + 1) % 24), held = new Map<string, Weights.MemoryTensor>()
    for (const [name, { shape }] of mixture.weights.infos) held.set(name, { shape, data: await values(mixture.weights, name) })
    for (const layer of [0, 1]) for (const [copy, of] of [[2, 0], [3, 1]] as const) {
      const [gate, up, down] = expertNames(layer, of).map((name) => held.get(name)!.data) as [Float32Array, Float32Array, Float32Array]
      const permuted = permute({ gate, up, down }, order, 24, 16)
      expertNames(layer, copy).forEach((name, at) => held.set(name, { shape: held.get(name)!.shape, data: [permuted.gate, permuted.up, permuted.down][at]! }))
    }
    const planted = { model: mixture.model, weights: Weights.fromMemory(held) }
    const small = await run(mergeExperts(planted, [[0.3, 0.3, 0.25, 0.15], [0.4, 0.35, 0.05, 0.2]], 2))
    complete(small)
    expect(small.groups).toEqual([[[0, 2], [1, 3]], [[0, 2], [1, 3]]])
    for (const layer of [0, 1]) for (const expert of [0, 1]) for (const name of expertNames(layer, expert)) {
      const found = await values(small.weights, name), original = held.get(name)!.data
      found.forEach((value, at) => { expect(value).toBeCloseTo(original[at]!, 6) })
    }
  })
  test("usage weighs: an expert nobody asks leaves the leader as it is", async () => {
    const mixture = tinyMixture(3), small = await run(mergeExperts(mixture, [[1, 0, 0], [1, 0, 0]], 1))
    complete(small)
    for (const name of expertNames(1, 0)) expect(await values(small.weights, name)).toEqual(await values(mixture.weights, name))
  })
  test("low-rank experts are refused with the remedy", async () => {
    expect(String(await Effect.runPromiseExit(mergeExperts(tinyMixture(3, { kind: "lowRank", rank: 2, scale: 1 }), even(3), 2)))).toContain("Compress.fold")
  })
})

describe("mixtures whose layers or experts are not all alike", () => {
  const failure = async (effect: Effect.Effect<unknown, Error>) => (await run(Effect.flip(effect))).message
  const biased = tinyMixture(4, { kind: "full", bias: true }), shares = [[0.1, 0.4, 0.2, 0.3], [0.4, 0.3, 0.2, 0.1]]
  test("experts with biases are dropped whole; what aligns or factors matrices is refused with the remedy", async () => {
    const small = await run(dropExperts(biased, shares, 2))
    complete(small)
    for (const part of ["gate", "gateBias", "upBias", "downBias"]) expect(await values(small.weights, `layers.0.experts.1.${part}`)).toEqual(await values(biased.weights, `layers.0.experts.3.${part}`))
    for (const refused of [mergeExperts(biased, shares, 2), lowRank(biased, 2)]) expect(await failure(refused)).toMatch(/the experts have biases.*Compress\.dropExperts, which keeps experts whole/)
  })
  test("first layers that are dense are refused with the remedy", async () => {
    const plain = tinyMixture(4), form = plain.model.feedForward as Model.Mixture, model: Model.Model = { ...plain.model, feedForward: { ...form, dense: { layers: 1, inner: 32 } } }
    const first: Described = { model, weights: randomWeights(model, 1) }
    for (const refused of [dropExperts(first, shares, 2), mergeExperts(first, shares, 2), lowRank(first, 2)]) expect(await failure(refused)).toMatch(/the first 1 layers have no experts.*whose layers are all alike/)
  })
})

test("fold then lowRank: folding is what forcing an expert computes; at the rank of the differences nothing is lost", async () => {
  const mixture = tinyMixture(3, { kind: "lowRank", rank: 2, scale: 1.5 }), full = await run(fold(mixture))
  complete(full)
  for (const expert of [0, 1, 2]) {
    const a = forced(mixture, expert), b = forced(full, expert)
    for (const { name } of Model.tensors(a.model)) expect(await values(a.weights, name)).toEqual(await values(b.weights, name))
  }
  // three differences of rank two, less their mean: at most rank six
  const again = await run(lowRank(full, 6))
  complete(again)
  again.lost.forEach((lost) => { expect(lost).toBeLessThan(1e-8) })
  for (const expert of [0, 1, 2]) for (const part of ["gate", "up", "down"]) {
    const a = await values(forced(full, expert).weights, `layers.1.feedForward.${part}`), b = await values(forced(again, expert).weights, `layers.1.feedForward.${part}`)
    a.forEach((value, at) => { expect(b[at]).toBeCloseTo(value, 5) })
  }
  const less = await run(lowRank(full, 2))
  less.lost.forEach((lost) => { expect(lost).toBeGreaterThan(0.01) })
})
