import { afterAll, beforeAll, describe, expect, test } from "@jest/globals"
import { Checkpoint, file, Pipeline, Random, Stage, Store, Tokenizer, Weights } from "@switchyard/core"
import { plain } from "@switchyard/gpu"
import { Adapter, Router } from "@switchyard/routing"
import { Effect, Layer, Schema } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { prove } from "./IdentityProof.ts"
import { dense, randomWeights } from "./tinyMixture.ts"
import * as Upcycle from "./Upcycle.ts"
import { fromDense as mixtureFromDense } from "./upcycling.ts"

const folder = mkdtempSync(join(tmpdir(), "switchyard-upcycle-"))
const router = Router.topK({ active: 2 })
const seedFolder = (name: string, seed: number) => Effect.runPromise(Checkpoint.write(Checkpoint.make({ model: dense, weights: randomWeights(dense, seed), tokenizer: Tokenizer.bytes() }), join(folder, name)))
beforeAll(async () => { await seedFolder("one", 1); await seedFolder("two", 2) })
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

const at = (name: string) => Checkpoint.load({ at: file(join(folder, name)) })
/** An adapter of random factors; `wrongBase` claims another base. */
const randomAdapter = Stage.make("test/randomAdapter", {
  version: 1, inputs: [Stage.one("base", Checkpoint.Dense)], options: Schema.Struct({ seed: Schema.Int, rank: Schema.Int, wrongBase: Schema.Boolean }), output: Adapter.Artifact,
  *describe({ base }, { rank, wrongBase }) { return { header: { base: wrongBase ? "another" : base.key, rank, scale: 2, domains: [], model: base.model }, cost: {} } },
  *run({ base }, { rank, seed, wrongBase }, context) {
    const weights = Weights.fromMemory(new Map(Adapter.tensors(base.model, rank).map(({ name, shape }) => [name, { shape, data: Random.fillNormal(Random.make(seed, name), new Float32Array(shape[0]! * shape[1]!), { deviation: 0.1 }) }] as const)))
    return { kind: "adapter" as const, header: { base: wrongBase ? "another" : context.keys["base"]!, rank, scale: 2, domains: [], model: base.model }, weights }
  }
})
const adapter = (seed: number, rank = 2, wrongBase = false) => randomAdapter(at("one"), { seed, rank, wrongBase })

const layer = Layer.mergeAll(Store.layer(join(folder, "store")), plain())
const proofOf = (mixture: Checkpoint.Any) => mixture.lineage.at(-1)!.facts["identityProof"] as unknown as Upcycle.IdentityProof

