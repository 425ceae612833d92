/**
 * What strangers in the same batch can do to one sequence: its logits alone, and among random, identical, permuted, padded and adversarially
 * searched neighbours. Victim alone and victim among others run under the same router, so that what differs is the neighbours' doing.
 *
 * Paper: Hayes, Shumailov, Yona, "Buffer overflow in mixture of experts", 2024 (the search: change one neighbour, keep what moves the victim more).
 */
import { type Model, Random, type Weights } from "@switchyard/core"
import { Decoder, Device, Op, Recording, Tensor } from "@switchyard/gpu"
import { LanguageModel, type Router } from "@switchyard/routing"
import { Effect } from "effect"

export const attackNames = ["random", "identical", "permuted", "padded", "searched"] as const
/**
 * What one kind of neighbours did at most. Units: `change` is the largest |Δ logit| over the largest |logit| of the sequence alone (over 1 where that
 * is smaller); `choices` the share of positions whose most probable token changed.
 */
export interface Attack { readonly name: (typeof attackNames)[number]; readonly batches: number; readonly change: number; readonly choices: number }
export interface Options {
  readonly weights: Weights.Weights
  /** Instead of the model's own. */
  readonly router?: Router.Router
  readonly seed: number
  /** Steps of the search; a tenth as many batches are drawn for each other attack, at least eight. */
  readonly steps: number
}
/** Rows of the batch, and tokens of each unpadded. */
const batch = 8, longest = 12

/** Every attack on one random sequence of the model. Fails: `RouterError` and `LanguageModelError` when router or weights do not fit, the device's failures. */
export const attack = (model: Model.Model, options: Options) => Effect.scoped(Effect.gen(function*() {
  const device = yield* Device.Device, arena = yield* device.arena, { router, seed, steps, weights } = options
  const tokens = Math.max(1, Math.min(longest, Math.floor(model.contextLength / 2))), { vocabulary } = model, draws = Math.max(batch, Math.ceil(steps / 10))
  const self = yield* LanguageModel.make(model, { batch, tokens: 2 * tokens, ...router === undefined ? {} : { router } })
  yield* LanguageModel.load(arena, self, weights)

  /** The logits of all rows [rows, vocabulary]; every replica runs the whole batch, so that all rows do share it. */
  const runner = (size: Decoder.Size) => Effect.gen(function*() {
    yield* Decoder.prepare(arena, self.decoder, size)
    const ids = Tensor.kept([size.batch * size.tokens], { dtype: "u32", label: "ids" })
    const program = Recording.record(() => Op.keep(LanguageModel.forward({ ...self, ...size }, ids).logits, "logits"), { replicas: device.replicas })
    return (rows: ReadonlyArray<Uint32Array>) => Effect.gen(function*() {
      yield* arena.upload(ids, Uint32Array.from(rows.flatMap((row) => [...row])))
      yield* arena.submit(program)
      return yield* arena.read(program.outputs)
    })
  })
  const source = Random.make(seed, "isolation")
  let drawn = 0
  const below = (bound: number) => Random.below(source, drawn++, bound)
  const text = (length = tokens) => Uint32Array.from({ length }, () => below(vocabulary))
  const victim = text(), alone = yield* Effect.flatMap(runner({ batch: 1, tokens }), (run) => run([victim]))
  const together = yield* runner({ batch, tokens }), padded = yield* runner({ batch, tokens: 2 * tokens })
  const scale = Float64Array.from(alone).reduce((most, logit) => Math.max(most, Math.abs(logit)), 1)

  /** How far the victim's logits moved in a batch where it stands in row `at`. */
  const moved = (logits: ArrayLike<number>, at: number, width = tokens) => {
    let change = 0, choices = 0
    for (let position = 0; position < tokens; position++) {
      let first = 0, best = 0
      for (let token = 0; token < vocabulary; token++) {
        const before = position * vocabulary, now = (at * width + position) * vocabulary
        change = Math.max(change, Math.abs(logits[now + token]! - alone[before + token]!) / scale)
        if (alone[before + token]! > alone[before + first]!) first = token
        if (logits[now + token]! > logits[now + best]!) best = token
      }
      if (first !== best) choices++
    }
    return { change, choices: choices / tokens }
  }
  const among = (neighbours: ReadonlyArray<Uint32Array>, at = batch - 1) => Effect.map(together([...neighbours.slice(0, at), victim, ...neighbours.slice(at)]), (logits) => moved(logits, at))
  const strangers = () => Array.from({ length: batch - 1 }, () => text())
  const most = (name: Attack["name"], count: number, once: (turn: number) => Effect.Effect<{ readonly change: number; readonly choices: number }, Device.Failure>) => Effect.gen(function*() {
    let change = 0, choices = 0
    for (let turn = 0; turn < count; turn++) {
      const found = yield* once(turn)
      change = Math.max(change, found.change)
      choices = Math.max(choices, found.choices)
    }
    return { name, batches: count, change, choices } satisfies Attack
  })

  const random = yield* most("random", draws, () => among(strangers(), below(batch)))
  const identical = yield* most("identical", batch, (at) => among(Array.from({ length: batch - 1 }, () => victim), at))
  const fixed = strangers()
  const permuted = yield* most("permuted", draws, (turn) => among([...Random.shuffle(Random.make(seed, `order ${turn}`), batch - 1)].map((at) => fixed[at]!), turn % batch))
  const lengthened = yield* most("padded", draws, (turn) => {
    const at = turn % batch, filler = turn % 2 === 0 ? new Uint32Array(tokens) : text() // the victim's padding: one token, or any
    return Effect.map(padded(Array.from({ length: batch }, (_, row) => row === at ? Uint32Array.of(...victim, ...filler) : text(2 * tokens))), (logits) => moved(logits, at, 2 * tokens))
  })
  let rows = strangers(), worst = yield* among(rows)
  const searched = yield* most("searched", steps, () => Effect.gen(function*() {
    const row = below(batch - 1), kind = below(3), changed = kind === 0 ? new Uint32Array(tokens).fill(below(vocabulary)) : kind === 1 ? text() : rows[row]!.slice()
    if (kind === 2) changed[below(tokens)] = below(vocabulary)
    const tried = rows.map((each, at) => at === row ? changed : each), found = yield* among(tried)
    if (found.change >= worst.change) { rows = tried; worst = found }
    return worst
  }))
  return [random, identical, permuted, lengthened, searched] as const
}))
