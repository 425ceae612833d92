import { describe, expect, test } from "@jest/globals"
import { Effect, Exit, Schema } from "effect"
import fc from "fast-check"
import * as Router from "./Router.ts"
import { routers } from "./routers.ts"

const failure = async (effect: Effect.Effect<unknown, Router.RouterError>) => {
  const error = Exit.findErrorOption(await Effect.runPromiseExit(effect))
  if (error._tag === "None") throw new Error("it did not fail")
  return error.value
}
const select = fc.letrec<{ select: Router.Select }>((tie) => ({
  select: fc.oneof({ maxDepth: 2 },
    fc.constant({ keep: "all" } as const), fc.record({ keep: fc.constant("top" as const), active: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ fixed: fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { minLength: 1, maxLength: 3 }) }),
    fc.record({ union: fc.array(tie("select"), { minLength: 1, maxLength: 3 }) }))
})).select
const router: fc.Arbitrary<Router.Router> = fc.record({
  unit: fc.oneof(fc.constant({ of: "token" } as const), fc.constant({ of: "prefix", pool: "mean" } as const), fc.record({ of: fc.constant("prefix" as const), pool: fc.constant("decay" as const), decay: fc.constant(0.5) }), fc.record({ of: fc.constant("prefix" as const), pool: fc.constant("evidence" as const), decay: fc.constantFrom(0.5, 1), temperature: fc.constant(2), normalize: fc.constant("rms" as const) }, { requiredKeys: ["of", "pool", "decay", "temperature"] }), fc.record({ of: fc.constant("prefix" as const), pool: fc.constant("bank" as const), decays: fc.constant([1, 0.5]), normalize: fc.constantFrom("rms" as const, "whitened" as const) }, { requiredKeys: ["of", "pool", "decays"] })),
  score: fc.oneof(fc.constant({ by: "linear" } as const), fc.constantFrom({ by: "mlp", inner: 3 } as const, { by: "magnitude", temperature: 2 } as const, { by: "standardized" } as const, { by: "generated", embedding: 4, inner: 3 } as const, { by: "lookup", key: "token" } as const, { by: "ngram", orders: 2, buckets: 64 } as const), fc.record({ by: fc.constant("distance" as const), metric: fc.constantFrom("euclidean", "whitened", "cosine"), temperature: fc.constant(2) }), fc.constant({ by: "likelihood", decay: 1, temperature: 1 } as const)),
  select, weight: fc.constantFrom("prob", "renorm", "softmaxKept"),
  depth: fc.constantFrom({ decide: "each" as const }, { decide: "once" as const, layer: 0 }, { decide: "once" as const, layer: 2, before: { experts: [0, 3], weights: [0.5, 0.5] } }),
  activation: fc.constantFrom("softmax" as const, "sigmoid" as const), correction: fc.constant(true as const), groups: fc.constant({ count: 2, keep: 1, by: "max" as const }), scale: fc.constant(2.5),
  capacity: fc.record({ perExpert: fc.constantFrom(0.5, 1, 1.25), scope: fc.constantFrom("batch", "sequence"), priority: fc.constant("position" as const), overflow: fc.constant("drop" as const) })
}, { requiredKeys: ["unit", "score", "select", "weight"] })

