/** A tiny Llama's training step on SwiftShader: logits, loss, gradients and updated weights against the plain device in f64. */
import { Model, Random, Weights } from "@switchyard/core"
import { describe, expect, jest, test } from "@jest/globals"
import { Effect, type Scope } from "effect"
import * as AdamW from "../AdamW.ts"
import * as Decoder from "../Decoder.ts"
import type { Failure, Service } from "../Device.ts"
import * as Gradient from "../Gradient.ts"
import { plainDevice } from "../host/plain.ts"
import * as Op from "../Op.ts"
import * as Recording from "../Recording.ts"
import { kept } from "../Tensor.ts"
import { openSoftware } from "./software.ts"

jest.setTimeout(60_000) // kernels compile on the processor, and processors are shared

const model: Model.Model = {
  family: "llama", vocabulary: 67, hidden: 24, layers: 2, heads: 4, keyValueHeads: 2, headSize: 6, contextLength: 32, normEpsilon: 1e-5, ropeTheta: 10000, tiedEmbeddings: false,
  feedForward: { kind: "dense", inner: 40 }, extra: {}
}
const weights = Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) =>
  [name, { shape, data: Random.fillNormal(Random.make(3, name), new Float32Array(shape.reduce((a, b) => a * b, 1)), shape.length === 1 ? { mean: 1, deviation: 0.1 } : { deviation: 0.15 }) }])))
const size = { batch: 3, tokens: 19 }, rows = size.batch * size.tokens

/** One step from the same weights on the same batch; everything that can be compared, by name. */
const step = (device: Effect.Effect<Service, Failure, Scope.Scope>) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* (yield* device).arena, decoder = Decoder.make(model, { sizes: [size] })
  const ids = kept([rows], { dtype: "u32" }), targets = kept([rows], { dtype: "u32" })
  yield* Decoder.load(arena, decoder, weights)
  const parameters = [...decoder.parameters.values()], state = AdamW.make(parameters, { clip: 1 })
  const program = Recording.record(() => {
    const logits = Decoder.forward(decoder, ids, size)
    const loss = Op.sumAll(Op.crossEntropy(logits, targets), 1 / rows)
    const gradients = Gradient.of(loss, parameters)
    const outputs = { logits: Op.keep(logits), loss: Op.keep(loss), gradients: gradients.map((gradient) => Op.keep(gradient)) }
    AdamW.update(state, gradients)
    return outputs
  })
  const batch = Random.fillUnsigned(Random.make(8, "ids"), new Uint32Array(rows)).map((word) => word % model.vocabulary)
  yield* arena.upload(ids, batch)
  yield* arena.upload(targets, batch.map((id, row) => row % 7 === 3 ? 0xffffffff : (5 * id + 1) % model.vocabulary))
  yield* arena.upload(state.hyper, AdamW.hyper({ learningRate: 1e-2, weightDecay: 0.1 }, 1))
  yield* arena.submit(program)
  const found = new Map<string, ArrayLike<number>>()
  found.set("logits", yield* arena.read(program.outputs.logits))
  found.set("loss", yield* arena.read(program.outputs.loss))
  for (const [at, name] of [...decoder.parameters.keys()].entries()) {
    found.set(`gradient of ${name}`, yield* arena.read(program.outputs.gradients[at]!))
    found.set(`updated ${name}`, yield* arena.read(parameters[at]!))
  }
  return found
})))

const here = process.platform === "linux" && process.arch === "x64" ? describe : describe.skip
here("one training step of a tiny decoder on SwiftShader", () => {
  test("agrees with the plain device in f64", async () => {
    const exact = await step(Effect.succeed(plainDevice({ precision: "f64" }))), found = await step(Effect.map(openSoftware(), ({ service }) => service))
    // relative to the tensor's largest number; AdamW divides by the gradient's own size, so a tiny gradient's rounding shows in its update
    const distance = (name: string) => {
      const a = Array.from(exact.get(name)!), b = Array.from(found.get(name)!)
      return Math.max(...a.map((x, i) => Math.abs(x - b[i]!))) / Math.max(...a.map(Math.abs))
    }
    const tolerance = (name: string) => name.startsWith("updated") ? 1e-3 : name.startsWith("gradient") ? 1e-4 : 1e-5
    const distances = [...exact.keys()].map((name) => ({ name, distance: distance(name) }))
    expect(distances.filter(({ distance: far, name }) => !(far <= tolerance(name)))).toEqual([])
    expect(distances.length).toBe(2 + 2 * Model.tensors(model).length)
    expect(Math.max(...Array.from(exact.get("gradient of embedding")!, Math.abs))).toBeGreaterThan(1e-3)
  })
})
