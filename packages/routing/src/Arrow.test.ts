import { describe, expect, test } from "@jest/globals"
import { Checkpoint, Model, Pipeline, Random, Stage, Store, Tokenizer, Weights } from "@switchyard/core"
import { plain } from "@switchyard/gpu"
import { Cause, Effect, Exit, Layer, Schema } from "effect"
import fc from "fast-check"
import * as Arrow from "./Arrow.ts"
import * as Router from "./Router.ts"
import { times, timesTransposed, topDirection } from "./topDirection.ts"

const hidden = 8, inner = 6, experts = 3, rank = 2
const described = (router: Router.Router, expert: Model.Expert) => ({
  family: "llama", vocabulary: 260, hidden, layers: 2, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 12, normEpsilon: 1e-5, ropeTheta: 1e4, tiedEmbeddings: true, extra: {},
  feedForward: { kind: "mixture" as const, inner, experts, active: 1, expert, router: router as never, routerTensors: Router.tensors(router, { experts, hidden }) }
}) satisfies Model.Model
const normal = (name: string, length: number, deviation = 1) => Random.fillNormal(Random.make(4, name), new Float32Array(length), { deviation })
/** Orthonormal vectors, by Gram and Schmidt. */
const orthonormal = (name: string, count: number, length: number): Array<Array<number>> => {
  const found: Array<Array<number>> = []
  for (let at = 0; at < count; at++) {
    let v = [...normal(`${name}.${at}`, length)]
    for (const other of found) { const along = v.reduce((sum, value, i) => sum + value * other[i]!, 0); v = v.map((value, i) => value - along * other[i]!) }
    const size = Math.hypot(...v)
    found.push(v.map((value) => value / size))
  }
  return found
}
/** Weights whose experts' changes are planted: expert e's gate and up change along directions e (twice as much) and e + 3. */
const planted = (model: ReturnType<typeof described>) => {
  const directions = orthonormal("direction", hidden, hidden), across = orthonormal("across", inner, inner), held: Record<string, Weights.MemoryTensor> = {}
  for (const { name, shape } of Model.tensors(model)) {
    const size = shape.reduce((a, b) => a * b, 1), match = /\.experts\.(\d)\.(gate|up)(\.[ab])?$/.exec(name), base = normal(name.replace(/experts\.\d/, "experts"), size)
    if (match === null) { held[name] = { shape, data: base }; continue }
    const e = Number(match[1]), [strong, weak] = [directions[e]!, directions[e + 3]!], [first, second] = match[2] === "gate" ? [across[0]!, across[1]!] : [across[2]!, across[3]!]
    const data = match[3] === ".a" ? [...strong, ...weak] : match[3] === ".b" ? first.flatMap((value, i) => [2 * value, second[i]!])
      : [...base].map((value, at) => value + 2 * first[Math.floor(at / hidden)]! * strong[at % hidden]! + second[Math.floor(at / hidden)]! * weak[at % hidden]!)
    held[name] = { shape, data: Float32Array.from(data) }
  }
  return { weights: Weights.fromMemory(held), directions }
}
const cosine = (a: ArrayLike<number>, b: ReadonlyArray<number>) => Math.abs(b.reduce((sum, value, i) => sum + value * a[i]!, 0)) / Math.hypot(...Array.from(a)) / Math.hypot(...b)

describe("topDirection", () => {
  test("the direction of a planted strongest part, whatever else the map does", () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 999 }), fc.double({ min: 1.2, max: 9, noNaN: true }), (seed, strength) => {
      const right = orthonormal(`right ${seed}`, 3, 7), left = orthonormal(`left ${seed}`, 3, 5)
      const m = Float64Array.from({ length: 35 }, (_, at) => [strength, 1, 0.5].reduce((sum, size, k) => sum + size * left[k]![Math.floor(at / 7)]! * right[k]![at % 7]!, 0))
      const v = topDirection(7, (v) => timesTransposed(m, times(m, v)))
      expect(cosine(v, right[0]!)).toBeGreaterThan(1 - 1e-9)
      expect(Math.max(...v)).toBeCloseTo(Math.max(...v.map(Math.abs)), 12)
    }), { numRuns: 20, seed: 1 })
  })
  test("a map that is zero has no direction", () => expect([...topDirection(3, () => new Float64Array(3))]).toEqual([0, 0, 0]))
})

describe("Arrow", () => {
  test("low-rank experts: the direction of b·a over gate and up together", async () => {
    const model = described(Router.arrow({ active: 1 }), { kind: "lowRank", rank, scale: 2 }), { directions, weights } = planted(model)
    const found = await Effect.runPromise(Arrow.directions(model, weights, 1))
    for (let e = 0; e < experts; e++) expect(cosine(found.subarray(e * hidden, (e + 1) * hidden), directions[e]!)).toBeGreaterThan(1 - 1e-6)
  })
  test("full experts: that of the difference from their mean, which has a part of the others'", async () => {
    const model = described(Router.arrow({ active: 1 }), { kind: "full" }), { directions, weights } = planted(model)
    const found = await Effect.runPromise(Arrow.directions(model, weights, 0))
    for (let e = 0; e < experts; e++) {
      const along = directions.slice(0, experts).map((direction) => cosine(found.subarray(e * hidden, (e + 1) * hidden), direction))
      expect(along.indexOf(Math.max(...along))).toBe(e)
      // two thirds of its own against a third of each other's: (2, −1, −1)/3 of orthogonal parts, whose strongest direction is this mixture of them
      expect(Math.hypot(...along)).toBeGreaterThan(1 - 1e-6)
    }
  })
  const born = Stage.make("test/born", {
    version: 1, inputs: [], options: Schema.Struct({ router: Router.Router }), output: Checkpoint.Mixture,
    *describe(_none, { router }) { return { header: Checkpoint.headerOf(described(router, { kind: "full" }), Tokenizer.bytes().hash), cost: {} } },
    *run(_none, { router }) { const model = described(router, { kind: "full" }); return Checkpoint.make({ model, weights: planted(model).weights, tokenizer: Tokenizer.bytes() }) }
  })
  const layer = Layer.mergeAll(Store.temporary, plain())
  test("as a stage: every layer that decides, nothing else; another router is refused by the plan", async () => {
    const pipeline = (router: Router.Router) => Pipeline.make("test", () => ({ mixture: Arrow.fit(born({ router })) }))
    await Effect.runPromise(Effect.provide(Effect.gen(function*() {
      const { mixture } = yield* Pipeline.run(pipeline(Router.arrow({ active: 1 }))), before = planted(described(Router.arrow({ active: 1 }), { kind: "full" })).weights
      for (const at of [0, 1]) expect(yield* mixture.weights.read(`layers.${at}.router.directions`)).toEqual(yield* Arrow.directions(mixture.model, before, at))
      expect(yield* mixture.weights.read("layers.1.experts.2.up")).toEqual(yield* before.read("layers.1.experts.2.up"))
    }), layer))
    for (const [router, problem] of [[Router.topK({ active: 1 }), /by linear/], [Router.arrow({ active: 1, unit: { of: "prefix", pool: "bank", decays: [1, 0.5] } }), /bank of pools/]] as const) {
      const exit = await Effect.runPromiseExit(Effect.provide(Pipeline.plan(pipeline(router)), layer))
      expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toMatchObject({ _tag: "TrainingError", problem: expect.stringMatching(problem) })
    }
  })
})
