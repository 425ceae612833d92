/** The table against counts by string keys, its laws, what it says of text from a known source, and the stage on tiny texts. */
import { describe, expect, test } from "@jest/globals"
import { Checkpoint, Corpus, Model, Pipeline, Random, Stage, Store, Tokenizer, Weights } from "@switchyard/core"
import { type Device, ngramBucket, plain, plainDevice, Tensor } from "@switchyard/gpu"
import { Cause, Effect, Exit, Layer, Schema } from "effect"
import fc from "fast-check"
import * as Ngram from "./Ngram.ts"
import { route } from "./route.ts"
import * as Router from "./Router.ts"
import { runOnce } from "./runOnce.ts"

type Texts = ReadonlyArray<ReadonlyArray<ReadonlyArray<number>>>
interface Sizes { readonly orders: number; readonly vocabulary: number; readonly strength: number }

/** Interpolated probabilities by string keys: of an expert's n-gram, that its last token follows its others. Sequences do not touch each other. */
const model = (texts: Texts, { orders, strength, vocabulary }: Sizes) => {
  const counts = texts.map((text) => {
    const grams = new Map<string, number>(), contexts = new Map<string, number>(), more = (map: Map<string, number>, key: string) => map.set(key, (map.get(key) ?? 0) + 1)
    for (const sequence of text) for (let end = 1; end <= sequence.length; end++) for (let order = 1; order <= Math.min(orders, end); order++) {
      more(grams, sequence.slice(end - order, end).join(" "))
      more(contexts, `${order}: ${sequence.slice(end - order, end - 1).join(" ")}`)
    }
    return { grams, contexts }
  })
  const known = texts.map((_, expert) => expert).filter((expert) => texts[expert]!.length > 0)
  const probability = (expert: number, gram: ReadonlyArray<number>): number => {
    if (gram.length === 0) return 1 / vocabulary
    if (!known.includes(expert)) return known.reduce((sum, other) => sum + probability(other, gram), 0) / known.length
    const { contexts, grams } = counts[expert]!
    return ((grams.get(gram.join(" ")) ?? 0) + strength * probability(expert, gram.slice(1))) / ((contexts.get(`${gram.length}: ${gram.slice(0, -1).join(" ")}`) ?? 0) + strength)
  }
  const seen = new Map<string, number>() // by all experts together
  for (const { grams } of counts) for (const [gram, count] of grams) seen.set(gram, (seen.get(gram) ?? 0) + count)
  return { probability, seen: [...seen].map(([gram, count]) => ({ gram: gram.split(" ").map(Number), count })) }
}
/** What the gram's order adds to the log-probability under each expert, less the experts' mean. [experts] */
const evidence = (texts: Texts, { probability }: ReturnType<typeof model>, gram: ReadonlyArray<number>): ReadonlyArray<number> => {
  const gains = texts.map((_, expert) => Math.log(probability(expert, gram)) - Math.log(probability(expert, gram.slice(1)))), middle = gains.reduce((a, b) => a + b) / gains.length
  return gains.map((gain) => gain - middle)
}
const column = (table: Float32Array, experts: number, bucket: number) => Array.from({ length: experts }, (_, expert) => table[expert * table.length / experts + bucket]!)
const bucketOf = (gram: ReadonlyArray<number>, buckets: number) => ngramBucket(gram, gram.length - 1, gram.length, buckets)
const farthest = (a: ArrayLike<number>, b: ArrayLike<number>) => { expect(a.length).toBe(b.length); return Array.from(a).reduce((most, value, at) => Math.max(most, Math.abs(value - b[at]!)), 0) }

const texts: Texts = [[[0, 1, 2, 0, 1, 2, 0, 1, 3], [2, 2, 0]], [[3, 1, 3, 1, 3, 3, 4], [1], [4, 4, 4, 0]], [], [[0, 1, 3, 1, 2]]] // the third expert is a generalist
const sizes = { orders: 3, vocabulary: 5, strength: 2.5 }
const any = fc.record({
  texts: fc.array(fc.array(fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 4 }),
  orders: fc.integer({ min: 1, max: 4 }), buckets: fc.constantFrom(1, 5, 64), strength: fc.constantFrom(0.1, 1, 20)
})

