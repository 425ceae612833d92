import { describe, expect, test } from "@jest/globals"
import { Schema } from "effect"
import * as Model from "./Model.ts"

/** The published sizes of Mixtral-8x7B. */
const mixtral: Model.Model = {
  family: "mixtral", vocabulary: 32000, hidden: 4096, layers: 32, heads: 32, keyValueHeads: 8, headSize: 128, contextLength: 32768,
  normEpsilon: 1e-5, ropeTheta: 1e6, tiedEmbeddings: false,
  feedForward: { kind: "mixture", inner: 14336, experts: 8, active: 2, expert: { kind: "full" }, router: {}, routerTensors: { weight: [8, 4096] } },
  extra: {}
}

describe("Model.tensors", () => {
  test("Mixtral-8x7B has 995 tensors and 46.7 billion weights, 12.9 billion of them active", () => {
    expect(Model.tensors(mixtral).length).toBe(995)
    expect(Model.parameters(mixtral)).toBe(93405585408 / 2) // total_size of its published index, two bytes each
    expect(Model.activeParameters(mixtral) / 1e9).toBeCloseTo(12.9, 1)
  })
  test("low-rank experts stand on a shared feed-forward", () => {
    const shapes = new Map(Model.tensors({
      ...mixtral, layers: 1, hidden: 8, heads: 2, keyValueHeads: 1, headSize: 4, tiedEmbeddings: true,
      feedForward: { ...mixtral.feedForward as Model.Mixture, inner: 12, experts: 2, expert: { kind: "lowRank", rank: 3, scale: 2 }, routerTensors: { weight: [2, 8], bias: [2] } }
    }).map((t) => [t.name, t.shape]))
    expect(shapes.get("layers.0.feedForward.down")).toEqual([8, 12])
    expect(shapes.get("layers.0.experts.1.down.a")).toEqual([3, 12])
    expect(shapes.get("layers.0.experts.1.down.b")).toEqual([8, 3])
    expect(shapes.get("layers.0.router.bias")).toEqual([2])
    expect(shapes.has("head")).toBe(false)
    expect(shapes.has("layers.0.experts.0.gate")).toBe(false)
  })
  test("names are unique", () => {
    const names = Model.tensors(mixtral).map((t) => t.name)
    expect(new Set(names).size).toBe(names.length)
  })
})

test("contradictions are named", () => {
  expect(Model.contradictions(mixtral)).toEqual([])
  expect(Model.contradictions({ ...mixtral, keyValueHeads: 5 })).toEqual(["32 heads cannot share 5 key-value heads equally"])
  expect(Model.contradictions({ ...mixtral, feedForward: { ...mixtral.feedForward as Model.Mixture, active: 9 } })).toEqual(["9 active experts of 8"])
})

test("a model survives JSON", () => {
  const codec = Schema.fromJsonString(Model.Model)
  expect(Schema.decodeSync(codec)(Schema.encodeSync(codec)(mixtral))).toEqual(mixtral)
})
