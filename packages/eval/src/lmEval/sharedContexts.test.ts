import { describe, expect, test } from "@jest/globals"
import { Checkpoint, Model, Random, Tokenizer, Weights } from "@switchyard/core"
import { Device, plainDevice, type Recording } from "@switchyard/gpu"
import { Router } from "@switchyard/routing"
import { Context, Effect, Layer } from "effect"
import fc from "fast-check"
import type { Pair } from "./encodePair.ts"
import * as Scorer from "./Scorer.ts"
import { canShare, groupsOf, type Sequence } from "./sharedContexts.ts"

const sizes = { family: "llama", vocabulary: 260, hidden: 8, layers: 2, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, extra: {} }
const dense: Model.Model = { ...sizes, feedForward: { kind: "dense", inner: 12 } }
const mixture = (router: Router.Router): Model.Model => ({
  ...sizes, family: "switchyard", feedForward: { kind: "mixture", inner: 12, experts: 3, active: Router.active(router, 3), expert: { kind: "full" }, router: router as never, routerTensors: Router.tensors(router, { experts: 3, hidden: 8 }) }
})
const checkpoint = (model: Model.Model) => Checkpoint.make({
  model, tokenizer: Tokenizer.bytes(),
  weights: Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }) => [name, { shape, data: Random.fillNormal(Random.make(3, name), new Float32Array(shape.reduce((a, b) => a * b, 1)), { mean: name.endsWith("norm") ? 1 : 0, deviation: 0.3 }) }])))
})
const tokens = (seed: number, count: number) => [...Random.fillUnsigned(Random.make(seed, "tokens"), new Uint32Array(count))].map((word) => word % 256)
/** Questions of several lengths with answers of several, one answer that another begins with, one question too long for the context, one text alone. */
const pairs: ReadonlyArray<Pair> = [20, 33, 9, 12].flatMap((length, question) => [1, 3, 5, 3].slice(0, 4 - question % 3).map((answer, at) => ({ context: tokens(question, length), continuation: tokens(100 + 10 * question + at % 3, answer) })))
  .concat([{ context: tokens(50, 80), continuation: [1, 2] }, { context: tokens(50, 80), continuation: [3, 4, 5] }, { context: tokens(60, 5), continuation: tokens(61, 30) }])

/** Answers, and the operations of every program that ran. */
const scored = (model: Model.Model, options: { readonly shareContexts: boolean; readonly batch?: number }, device: Device.Service = plainDevice()) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  let flops = 0, heard = 0
  const watched: Device.Service = { ...device, arena: Effect.map(device.arena, (arena) => ({ ...arena, submit: (program: Recording.Program<unknown>) => { flops += Device.count(program, { replicas: device.replicas }).flops; return arena.submit(program) } })) }
  const scorer = yield* Scorer.make(checkpoint(model), { longest: 64, ...options }).pipe(Effect.provideService(Device.Device, watched))
  const answers = yield* scorer.score(pairs, (found) => Effect.sync(() => { heard += found.size }))
  return { answers, flops, heard }
})))
const worst = (a: ReadonlyArray<{ readonly logLikelihood: number }>, b: ReadonlyArray<{ readonly logLikelihood: number }>) => Math.max(...a.map(({ logLikelihood }, at) => Math.abs(logLikelihood - b[at]!.logLikelihood) / Math.max(1, Math.abs(logLikelihood))))

describe("a question's answers go on from it", () => {
  test.each<[string, Model.Model]>([["dense", dense], ["a mixture", mixture(Router.topK({ active: 2, weight: "renorm" }))]])("%s: the same answers to 1e-6 in every batch, at less than two thirds of the work", async (_, model) => {
    const each = await scored(model, { shareContexts: false, batch: 1 }), one = await scored(model, { shareContexts: true, batch: 1 })
    for (const shared of [one, await scored(model, { shareContexts: true, batch: 3 })]) {
      expect(shared.answers.map(({ isGreedy }) => isGreedy)).toEqual(each.answers.map(({ isGreedy }) => isGreedy))
      expect(worst(each.answers, shared.answers)).toBeLessThan(1e-6)
      expect(shared.heard).toBe(pairs.length)
    }
    if (process.env["SWITCHYARD_FIGURES"] !== undefined) process.stderr.write(`${(one.flops / each.flops).toFixed(3)} of the operations\n`)
    expect(one.flops).toBeLessThan(0.667 * each.flops)
  })
  test("on two replicas of the host, each with questions of its own", async () => {
    const whole = await scored(dense, { shareContexts: false, batch: 1 })
    await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const device = Context.get(yield* Layer.build(Device.host({ workers: 2 })), Device.Device)
      expect(device.replicas).toBe(2)
      const shared = yield* Effect.promise(() => scored(dense, { shareContexts: true, batch: 4 }, device))
      expect(worst(whole.answers, shared.answers)).toBeLessThan(1e-5)
    })))
  })
  test("a router that pools over the text is asked whole questions", async () => {
    const router = Router.prefix({ active: 2 })
    expect([canShare(mixture(router), router), canShare(dense, undefined), canShare(dense, Router.limited(Router.topK({ active: 1 }), { perExpert: 1, scope: "batch" }))]).toEqual([false, true, true])
    const limited = Router.limited(Router.topK({ active: 1 }), { perExpert: 1, scope: "sequence" })
    expect([canShare(mixture(Router.likelihood()), Router.likelihood()), canShare(mixture(limited), limited)]).toEqual([false, false])
    const [a, b] = [await scored(mixture(router), { shareContexts: true, batch: 2 }), await scored(mixture(router), { shareContexts: false, batch: 2 })]
    expect(a).toEqual(b)
  })
})

test("groups: every sequence once, members begin with the prefix and are asked only behind it", () => {
  const sequence = fc.record({ question: fc.integer({ min: 0, max: 3 }), length: fc.integer({ min: 1, max: 12 }), answer: fc.array(fc.nat(3), { minLength: 1, maxLength: 4 }) }).map(({ answer, length, question }): Sequence =>
    ({ input: [...Array.from({ length }, () => question), ...answer.slice(0, -1)], wanted: [{ request: 0, continuation: answer }] }))
  fc.assert(fc.property(fc.array(sequence, { maxLength: 20 }), (sequences) => {
    const { alone, groups } = groupsOf(sequences)
    expect(new Set([...alone, ...groups.flatMap(({ members }) => members)])).toEqual(new Set(sequences))
    expect(alone.length + groups.reduce((sum, { members }) => sum + members.length, 0)).toBe(sequences.length)
    for (const { members, prefix } of groups) {
      expect(members.length).toBeGreaterThan(1)
      for (const { input, wanted } of members) expect([input.slice(0, prefix.length), input.length - prefix.length >= wanted[0]!.continuation.length]).toEqual([prefix, true])
    }
  }), { seed: 1, numRuns: 200 })
})