describe("table", () => {
  test("without collisions: every n-gram's share of the interpolated log-probabilities, and nothing elsewhere", () => {
    const buckets = 2 ** 14, oracle = model(texts, sizes), table = Ngram.table(texts, { ...sizes, buckets }), used = oracle.seen.map(({ gram }) => bucketOf(gram, buckets))
    expect(new Set(used).size).toBe(used.length)
    expect(table.length).toBe(texts.length * sizes.orders * buckets)
    for (const { gram } of oracle.seen) expect(farthest(column(table, texts.length, bucketOf(gram, buckets)), evidence(texts, oracle, gram))).toBeLessThan(1e-6)
    expect(table.reduce((count, value) => count + (value === 0 ? 0 : 1), 0)).toBeLessThanOrEqual(used.length * texts.length)
  })
  test("with collisions: the mean of those that share a bucket, weighed by how often they were seen", () => {
    const buckets = 7, oracle = model(texts, sizes), table = Ngram.table(texts, { ...sizes, buckets })
    for (let bucket = 0; bucket < sizes.orders * buckets; bucket++) {
      const sharing = oracle.seen.filter(({ gram }) => bucketOf(gram, buckets) === bucket), total = sharing.reduce((sum, { count }) => sum + count, 0)
      const expected = texts.map((_, expert) => sharing.reduce((sum, { count, gram }) => sum + count / total * evidence(texts, oracle, gram)[expert]!, 0))
      expect(farthest(column(table, texts.length, bucket), expected)).toBeLessThan(1e-6)
    }
  })
  test("law: the experts' log-odds of an n-gram add to nothing", () => {
    fc.assert(fc.property(any, ({ texts, ...options }) => {
      const table = Ngram.table(texts, { ...options, vocabulary: 5 })
      const sums = Array.from({ length: options.orders * options.buckets }, (_, bucket) => Math.abs(column(table, texts.length, bucket).reduce((a, b) => a + b)))
      expect(Math.max(...sums)).toBeLessThan(1e-5)
    }), { numRuns: 30, seed: 1 })
  })
  test("law: other places for the experts, other places for their rows; experts of the same text cannot be told apart", () => {
    fc.assert(fc.property(any, fc.nat(), ({ texts, ...options }, turn) => {
      const order = texts.map((_, expert) => (expert + turn) % texts.length), length = options.orders * options.buckets
      const table = Ngram.table(texts, { ...options, vocabulary: 5 }), moved = Ngram.table(order.map((expert) => texts[expert]!), { ...options, vocabulary: 5 })
      order.forEach((from, to) => expect(farthest(moved.subarray(to * length, (to + 1) * length), table.subarray(from * length, (from + 1) * length))).toBeLessThan(1e-5))
      expect(Ngram.table(texts.map(() => texts[0]!), { ...options, vocabulary: 5 }).every((value) => Math.abs(value) < 1e-12)).toBe(true)
    }), { numRuns: 20, seed: 2 })
  })
  test("law: a generalist is the mean of the others: never the best of them, never the worst", () => {
    fc.assert(fc.property(any, ({ orders, strength, texts }) => {
      const buckets = 2 ** 11, all = [...texts, []], table = Ngram.table(all, { orders, buckets, strength, vocabulary: 5 })
      const oracle = model(all, { orders, strength, vocabulary: 5 }), shared = new Map<number, number>()
      for (const { gram } of oracle.seen) shared.set(bucketOf(gram, buckets), (shared.get(bucketOf(gram, buckets)) ?? 0) + 1)
      for (const { gram } of oracle.seen) {
        const parts = gram.map((_, at) => bucketOf(gram.slice(at), buckets)) // of all orders that end here: together the log-probability
        if (parts.some((bucket) => shared.get(bucket) !== 1)) continue
        const said = all.map((_, expert) => parts.reduce((sum, bucket) => sum + column(table, all.length, bucket)[expert]!, 0)), middle = said.pop()!
        expect(Math.exp(middle)).toBeCloseTo(said.reduce((sum, value) => sum + Math.exp(value), 0) / said.length, 4)
      }
    }), { numRuns: 15, seed: 3 })
  })
  test("no text at all is a mistake that names the axis", () => { expect(() => Ngram.table([[], []], { ...sizes, buckets: 8 })).toThrow(/no expert has a text \(axis experts\)/) })
})

