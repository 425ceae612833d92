/**
 * A real model: stories260K (Karpathy, llama2.c, MIT), whose reference.json was computed in f64 numpy from the original checkpoint. Found
 * through SWITCHYARD_DATA; without it the cases are named and left out.
 */
import { Checkpoint } from "@switchyard/core"
import { describe, expect, test } from "@jest/globals"
import { Effect, type Scope } from "effect"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Decoder from "./Decoder.ts"
import type { Failure, Service } from "./Device.ts"
import * as Generate from "./Generate.ts"
import * as Generator from "./Generator.ts"
import { hostDevice } from "./host/host.ts"
import * as Op from "./Op.ts"
import * as Recording from "./Recording.ts"
import { kept } from "./Tensor.ts"
import { openSoftware } from "./webgpu/software.ts"

const folder = join(process.env["SWITCHYARD_DATA"] ?? "", "models", "stories260K-hf"), present = process.env["SWITCHYARD_DATA"] !== undefined && existsSync(join(folder, "reference.json"))
const golden = present ? test : test.skip, needs = present ? "" : " (needs SWITCHYARD_DATA: models/stories260K-hf)"
interface Case { readonly text: string; readonly ids: ReadonlyArray<number>; readonly token_nll: ReadonlyArray<number>; readonly last_logits_first8: ReadonlyArray<number>; readonly last_argmax: number; readonly greedy_continuation_text: string }
interface Reference { readonly greedy_from_bos: { readonly ids: ReadonlyArray<number>; readonly text: string }; readonly cases: ReadonlyArray<Case> }

/** Devices, the tokens of one forward pass, and how many are generated: few on the software adapter, which is slow. */
const devices: ReadonlyArray<readonly [string, Effect.Effect<Service, Failure, Scope.Scope>, number, number]> = [
  ["host", hostDevice({ workers: 0 }), 200, 60],
  ["software", Effect.map(openSoftware(), ({ service }) => service), 32, 6]
]
describe.each(devices)("stories260K on the %s device", (_name, device, length, generated) => {
  golden(`golden logits, losses, greedy ids and text${needs}`, () => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const reference = JSON.parse(readFileSync(join(folder, "reference.json"), "utf8")) as Reference, { model, tokenizer, weights } = yield* Checkpoint.open(folder)
    const arena = yield* (yield* device).arena, size = { batch: 1, tokens: length }, decoder = Decoder.make(model, { sizes: [size] })
    yield* Decoder.load(arena, decoder, weights)
    const ids = kept([length], { dtype: "u32" }), targets = kept([length], { dtype: "u32" })
    const program = Recording.record(() => {
      const logits = Decoder.forward(decoder, ids, size)
      return { logits: Op.keep(logits), losses: Op.keep(Op.crossEntropy(logits, targets)), likeliest: Op.keep(Op.topK(logits, 1)) }
    })
    const run = function*(tokens: ReadonlyArray<number>) {
      const padded = Uint32Array.from({ length }, (_, at) => tokens[at] ?? 0)
      yield* arena.upload(ids, padded)
      yield* arena.upload(targets, Uint32Array.from({ length }, (_, at) => tokens[at + 1] ?? Op.noTarget))
      yield* arena.submit(program)
      return { logits: yield* arena.read(program.outputs.logits), losses: yield* arena.read(program.outputs.losses), likeliest: yield* arena.read(program.outputs.likeliest) }
    }
    for (const { ids: tokens, last_argmax, last_logits_first8, text, token_nll } of reference.cases) {
      expect([tokenizer.bos, ...tokenizer.encode(text)]).toEqual(tokens)
      const { likeliest, logits, losses } = yield* run(tokens), last = tokens.length - 1
      token_nll.forEach((loss, at) => expect(Math.abs(losses[at]! - loss)).toBeLessThan(1e-4))
      last_logits_first8.forEach((logit, at) => expect(Math.abs(logits[last * 512 + at]! - logit)).toBeLessThan(1e-4))
      expect(likeliest[last]).toBe(last_argmax)
    }
    const { likeliest } = yield* run(reference.greedy_from_bos.ids)
    expect([...likeliest.subarray(0, length - 1)]).toEqual(reference.greedy_from_bos.ids.slice(1, length)) // up to 199 greedy choices by one forward pass
    const whole = Decoder.make(model)
    yield* Decoder.load(arena, whole, weights)
    const generator = yield* Generator.fromDecoder(arena, whole, { batch: 3, window: 256 }) // by the cache, three rows at a time
    const [fromBos, ...continued] = yield* Generate.answers(generator, tokenizer, [[tokenizer.bos!], ...reference.cases.map(({ text }) => text)], { maximum: generated, stop: [] })
    expect(fromBos!.ids.slice(0, reference.greedy_from_bos.ids.length - 1)).toEqual(reference.greedy_from_bos.ids.slice(1, generated + 1))
    for (const [at, { greedy_continuation_text, text }] of reference.cases.entries()) expect(greedy_continuation_text.slice(0, text.length + continued[at]!.text.length)).toBe(`${text}${continued[at]!.text}`.slice(0, greedy_continuation_text.length))
  }))), 60_000)
})
