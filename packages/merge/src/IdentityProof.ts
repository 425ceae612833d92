/**
 * Identity proofs: what an upcycle promises about its newborn mixture, checked on the files as read back, over real text.
 *
 * From a dense model: mixture = dense. From adapters or models: with the router forced to expert e, the mixture is the dense model that carries
 * e's feed-forward. Logits are compared at every position; the largest difference must stay below `tolerance` of the largest logit.
 */
import type { Model, Tokenizer, Weights } from "@switchyard/core"
import { Device, Op, Recording, Tensor } from "@switchyard/gpu"
import { LanguageModel, type Router } from "@switchyard/routing"
import { Effect, Schema } from "effect"
import { passage } from "./passage.ts"

/** The largest allowed difference of logits, as a share of the largest logit. */
export const tolerance = 1e-4
/** At least so many real tokens. */
export const minimumTokens = 512

/** What is stored with the checkpoint: `none` says why nothing is owed. */
export type IdentityProof =
  | { readonly kind: "equal"; readonly claim: string; readonly tokens: number; readonly tolerance: number; readonly cases: ReadonlyArray<{ readonly name: string; readonly difference: number; readonly largestLogit: number }> }
  | { readonly kind: "none"; readonly reason: string }

/** The mixture is not what it was promised to be. */
export class IdentityBroken extends Schema.TaggedError<IdentityBroken>()("IdentityBroken", { claim: Schema.String, case: Schema.String, difference: Schema.Number, largestLogit: Schema.Number }) {
  override get message() {
    return `identity proof failed: ${this.claim}: ${this.case} differs by ${this.difference.toExponential(2)} of a largest logit of ${this.largestLogit.toPrecision(4)}, allowed is ${tolerance} of it. The weights were changed or damaged on the way; nothing was kept.`
  }
}

export interface Side { readonly model: Model.Model; readonly weights: Weights.Weights; readonly router?: Router.Router }

/** Logits of the passage's first tokens. Shapes: [rows, vocabulary], rows = batch · tokens over all replicas. */
const logitsOf = (side: Side, ids: Uint32Array, tokens: number) => Effect.scoped(Effect.gen(function*() {
  const device = yield* Device.Device, arena = yield* device.arena
  const rows = ids.length / tokens, batch = Math.ceil(rows / device.replicas)
  const self = yield* LanguageModel.make(side.model, { batch, tokens, ...side.router === undefined ? {} : { router: side.router } })
  const input = Tensor.kept([batch * tokens], { dtype: "u32", sharded: true, label: "ids" })
  const program = Recording.record(() => Op.keep(LanguageModel.forward(self, input).logits, "logits", { sharded: true }), { replicas: device.replicas })
  yield* LanguageModel.load(arena, self, side.weights)
  const fed = new Uint32Array(batch * device.replicas * tokens)
  fed.set(ids)
  yield* arena.upload(input, fed)
  yield* arena.submit(program)
  return (yield* arena.read(program.outputs)).subarray(0, ids.length * side.model.vocabulary)
}))

/** Compares pairs of models that must be one function. Fails: IdentityBroken with the first pair that is not. */
export const prove = (claim: string, tokenizer: Tokenizer.Tokenizer, cases: Readonly<Record<string, readonly [expected: Side, found: Side]>>) => Effect.gen(function*() {
  const contextLength = Math.min(...Object.values(cases).flat().map(({ model }) => model.contextLength)), tokens = Math.min(256, contextLength)
  const encoded = tokenizer.encode(passage), rows = Math.ceil(minimumTokens / tokens)
  const ids = Uint32Array.from({ length: rows * tokens }, (_, at) => encoded[at % encoded.length]!)
  const proved: Array<{ name: string; difference: number; largestLogit: number }> = []
  for (const [name, [expected, found]] of Object.entries(cases)) {
    const a = yield* logitsOf(expected, ids, tokens), b = yield* logitsOf(found, ids, tokens)
    let difference = 0, largestLogit = 0
    for (let i = 0; i < a.length; i++) {
      largestLogit = Math.max(largestLogit, Math.abs(a[i]!))
      // a comparison that NaN cannot pass
      const gap = Math.abs(a[i]! - b[i]!)
      difference = gap <= difference ? difference : Number.isNaN(gap) ? Infinity : gap
    }
    if (!(difference <= tolerance * largestLogit)) return yield* new IdentityBroken({ claim, case: name, difference, largestLogit })
    proved.push({ name, difference, largestLogit })
  }
  return { kind: "equal", claim, tokens: ids.length, tolerance, cases: proved } satisfies IdentityProof
})