describe("text from a known source", () => {
  const vocabulary = 4, experts = 3, router = { ...Router.ngram({ active: 1, orders: 2, buckets: 4096, temperature: 2 }) }
  /** Tokens of a chain whose next token is mostly one that the last one and the chain's number say. */
  const chain = (source: number, name: string, length: number) => {
    const random = Random.make(7, `${source} ${name}`), ids = [0]
    for (let at = 1; at < length; at++) ids.push(Random.uniform(random, 2 * at) < 0.5 ? (ids[at - 1]! + source + 1) % vocabulary : Random.below(random, 2 * at + 1, vocabulary))
    return ids
  }
  const texts = Array.from({ length: experts }, (_, source) => [chain(source, "train", 600)])
  const logits = async (ids: ReadonlyArray<number>) => {
    const row = Tensor.kept([ids.length, 1]), index = () => Tensor.kept([ids.length], { dtype: "u32" }), at = { ids: index(), positions: index() }, table = Tensor.kept([experts, 2 * 4096])
    const read = await runOnce(plainDevice({ precision: "f64" }), [
      { tensor: row, data: new Float32Array(ids.length) }, { tensor: at.ids, data: Uint32Array.from(ids) }, { tensor: at.positions, data: Uint32Array.from(ids.keys()) },
      { tensor: table, data: Ngram.table(texts, { orders: 2, buckets: 4096, vocabulary, strength: 5 }) }
    ], () => ({ logits: route(router, row, { batch: 1, tokens: ids.length, experts, tensors: { table }, ...at }).logits }))
    return ids.map((_, token) => Array.from(read.logits.subarray(token * experts, (token + 1) * experts)))
  }
  test("the router's logits are the log-posterior under each expert's small model, over the temperature, at every token", async () => {
    const oracle = model(texts, { orders: 2, vocabulary, strength: 5 }), ids = chain(1, "held out", 40), found = await logits(ids), sums = Array.from({ length: experts }, () => 0)
    expect(oracle.seen.length).toBe(vocabulary + vocabulary ** 2) // no n-gram is new
    ids.forEach((_, token) => {
      sums.forEach((_, expert) => { sums[expert]! += Math.log(oracle.probability(expert, ids.slice(Math.max(0, token - 1), token + 1))) })
      const middle = sums.reduce((a, b) => a + b) / experts
      expect(farthest(found[token]!, sums.map((sum) => (sum - middle) / 2))).toBeLessThan(1e-5)
    })
  })
  test("it finds the source of text that it has not counted, surer with every token", async () => {
    for (let source = 0; source < experts; source++) {
      const found = await logits(chain(source, "held out", 40)), margin = (token: number) => found[token]![source]! - Math.max(...found[token]!.filter((_, expert) => expert !== source))
      expect(margin(39)).toBeGreaterThan(2)
      expect(margin(39)).toBeGreaterThan(margin(8))
    }
  })
})