describe("Router as data", () => {
  test("any router survives JSON and encodes to itself", async () => {
    await fc.assert(fc.asyncProperty(router, async (each) => {
      expect(await Effect.runPromise(Router.decode(JSON.parse(JSON.stringify(each))))).toEqual(each)
      expect(Schema.encodeSync(Router.Router)(each)).toEqual(each)
    }))
  })
  test("errors say where", async () => {
    const good = Router.topK({ active: 2 })
    expect((await failure(Router.decode({ ...good, weight: "uniform" }))).message).toMatch(/at \["weight"\]/)
    expect((await failure(Router.decode({ ...good, score: { by: "distance", metric: "cosine", temperature: 0 } }))).message).toMatch(/\["score"\]\["temperature"\]/)
    expect((await failure(Router.decode({ ...good, select: { union: [{ keep: "top", active: 1.5 }] } }))).message).toMatch(/\["select"\]\["union"\]\[0\]\["active"\]/)
    expect((await failure(Router.decode({ ...good, capacity: 2 }))).message).toMatch(/capacity/)
    expect((await failure(Router.decode({ ...good, capacity: { ...Router.limited(good, { perExpert: 1, scope: "batch" }).capacity, perExpert: 0 } }))).message).toMatch(/\["capacity"\]\["perExpert"\]/)
    expect((await failure(Router.decode({ ...good, unit: { of: "prefix", pool: "decay", decay: 0 } }))).message).toMatch(/\["unit"\]\["decay"\]/)
  })
  test("more active experts than experts, or one that is not there, is an error that names both numbers", async () => {
    expect(await failure(Router.check(Router.topK({ active: 5 }), 4))).toMatchObject({ _tag: "RouterError", at: "router.select", problem: "5 active experts of 4" })
    expect((await failure(Router.check(Router.shared({ shared: [0, 4], active: 1 }), 4))).at).toBe("router.select.union[0].fixed[1]")
    expect((await failure(Router.check(Router.fixed([1, 1]), 4))).problem).toBe("expert 1 stands twice")
    expect((await failure(Router.check(Router.shared({ shared: [0, 1], active: 3 }), 4))).problem).toBe("5 active experts of 4")
    expect(await Effect.runPromise(Router.check(Router.shared({ shared: [0, 1], active: 2 }), 4))).toBeDefined()
  })
})