describe("every upcycle proves what it owes on its files, over at least 512 tokens of real text", () => {
  test("from a dense model: the mixture is the dense model, whatever its newborn router says", async () => {
    const { mixture } = await Effect.runPromise(Pipeline.run(Pipeline.make("dense", () => ({ mixture: Upcycle.fromDense(at("one"), { experts: 3, router }) }))).pipe(Effect.provide(layer)))
    const proof = proofOf(mixture)
    expect(proof).toMatchObject({ kind: "equal", claim: "mixture = dense model" })
    if (proof.kind === "equal") { expect(proof.tokens).toBeGreaterThanOrEqual(512); proof.cases.forEach(({ difference, largestLogit }) => { expect(difference / largestLogit).toBeLessThan(1e-5) }) }
    expect(mixture.header.form).toBe("mixture")
  })
  test("weights that do not sum to one owe no proof, and say why", async () => {
    const { mixture } = await Effect.runPromise(Pipeline.run(Pipeline.make("prob", () => ({ mixture: Upcycle.fromDense(at("one"), { experts: 3, router: Router.topK({ active: 2, weight: "prob" }) }) }))).pipe(Effect.provide(layer)))
    expect(proofOf(mixture)).toEqual({ kind: "none", reason: expect.stringContaining("do not sum to one") })
  })
  test("a router that drops visits owes no proof, and says why", async () => {
    const limited = Router.limited(router, { perExpert: 1.25, scope: "batch" })
    const { mixture } = await Effect.runPromise(Pipeline.run(Pipeline.make("limited", () => ({ mixture: Upcycle.fromDense(at("one"), { experts: 3, router: limited }) }))).pipe(Effect.provide(layer)))
    expect(proofOf(mixture)).toEqual({ kind: "none", reason: expect.stringContaining("drops visits") })
  })
  test("from models: forced to each expert, the mean body with that model's feed-forward", async () => {
    const { mixture } = await Effect.runPromise(Pipeline.run(Pipeline.make("models", () => ({ mixture: Upcycle.fromModels({ first: at("one"), second: at("two") }, { router }) }))).pipe(Effect.provide(layer)))
    expect(proofOf(mixture)).toMatchObject({ kind: "equal", cases: [{ name: "first" }, { name: "second" }] })
  })
  test("one layer that decides for all after it has the router, and the proofs hold as they are", async () => {
    const once = Router.once(Router.prefixMlp({ active: 1, inner: 3 }), { layer: 1, before: [0, 2] })
    const { copies, mixture } = await Effect.runPromise(Pipeline.run(Pipeline.make("once", () => ({
      mixture: Upcycle.fromAdapters(at("one"), { law: adapter(1), code: adapter(2), sea: adapter(3) }, { router: once }), copies: Upcycle.fromDense(at("one"), { experts: 3, router: once })
    }))).pipe(Effect.provide(layer)))
    for (const each of [mixture, copies]) {
      expect(proofOf(each)).toMatchObject({ kind: "equal" })
      expect([...each.weights.infos.keys()].filter((name) => name.includes(".router."))).toEqual(["inner.weight", "inner.bias", "weight", "bias"].map((name) => `layers.1.router.${name}`))
    }
  })
  test("from adapters: forced to each expert, the base with that adapter folded in", async () => {
    const { mixture } = await Effect.runPromise(Pipeline.run(Pipeline.make("adapters", () => ({ mixture: Upcycle.fromAdapters(at("one"), { law: adapter(1), code: adapter(2), sea: adapter(3) }, { router }) }))).pipe(Effect.provide(layer)))
    expect(proofOf(mixture)).toMatchObject({ kind: "equal", cases: [{ name: "code" }, { name: "law" }, { name: "sea" }] })
  })
})

test("a mixture that is not its dense model fails the proof and says by how much", async () => {
  const base = { model: dense, weights: randomWeights(dense, 1) }
  const mixture = await Effect.runPromise(mixtureFromDense(base, { experts: 2, router, seed: 0 }))
  const damaged = { ...mixture, weights: Weights.overlay(mixture.weights, Weights.fromMemory({ "layers.1.experts.1.down": { shape: [16, 24], data: new Float32Array(16 * 24).fill(0.01) } })) }
  const failure = await Effect.runPromise(Effect.flip(prove("mixture = dense model", Tokenizer.bytes(), { "the dense model": [base, damaged] })).pipe(Effect.provide(plain())))
  expect(failure).toMatchObject({ _tag: "IdentityBroken", case: "the dense model" })
  expect((failure as Error).message).toMatch(/differs by .* of a largest logit .* nothing was kept/)
})

describe("refused by plan, before any work", () => {
  const refusal = (build: () => ReturnType<typeof Upcycle.fromAdapters>) =>
    Effect.runPromise(Effect.flip(Pipeline.plan(Pipeline.make("refused", () => ({ mixture: build() })))).pipe(Effect.provide(layer))).then((error) => (error as Error).message)
  test("an adapter of another base", async () => { expect(await refusal(() => Upcycle.fromAdapters(at("one"), { law: adapter(1), code: adapter(2, 2, true) }, { router }))).toMatch(/adapter code.*another/s) })
  test("adapters of different ranks", async () => { expect(await refusal(() => Upcycle.fromAdapters(at("one"), { law: adapter(1), code: adapter(2, 4) }, { router }))).toMatch(/code: rank 4/) })
  test("a layer that decides and is not there", async () => {
    expect(await refusal(() => Upcycle.fromAdapters(at("one"), { law: adapter(1), code: adapter(2) }, { router: Router.once(Router.topK({ active: 1 }), { layer: 2, before: [0] }) }))).toMatch(/router\.depth\.layer: layer 2 decides, the model has 2 layers/)
  })
  test("more active experts than experts", async () => { expect(await refusal(() => Upcycle.fromAdapters(at("one"), { law: adapter(1), code: adapter(2) }, { router: Router.topK({ active: 3 }) }))).toMatch(/3 active experts of 2/) })
})
