/** The decoder, its gradients and AdamW against PyTorch and transformers: tools/fixtures/tiny_llama.py made the files (computed in f64). */
import { type Model, Safetensors, Weights } from "@switchyard/core"
import { beforeAll, describe, expect, test } from "@jest/globals"
import { Effect, type Scope } from "effect"
import { fileURLToPath } from "node:url"
import * as AdamW from "./AdamW.ts"
import * as Decoder from "./Decoder.ts"
import type { Arena, Failure, Service } from "./Device.ts"
import * as Gradient from "./Gradient.ts"
import { hostDevice } from "./host/host.ts"
import { plainDevice } from "./host/plain.ts"
import { crossEntropy } from "./ops/crossEntropy.ts"
import { keep } from "./ops/keep.ts"
import { sumAll } from "./ops/sumAll.ts"
import * as Recording from "./Recording.ts"
import { kept, type Tensor } from "./Tensor.ts"
import { openSoftware } from "./webgpu/software.ts"

interface About { readonly sizes: Record<string, number>; readonly batch: number; readonly tokens: number; readonly rates: ReadonlyArray<number>; readonly norms: ReadonlyArray<number>; readonly clip: number; readonly adamw: { readonly betas: readonly [number, number]; readonly eps: number; readonly weight_decay: number } }
interface Fixture { readonly about: About; readonly model: Model.Model; readonly tensors: ReadonlyMap<string, Float32Array>; readonly weights: Weights.Weights }

const open = (name: string): Effect.Effect<Fixture, Safetensors.SafetensorsError> => Effect.gen(function*() {
  const file = yield* Safetensors.open(fileURLToPath(new URL(`./fixtures/tiny-llama-${name}.safetensors`, import.meta.url)))
  const about = JSON.parse(file.header.metadata.get("about")!) as About, { sizes } = about
  const tensors = new Map<string, Float32Array>(), initial: Record<string, Weights.MemoryTensor> = {}
  for (const [key, { shape }] of file.infos) {
    const data = yield* file.read(key)
    tensors.set(key, data)
    if (key.startsWith("weights/")) initial[key.slice(8)] = { shape, data }
  }
  const model: Model.Model = {
    family: "llama", vocabulary: sizes["vocab_size"]!, hidden: sizes["hidden_size"]!, layers: sizes["num_hidden_layers"]!, heads: sizes["num_attention_heads"]!, keyValueHeads: sizes["num_key_value_heads"]!,
    headSize: sizes["head_dim"]!, contextLength: sizes["max_position_embeddings"]!, normEpsilon: sizes["rms_norm_eps"]!, ropeTheta: 10000, tiedEmbeddings: name === "tied",
    feedForward: { kind: "dense", inner: sizes["intermediate_size"]! }, extra: {}
  }
  return { about, model, tensors, weights: Weights.fromMemory(initial) }
})

const largestDifference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length)
  let largest = 0
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!))
  return largest
}

/** Devices, and how far AdamW's weights may be from PyTorch's after three steps. */
const devices: ReadonlyArray<readonly [string, Effect.Effect<Service, Failure, Scope.Scope>, number]> = [
  ["plain f64", Effect.succeed(plainDevice({ precision: "f64" })), 1e-6],
  ["plain f32", Effect.succeed(plainDevice()), 1e-5],
  ["host", hostDevice({ workers: 0 }), 1e-5]
]
const software: (typeof devices)[number] = ["software", Effect.map(openSoftware(), ({ service }) => service), 3e-5] // slow to start: once; Adam magnifies rounding where a gradient is near zero

describe.each(["tied", "untied"])("a tiny Llama with %s embeddings", (name) => {
  let fixture: Fixture
  beforeAll(async () => { fixture = await Effect.runPromise(open(name)) })

  const run = <A>(device: Effect.Effect<Service, Failure, Scope.Scope>, use: (arena: Arena, decoder: Decoder.Decoder, ids: Tensor, targets: Tensor) => Effect.Effect<A, Failure>) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const { about: { batch, tokens }, model, tensors, weights } = fixture
    const arena = yield* (yield* device).arena, decoder = Decoder.make(model, { sizes: [{ batch, tokens }] })
    yield* Decoder.load(arena, decoder, weights)
    const ids = kept([batch * tokens], { dtype: "u32" }), targets = kept([batch * tokens], { dtype: "u32" })
    yield* arena.upload(ids, Uint32Array.from(tensors.get("ids")!))
    yield* arena.upload(targets, Uint32Array.from(tensors.get("targets")!))
    return yield* use(arena, decoder, ids, targets)
  })))
  const expected = (key: string) => fixture.tensors.get(key)!

  test.each([...devices.slice(1), ...(name === "tied" ? [software] : [])])("logits, losses, hidden states and gradients on %s", (_device, device) => run(device, (arena, decoder, ids, targets) => Effect.gen(function*() {
    const { about: { batch, tokens } } = fixture, taps = new Map<string, Tensor>()
    const { outputs } = yield* Effect.sync(() => Recording.record(() => {
      const logits = Decoder.forward(decoder, ids, { batch, tokens, tap: (point, layer, x) => { taps.set(`${point} ${layer}`, keep(x)) } })
      const losses = crossEntropy(logits, targets)
      const gradients = Gradient.of(sumAll(losses, 1 / (batch * tokens)), [...decoder.parameters.values()])
      return { logits: keep(logits), losses: keep(losses), gradients: gradients.map((gradient) => keep(gradient)) }
    })).pipe(Effect.tap((program) => arena.submit(program)))
    expect(largestDifference(yield* arena.read(outputs.logits), expected("logits"))).toBeLessThan(1e-4)
    expect(largestDifference(yield* arena.read(outputs.losses), expected("losses"))).toBeLessThan(1e-5)
    for (const [point, key] of [["embedding 0", "embedding"], ["block.output 0", "block0"], ["block.output 1", "block1"], ["norm 1", "norm"]] as const) {
      expect(largestDifference(yield* arena.read(taps.get(point)!), expected(key))).toBeLessThan(1e-5)
    }
    for (const [at, key] of [...decoder.parameters.keys()].entries()) expect(largestDifference(yield* arena.read(outputs.gradients[at]!), expected(`gradients/${key}`))).toBeLessThan(1e-5)
  })))

  test.each([...devices, ...(name === "tied" ? [software] : [])])("three clipped AdamW steps on %s", (_device, device, tolerance) => run(device, (arena, decoder, ids, targets) => Effect.gen(function*() {
    const { about: { adamw, batch, clip, norms, rates, tokens } } = fixture
    const parameters = [...decoder.parameters.values()], state = AdamW.make(parameters, { clip })
    const program = Recording.record(() => {
      const loss = sumAll(crossEntropy(Decoder.forward(decoder, ids, { batch, tokens }), targets), 1 / (batch * tokens))
      return keep(AdamW.update(state, Gradient.of(loss, parameters)))
    })
    for (const [at, learningRate] of rates.entries()) {
      yield* arena.upload(state.hyper, AdamW.hyper({ learningRate, beta1: adamw.betas[0], beta2: adamw.betas[1], epsilon: adamw.eps, weightDecay: adamw.weight_decay }, at + 1))
      yield* arena.submit(program)
      const [factor, norm] = yield* arena.read(program.outputs)
      expect(norm! / norms[at]!).toBeCloseTo(1, 5)
      expect(factor! * norm!).toBeCloseTo(clip, 5)
      for (const [key, parameter] of decoder.parameters) expect(largestDifference(yield* arena.read(parameter), expected(`step${at + 1}/${key}`))).toBeLessThan(tolerance)
    }
  })))
})
