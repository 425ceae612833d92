import { expect, test } from "@jest/globals"
import { Model } from "@switchyard/core"
import { activeParameters, meanActiveParameters } from "./activeParameters.ts"
import * as Router from "./Router.ts"

const hidden = 8, inner = 10, experts = 4, layers = 3
const described = (router: Router.Router, expert: Model.Expert = { kind: "full" }): Model.Model => ({
  family: "switchyard", vocabulary: 13, hidden, layers, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 1e4, tiedEmbeddings: true, extra: {},
  feedForward: {
    kind: "mixture", inner, experts, active: 1, expert, router, routerTensors: Router.tensors(router, { experts, hidden, vocabulary: 13, contextLength: 64 }), ...router.depth?.decide === "once" ? { routerLayers: [router.depth.layer] } : {}
  }
})
/** Embedding, attention (query, key, value, output), norms; a full expert; a low-rank one of rank 2. */
const body = 13 * hidden + layers * (hidden * hidden + 2 * 4 * hidden + hidden * hidden + 2 * hidden) + hidden, full = 3 * hidden * inner, low = 3 * 2 * (hidden + inner)

test("by hand: the body, the experts visited, the router's weights in each layer", () => {
  expect(activeParameters(described(Router.topK({ active: 2 })))).toBe(body + layers * (2 * full + experts * hidden))
  expect(activeParameters(described(Router.topK({ active: 2 })), { router: Router.fixed([1]) })).toBe(body + layers * full)
  expect(activeParameters(described(Router.topK({ active: 1 }), { kind: "lowRank", rank: 2, scale: 1 }))).toBe(body + layers * (full + low + experts * hidden))
  expect(activeParameters(described(Router.prefixMlp({ active: 2, inner: 5, decays: [1, 0.9] })))).toBe(body + layers * (2 * full + 5 * 2 * hidden + 5 + experts * 5 + experts))
})
test("a dense model has all its weights active, and so has a mixture of one expert", () => {
  const dense: Model.Model = { ...described(Router.fixed([0])), feedForward: { kind: "dense", inner } }
  expect(activeParameters(dense)).toBe(Model.parameters(dense))
  expect(activeParameters(described(Router.fixed([0])))).toBe(Model.parameters(dense))
})
test("dense first layers have neither experts nor a router", () => {
  const model = described(Router.topK({ active: 2 })), form = model.feedForward as Model.Mixture
  expect(activeParameters({ ...model, feedForward: { ...form, dense: { layers: 1, inner: 7 } } })).toBe(body + 3 * hidden * 7 + (layers - 1) * (2 * full + experts * hidden))
})
test("deciding once: one router; layers that are told visit as many as they are told", () => {
  expect(activeParameters(described(Router.once(Router.topK({ active: 1 }), { layer: 1, before: [0, 2, 3] })))).toBe(body + (3 + 1 + 1) * full + experts * hidden)
})
test("of a router that is one product, core's count by names alone is the same", () => {
  for (const model of [described(Router.topK({ active: 1 })), described(Router.topK({ active: 1 }), { kind: "lowRank", rank: 2, scale: 1 })]) expect([activeParameters(model), Math.round(meanActiveParameters(model, { tokens: 7 }))]).toEqual([Model.activeParameters(model), Model.activeParameters(model)])
})
test("tables are looked up, generated directions are made once", () => {
  expect(activeParameters(described(Router.hash({ active: 1 })))).toBe(body + layers * (full + experts))
  expect(activeParameters(described(Router.nexus({ active: 1, embedding: 6, inner: 5 })))).toBe(body + layers * (full + experts * hidden))
})
test("an election has all experts active while it lasts", () => {
  const elected = described(Router.likelihood({ active: 1, trial: 16 }))
  expect([0, 15, 16, 60].map((position) => activeParameters(elected, { position }))).toEqual([experts, experts, 1, 1].map((visited) => body + layers * visited * full))
  expect(meanActiveParameters(elected, { tokens: 64 })).toBeCloseTo(body + layers * full * (16 * experts + 48) / 64, 6)
  expect(activeParameters(described(Router.likelihood({ active: 1 })), { position: 1000 })).toBe(body + layers * experts * full)
})
