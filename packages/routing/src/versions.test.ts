/**
 * A stage whose `run` gives other numbers must have another version, or kept results would pass for new ones. Here stand numbers that sum up each
 * stage's output on a tiny input, by version. They are no oracle: they only notice a change.
 */
import { expect, test } from "@jest/globals"
import { Checkpoint, Corpus, Pipeline, Random, Stage, Store, Weights } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { Effect, Layer, Schema } from "effect"
import * as Adapter from "./Adapter.ts"
import * as Balance from "./Balance.ts"
import * as Finetune from "./Finetune.ts"
import * as Newborn from "./Newborn.ts"
import * as Prototypes from "./Prototypes.ts"
import * as Router from "./Router.ts"

/** On a change: raise the stage's version, then write the new pair here. */
const committed: Readonly<Record<string, readonly [version: number, ...digest: ReadonlyArray<number>]>> = {
  "newborn/dense": [1, 6.6473, 4.1263, 23.9489],
  "finetune/lora": [1, -0.0162, -1.739, -1.4404],
  "adapter/apply": [1, 6.4764, 4.3394, 23.5233],
  "finetune/train": [1, 1.051, -4.424, 18.2286],
  "prototypes/fit": [1, 5.9895, -0.6195, 22.8228]
}

const text = Stage.make("test/text", {
  version: 1, inputs: [], options: Schema.Struct({ domain: Schema.String }), output: Corpus.Artifact,
  *describe(_none, { domain }) { return { header: { domain }, cost: {} } },
  *run(_none, { domain }) { return { kind: "corpus", header: { domain }, domain, documents: [{ id: "1", split: "train", text: domain.repeat(12) }] } }
})
const mixture = Stage.make("test/mixture", {
  version: 1, inputs: [Stage.one("base", Checkpoint.Dense)], options: Schema.Struct({ router: Router.Router }), output: Checkpoint.Mixture,
  *describe({ base }, { router }) { return { header: Checkpoint.headerOf(mixed(base.model, router), base.tokenizer), cost: {} } },
  *run({ base }, { router }, context) {
    const model = mixed(base.model, router)
    const own: Record<string, Weights.MemoryTensor> = {}
    for (const layer of [0, 1]) {
      for (const matrix of ["gate", "up", "down"]) for (const expert of [0, 1]) {
        const data = yield* base.weights.read(`layers.${layer}.feedForward.${matrix}`), shape = base.weights.infos.get(`layers.${layer}.feedForward.${matrix}`)!.shape
        own[`layers.${layer}.experts.${expert}.${matrix}`] = { shape, data: data.map((x) => x * (1 - 0.2 * expert)) }
      }
      for (const [name, shape] of Object.entries(Router.tensors(router, { experts: 2, hidden: 16 }))) own[`layers.${layer}.router.${name}`] = { shape, data: Random.fillNormal(Random.make(layer, name), new Float32Array(shape.reduce((a, b) => a * b, 1))) }
    }
    const body = Weights.select(base.weights, (name) => !/feedForward\.(gate|up|down)/.test(name))
    return Checkpoint.derive(base, { model, weights: Weights.overlay(body, Weights.fromMemory(own)), step: { stage: "test/mixture", key: context.key, inputs: {}, facts: { experts: ["law", "code"] } } })
  }
})
const mixed = (model: Checkpoint.Any["model"], router: Router.Router) => ({
  ...model, feedForward: { kind: "mixture" as const, inner: 24, experts: 2, active: Router.active(router, 2), expert: { kind: "full" as const }, router: router as never, routerTensors: Router.tensors(router, { experts: 2, hidden: 16 }) }
})

/** Three projections of all values: they move with any changed method, and stay within 1e-3 under another rounding of f32. */
const digestOf = (weights: Weights.Weights) => Effect.gen(function*() {
  const sums = [0, 0, 0]
  let place = 0
  for (const name of [...weights.infos.keys()].sort()) for (const value of yield* weights.read(name)) {
    place++
    for (const k of [0, 1, 2]) sums[k]! += value * Math.cos((k + 1) * place)
  }
  return sums
})

test("every stage still gives what its version gave", async () => {
  const texts = { law: text({ domain: "law " }), code: text({ domain: "{x};" }) }, short = { steps: 2, batch: 2, tokens: 8, learningRate: 1, epsilon: 1 } // a large epsilon: no step depends on the sign of a gradient that is nearly zero
  const pipeline = Pipeline.make("versions", () => {
    const newborn = Newborn.dense({ hidden: 16, layers: 2, heads: 2, inner: 24, contextLength: 16 })
    const adapter = Finetune.lora(newborn, texts, { rank: 2, ...short })
    const routed = Finetune.train(mixture(newborn, { router: Router.topK({ active: 2 }) }), texts, { trainable: ["routers", "experts"], balance: [Balance.switchLoss({ weight: 0.1 })], supervise: { weight: 0.5 }, ...short })
    const fitted = Prototypes.fit(mixture(newborn, { router: Router.prototypes({ active: 1, metric: "whitened" }) }), texts, { tokens: 40, batch: 2 })
    return { newborn, adapter, applied: Adapter.apply(newborn, adapter), routed, fitted }
  })
  const stages = { newborn: Newborn.dense, adapter: Finetune.lora, applied: Adapter.apply, routed: Finetune.train, fitted: Prototypes.fit }
  const found = await Effect.runPromise(Effect.provide(Effect.gen(function*() {
    const values = yield* Pipeline.run(pipeline), digests: Record<string, ReadonlyArray<number>> = {}
    for (const [name, { definition }] of Object.entries(stages)) digests[definition.name] = [definition.version, ...yield* digestOf(values[name as keyof typeof values].weights)]
    return digests
  }), Layer.mergeAll(Store.temporary, Device.plain())))
  const told = (digests: Readonly<Record<string, ReadonlyArray<number>>>) => Object.fromEntries(Object.entries(digests).map(([stage, digest]) => [stage, digest.map((value) => Number(value.toFixed(4)))]))
  const same = ([stage, digest]: [string, ReadonlyArray<number>]) => digest.every((value, at) => Math.abs(value - (committed[stage]?.[at] ?? NaN)) < 1e-3)
  if (!Object.entries(found).every(same)) expect(told(found)).toEqual(committed) // shows what to write, once versions are raised
}, 60_000)