describe("fit", () => {
  const body = { family: "switchyard", vocabulary: 260, hidden: 8, layers: 2, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 12, normEpsilon: 1e-5, ropeTheta: 1e4, tiedEmbeddings: true, extra: {} }
  const described = (router: Router.Router) => ({ ...body, feedForward: { kind: "mixture" as const, inner: 12, experts: 3, active: 1, expert: { kind: "full" as const }, router: router as never, routerTensors: Router.tensors(router, { ...body, experts: 3 }), ...router.depth?.decide === "once" ? { routerLayers: [router.depth.layer] } : {} } }) satisfies Model.Model
  const filled = (model: Model.Model) => Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) => [name, { shape, data: Random.fillNormal(Random.make(2, name), new Float32Array(Tensor.size(shape)), { deviation: 0.5 }) }])))
  const corpus = (domain: "law" | "code"): Corpus.Corpus => ({ kind: "corpus", header: { domain }, domain, documents: Array.from({ length: 3 }, (_, at) => ({ id: `${at}`, split: "train", text: (domain === "law" ? "no one shall " : "{x}; y(); ").repeat(6).slice(at) })) })
  const text = Stage.make("test/text", {
    version: 1, inputs: [], options: Schema.Struct({ domain: Schema.Literals(["law", "code"]) }), output: Corpus.Artifact,
    *describe(_none, { domain }) { return { header: { domain }, cost: {} } },
    *run(_none, { domain }) { return corpus(domain) }
  })
  const newborn = Stage.make("test/mixture", {
    version: 1, inputs: [], options: Schema.Struct({ router: Router.Router, experts: Schema.optionalKey(Schema.Array(Schema.String)) }), output: Checkpoint.Mixture,
    *describe(_none, { router }) { return { header: Checkpoint.headerOf(described(router), Tokenizer.bytes().hash), cost: {} } },
    *run(_none, { experts = ["law", "code", "any"], router }, context) {
      return Checkpoint.make({ model: described(router), weights: filled(described(router)), tokenizer: Tokenizer.bytes(), lineage: [{ stage: "test/mixture", key: context.key, inputs: {}, facts: { experts } }] })
    }
  })
  const small = Router.ngram({ active: 1, orders: 2, buckets: 64 }), options = { tokens: 48, window: 12, strength: 3 }, inputs = () => ({ law: text({ domain: "law" }), code: text({ domain: "code" }) })
  const running = <A, E>(effect: Effect.Effect<A, E, Store.Store | Device.Device>, seed = 0) => Effect.runPromiseExit(effect.pipe(Effect.provideService(Pipeline.Seed, seed), Effect.provide(Layer.mergeAll(Store.temporary, plain()))))
  const fitted = async (router: Router.Router, more: { readonly labels?: Readonly<Record<string, number>> } = {}, seed = 0) => {
    const exit = await running(Effect.gen(function*() {
      const { mixture } = yield* Pipeline.run(Pipeline.make("test", () => ({ mixture: Ngram.fit(newborn({ router }), inputs(), { ...options, ...more }) })))
      return { lineage: mixture.lineage, tensors: yield* Effect.map(Effect.forEach([...mixture.weights.infos.keys()], (name) => Effect.map(mixture.weights.read(name), (values) => [name, Float32Array.from(values)] as const)), (entries) => new Map(entries)) }
    }), seed)
    if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
    return exit.value
  }
  /** What the stage may read of a domain: four windows of the train split. */
  const drawn = (domain: "law" | "code", seed = 0) => Effect.runPromise(Effect.map(Corpus.batches({ [domain]: corpus(domain) }, { tokenizer: Tokenizer.bytes(), split: "train", batch: 1, tokens: 12, seed }), (batches) => [0, 1, 2, 3].map((step) => batches.at(step).ids)))
  const name = "layers.0.router.table", of = (texts: ReadonlyArray<ReadonlyArray<Uint32Array>>) => Ngram.table(texts, { orders: 2, buckets: 64, vocabulary: 260, strength: 3 })

  test("counts each expert's own text, as the lineage or the labels say, and keeps every other bit", async () => {
    const law = await drawn("law"), code = await drawn("code"), { lineage, tensors } = await fitted(small), before = filled(described(small))
    expect(tensors.get(name)).toEqual(of([law, code, []]))
    expect((await fitted(small, { labels: { law: 2, code: 0 } })).tensors.get(name)).toEqual(of([code, [], law]))
    expect([...tensors.keys()].sort()).toEqual([...before.infos.keys()].sort())
    for (const [each, values] of tensors) if (each !== name) expect(values).toEqual(Float32Array.from(await Effect.runPromise(before.read(each))))
    expect(lineage.at(-1)).toMatchObject({ stage: "ngram/fit", facts: { tokens: 48, strength: 3 } })
  })
  test("each layer that decides has the table", async () => {
    const { tensors } = await fitted({ ...small, depth: { decide: "each" } })
    expect(tensors.get("layers.1.router.table")).toEqual(tensors.get(name))
    expect(tensors.get(name)).toEqual(of([await drawn("law"), await drawn("code"), []]))
  })
  test("the same seed gives the same bits, another reads other windows", async () => {
    const first = (await fitted(small, {}, 5)).tensors.get(name)
    expect((await fitted(small, {}, 5)).tensors.get(name)).toEqual(first)
    expect(first).toEqual(of([await drawn("law", 5), await drawn("code", 5), []]))
    expect((await fitted(small, {}, 6)).tensors.get(name)).not.toEqual(first)
  })
  test("another router, a label that is not there and a dense model are refused by name", async () => {
    const refused = async (router: Router.Router, labels?: Readonly<Record<string, number>>) => {
      const exit = await running(Pipeline.run(Pipeline.make("test", () => ({ mixture: Ngram.fit(newborn({ router }), inputs(), { ...options, ...labels === undefined ? {} : { labels } }) }))))
      return Exit.isFailure(exit) ? String((Cause.squash(exit.cause) as Error).message) : "it ran"
    }
    expect(await refused(Router.topK({ active: 1 }))).toMatch(/scores by linear, not by n-grams/)
    expect(await refused(small, { law: 3, code: 0 })).toMatch(/no expert 3 among 3/)
    expect(await refused(small, { law: 0 })).toMatch(/no expert is known for "code"/)
    const dense = Checkpoint.load({ at: "nowhere" })
    expect(() => Pipeline.make("test", () => ({ mixture: Ngram.fit(dense as never, inputs()) }))).toThrow(/expected checkpoint \(mixture\), got checkpoint \(dense\)/)
  })
})