describe("what is inferred", () => {
  test("active experts", () => {
    expect(Object.entries(routers).map(([name, { router }]) => [name, Router.active(router, 8)])).toEqual([
      ["mixtral", 2], ["switch", 1], ["gshard", 2], ["switchCapacity", 1], ["gshardCapacity", 2], ["deepSeekMoE", 3], ["deepSeekV3", 2], ["deepSeekV2", 2], ["gptOss", 2], ["soft", 8], ["xMoE", 1], ["moirai", 2], ["prefixPrototypes", 2], ["arrow", 2], ["phatgoose", 2], ["nexus", 1], ["hash", 1], ["random", 2], ["prefix", 2], ["prefixMlp", 2], ["evidence", 2], ["evidenceMlp", 1], ["ngram", 2], ["bigram", 1], ["branchTrainMerge", 8], ["trial", 2]
    ])
    expect(Router.active({ ...Router.all(), select: { union: [{ fixed: [1] }, { keep: "all" }] } }, 8)).toBe(8)
    expect(Router.active({ ...Router.all(), select: { union: [{ keep: "top", active: 2 }, { union: [{ fixed: [1] }, { fixed: [1, 3] }] }] } }, 8)).toBe(4)
    expect(Router.active({ ...Router.all(), select: { union: [{ fixed: [1] }, { union: [{ keep: "all" }] }] } }, 8)).toBe(8)
  })
  test("scope at run time and in the type", () => {
    const token: "token" = Router.scope(Router.topK({ active: 2 }))
    const prefix: "prefix" = Router.scope(Router.prefix({ active: 2 }))
    const experts: "prefix" = Router.scope(Router.likelihood())
    const pooled: "prefix" = Router.scope(Router.prototypes({ active: 1, unit: { of: "prefix", pool: "mean" } }))
    const near: "token" = Router.scope(Router.prototypes({ active: 1 }))
    const grams: "prefix" = Router.scope(Router.ngram({ active: 1 })), few: "prefix" = Router.scope({ ...Router.ngram({ active: 1 }), unit: { of: "token" } }) // the tokens before it too
    expect([token, prefix, experts, pooled, near, grams, few]).toEqual(["token", "prefix", "prefix", "prefix", "token", "prefix", "prefix"])
    // a router not known literally may be of any scope that its parts allow
    const unknown: Router.ScopeOf<Router.Router> = "batch", unlimited: Router.ScopeOf<Router.Unlimited> = "prefix"
    // @ts-expect-error the widest of them, not the narrowest
    const narrow: Router.ScopeOf<Router.Router> = "token"
    // @ts-expect-error a prefix router is no token router
    const wrong: "token" = Router.scope(Router.prefix({ active: 2 }))
    expect([unknown, unlimited, narrow, wrong]).toEqual(["batch", "prefix", "token", "prefix"])
    const batch: "batch" = Router.scope(Router.limited(Router.prefix({ active: 2 }), { perExpert: 1, scope: "batch" }))
    const sequence: "sequence" = Router.scope(Router.limited(Router.topK({ active: 2 }), { perExpert: 1, scope: "sequence" }))
    expect([batch, sequence]).toEqual(["batch", "sequence"])
  })
  test("isolation: a router in whose decisions others have a say is refused by the types, and at run time by name", async () => {
    const serve = <const R extends Router.Router>(router: R & Router.Isolated<R>): Router.Router => router
    const shared = Router.limited(Router.topK({ active: 2 }), { perExpert: 1.25, scope: "batch" }), padded = Router.limited(Router.topK({ active: 2 }), { perExpert: 1.25, scope: "sequence" })
    const read: Router.Router = await Effect.runPromise(Router.decode(JSON.parse(JSON.stringify(Router.prefix({ active: 1 })))))
    serve(Router.topK({ active: 2 }))
    serve(Router.likelihood())
    serve(routers.mixtral.router)
    // @ts-expect-error other sequences of the batch take the places
    serve(shared)
    // @ts-expect-error how many places there are depends on the padding
    serve(padded)
    // @ts-expect-error the same, as a row of the table
    serve(routers.switchCapacity.router)
    // @ts-expect-error from JSON: the type does not tell
    serve(read)
    expect(serve(await Effect.runPromise(Router.isolated(read)))).toEqual(Router.prefix({ active: 1 }))
    expect(await failure(Router.isolated(shared))).toMatchObject({ _tag: "RouterError", at: "router.capacity", problem: "which visits are dropped depends on the other sequences of the batch" })
    expect((await failure(Router.isolated(padded, "the model's router"))).message).toMatch(/^the model's router\.capacity: .*padded\. Leave capacity out/)
  })
  test("which logits the loss trains", () => {
    expect(Router.gradient(Router.topK({ active: 1, weight: "renorm" }), 4)).toBe("none")
    expect(Router.gradient(Router.topK({ active: 1, weight: "prob" }), 4)).toBe("all")
    expect(Router.gradient(Router.topK({ active: 2 }), 4)).toBe("chosen")
    expect(Router.gradient(Router.topK({ active: 4 }), 4)).toBe("all")
    expect(Router.gradient(Router.likelihood(), 4)).toBe("none")
    expect(Router.gradient(Router.sigmoid({ active: 2, weight: "prob" }), 4)).toBe("chosen")
    expect(Router.gradient(Router.sigmoid({ active: 1 }), 4)).toBe("none")
    expect(Router.gradient(Router.all(), 1)).toBe("none")
  })
  test("whether weights add to one", () => {
    const says = (router: Router.Router) => Router.sumsToOne(router, 4)
    expect([Router.topK({ active: 2 }), Router.all(), Router.sigmoid({ active: 2 }), Router.once(Router.topK({ active: 1 }), { layer: 1, before: [0, 1] })].map(says)).toEqual([true, true, true, true])
    expect([Router.topK({ active: 2, weight: "prob" }), Router.sigmoid({ active: 4, weight: "prob" }), Router.sigmoid({ active: 2, scale: 2 }), Router.once(Router.topK({ active: 1 }), { layer: 1, before: [0], weights: [0.5] }), Router.limited(Router.topK({ active: 2 }), { perExpert: 1, scope: "batch" })].map(says)).toEqual([false, false, false, false, false])
  })
  test("groups that cannot be are refused by name", async () => {
    const refused = async (groups: Router.Groups, active = 2) => (await failure(Router.check(Router.sigmoid({ active, groups }), 4))).problem
    expect(await refused({ count: 3, keep: 1, by: "max" })).toBe("4 experts in 3 groups")
    expect(await refused({ count: 2, keep: 3, by: "max" })).toBe("3 groups kept of 2")
    expect(await refused({ count: 4, keep: 2, by: "top2sum" })).toBe("the best two of groups of 1")
    expect(await refused({ count: 2, keep: 1, by: "max" }, 3)).toBe("3 active experts, 1 groups hold 2")
  })
  test("whether scores matter at all", () => {
    expect(Router.scored({ ...Router.sigmoid({ active: 1, weight: "prob" }) }, 1)).toBe(true)
    expect(Router.scored(Router.fixed([2]), 4)).toBe(false)
    expect(Router.scored(Router.fixed([2, 3]), 4)).toBe(true)
    expect(Router.scored({ ...Router.fixed([2]), weight: "prob" }, 4)).toBe(true)
    expect(Router.scored(Router.topK({ active: 1 }), 1)).toBe(false)
  })
  test("tensors", () => {
    expect(Router.tensors(Router.topK({ active: 1 }), { experts: 4, hidden: 8 })).toEqual({ weight: [4, 8] })
    expect(Router.tensors(Router.prototypes({ active: 1, metric: "whitened" }), { experts: 4, hidden: 8 })).toEqual({ centroids: [4, 8], deviation: [8] })
    expect(Router.tensors(Router.likelihood(), { experts: 4, hidden: 8 })).toEqual({})
    expect(Router.tensors(Router.prefixMlp({ active: 1, inner: 5, decays: [1, 0.9], normalize: "whitened" }), { experts: 4, hidden: 8 }))
      .toEqual({ "pool.mean": [16], "pool.deviation": [16], "inner.weight": [5, 16], "inner.bias": [5], weight: [4, 5], bias: [4] })
  })
  test("tables need what they are looked up by, and a single token", async () => {
    expect(Router.tensors(Router.hash({ active: 1 }), { experts: 4, hidden: 8, vocabulary: 260 })).toEqual({ table: [4, 260] })
    expect(() => Router.tensors(Router.random({ active: 1 }), { experts: 4, hidden: 8 })).toThrow(/needs the model's contextLength/)
    expect((await failure(Router.check({ ...Router.hash({ active: 1 }), unit: { of: "prefix", pool: "mean" } }, 4))).at).toBe("router.unit")
  })
  test("n-grams: their table, what a preset says, no gradient, and what cannot be", async () => {
    const router = Router.ngram({ active: 2 })
    expect(router).toEqual({ unit: { of: "prefix", pool: "evidence", decay: 1, temperature: 2 }, score: { by: "ngram", orders: 3, buckets: 16384 }, select: { keep: "top", active: 2 }, weight: "renorm", depth: { decide: "once", layer: 0 } })
    expect(Router.tensors(router, { experts: 4, hidden: 8 })).toEqual({ table: [4, 3 * 16384] })
    expect([Router.gradient(router, 4), Router.sumsToOne(router, 4), Router.width(router.unit, 8), Router.perExpert("table"), Router.deciding(router, 3)]).toEqual(["none", true, 8, true, [0]])
    expect(await Effect.runPromise(Router.check({ ...router, unit: { of: "token" } }, 4))).toBeDefined()
    const refused = async (change: Partial<Router.Router>) => (await failure(Router.check({ ...router, ...change }, 4))).message
    for (const unit of [{ of: "prefix", pool: "mean" }, { of: "prefix", pool: "decay", decay: 0.5 }, { of: "prefix", pool: "bank", decays: [1] }] as const) expect(await refused({ unit })).toMatch(/^router\.unit: n-grams are of ids, of which there is no mean/)
    expect(await refused({ unit: { ...router.unit, normalize: "rms" } })).toMatch(/^router\.unit: .*not normalised/)
    expect(await refused({ score: { by: "ngram", orders: 1, buckets: 2 ** 24 + 1 } })).toMatch(/^router\.score: 16777217 buckets/)
    expect(await refused({ score: { by: "ngram", orders: 256, buckets: 2 ** 24 } })).toMatch(/32 bits/)
    expect((await failure(Router.decode({ ...router, score: { by: "ngram", orders: 0, buckets: 4 } }))).message).toMatch(/\["score"\]\["orders"\]/)
  })
  test("evidence adds up scores of states, not what is looked up or added up already", async () => {
    const evidence = { of: "prefix", pool: "evidence", decay: 0.9, temperature: 2 } as const
    expect([Router.decays(evidence), Router.width(evidence, 8), Router.tensors({ ...Router.topK({ active: 1 }), unit: { ...evidence, normalize: "whitened" } }, { experts: 4, hidden: 8 })]).toEqual([[], 8, { weight: [4, 8], "pool.mean": [8], "pool.deviation": [8] }])
    expect((await failure(Router.check({ ...Router.likelihood(), unit: evidence }, 4))).message).toMatch(/likelihoods add up over the text already/)
    expect((await failure(Router.check({ ...Router.hash({ active: 1 }), unit: evidence }, 4))).at).toBe("router.unit")
    for (const wrong of [{ decay: 0 }, { decay: 1.5 }, { temperature: 0 }]) expect((await failure(Router.decode({ ...Router.topK({ active: 1 }), unit: { ...evidence, ...wrong } }))).message).toContain(Object.keys(wrong)[0])
  })
  test("likelihoods run whole experts: a unit that pools states is refused, not ignored", async () => {
    const pooled: ReadonlyArray<Router.Unit> = [{ of: "prefix", pool: "mean" }, { of: "prefix", pool: "mean", normalize: "whitened" }, { of: "prefix", pool: "decay", decay: 0.5 }, { of: "prefix", pool: "bank", decays: [1, 0.5] }]
    for (const unit of pooled) {
      const error = await failure(Router.check({ ...Router.likelihood(), unit }, 4))
      expect([error.at, error.problem, error.remedy]).toEqual(["router.unit", "likelihoods are of the text so far already, and pool no states", 'Give unit: { of: "token" }, as Router.likelihood does.'])
    }
    expect(await Effect.runPromise(Router.check(Router.likelihood(), 4))).toEqual(Router.likelihood())
  })
  test("deciding once: which layers decide, how many experts each visits, and what is refused", async () => {
    const once = Router.once(Router.prefixMlp({ active: 2 }), { layer: 2, before: [0, 1, 3] })
    expect([Router.deciding(once, 4), Router.deciding(Router.topK({ active: 1 }), 3)]).toEqual([[2], [0, 1, 2]])
    expect([0, 1, 2, 3].map((layer) => [Router.decides(once, layer), Router.activeIn(once, 4, layer)])).toEqual([["told", 3], ["told", 3], ["itself", 2], ["carried", 2]])
    expect(once.depth).toEqual({ decide: "once", layer: 2, before: { experts: [0, 1, 3], weights: [1 / 3, 1 / 3, 1 / 3] } })
    const prefix: "prefix" = Router.scope(once)
    expect(prefix).toBe("prefix")
    expect((await failure(Router.check(Router.once(Router.topK({ active: 1 }), { layer: 1 }), 4))).problem).toMatch(/layer 1 decides.*not told/)
    expect(await Effect.runPromise(Router.check(Router.once(Router.topK({ active: 1 }), { layer: 0 }), 4))).toBeDefined()
    expect((await failure(Router.check(Router.once(Router.topK({ active: 1 }), { layer: 1, before: [4] }), 4))).at).toMatch(/^router\.depth\.before/)
    expect((await failure(Router.check(Router.once(Router.topK({ active: 1 }), { layer: 1, before: [1], weights: [1, 2] }), 4))).problem).toBe("2 weights for 1 experts")
  })
  test("newborn tensors: a hidden layer keeps the scale, the last one begins nearly even, biases and means are zero", () => {
    const born = Object.fromEntries(Object.entries(Router.tensors(Router.prefixMlp({ active: 1, inner: 5, decays: [1, 0.9], normalize: "whitened" }), { experts: 4, hidden: 8 })).map(([name, shape]) => [name, Router.newborn(name, shape)]))
    expect(born).toEqual({
      "pool.mean": { mean: 0, deviation: 0 }, "pool.deviation": { mean: 1, deviation: 0 }, "inner.weight": { mean: 0, deviation: 1 / 4 }, "inner.bias": { mean: 0, deviation: 0 },
      weight: { mean: 0, deviation: 0.02 }, bias: { mean: 0, deviation: 0 }
    })
  })
})
