/**
 * What generation asks of a model: take these tokens on in these rows of a batch, give the logits of what follows each.
 *
 * `make` keeps keys and values: a prompt is worked off in one pass (in pieces when it is long), then a token costs one token's work, by one program
 * recorded once. `recomputing` runs the whole window for each token: for models that keep no state, and as the other's test. No row reads another.
 */
import { Effect, type Scope } from "effect"
import * as Decoder from "./Decoder.ts"
import type { Arena, Failure } from "./Device.ts"
import * as KeyValueCache from "./KeyValueCache.ts"
import { affine } from "./kernels/affine.ts"
import { gatherRows } from "./ops/gatherRows.ts"
import { keep } from "./ops/keep.ts"
import * as Recording from "./Recording.ts"
import { expectShape, kept, like, partsOf, type Tensor } from "./Tensor.ts"

/** Tokens that a row takes on, at least one; `fresh` when the row begins anew with them. */
export interface Advance { readonly row: number; readonly ids: ReadonlyArray<number>; readonly fresh: boolean }
export interface Generator {
  /** Rows that go on side by side. */
  readonly batch: number
  /** Tokens a row can hold. */
  readonly window: number
  /** The logits [vocabulary] after each row's tokens, in the order asked; rows not named stay as they are. */
  readonly advance: (rows: ReadonlyArray<Advance>) => Effect.Effect<ReadonlyArray<Float32Array>, Failure>
}

/** How a model with a cache is recorded: states of a chunk [rows, hidden], and logits [rows, vocabulary] of states. */
export interface Recorded {
  readonly states: (ids: Tensor, chunk: KeyValueCache.Chunk) => Tensor
  readonly head: (states: Tensor) => Tensor
}
export interface Options {
  readonly cache: KeyValueCache.KeyValueCache
  /** The device's. */
  readonly replicas?: number
  /** Tokens of each row that a prompt's pass takes at most (512): a longer prompt takes several. */
  readonly chunk?: number
}

/** Numbers that the scores of a pass may take: longer passes over longer texts are cut into more of them. */
const scoresLength = 2 ** 25
interface Inputs { readonly ids: Tensor; readonly positions: Tensor; readonly places: Tensor; readonly last: Tensor }
interface Pass extends Inputs { readonly tokens: number; readonly program: Recording.Program<Tensor> }

const checked = (rows: ReadonlyArray<Advance>, lengths: ReadonlyArray<number>, window: number): void => {
  for (const [at, { fresh, ids, row }] of rows.entries()) {
    if (!(row >= 0 && row < lengths.length) || rows.findIndex((other) => other.row === row) !== at) throw new Error(`Generator.advance: row ${row} (axis batch) must be one of ${lengths.length}, and stand once`)
    const length = (fresh ? 0 : lengths[row]!) + ids.length
    if (ids.length === 0 || length > window) throw new Error(`Generator.advance: row ${row} would hold ${length} tokens after ${ids.length} more: from 1 to ${window} can be held`)
  }
}
/** An id beyond the table would be read from whatever lies there. */
const checkIds = (rows: ReadonlyArray<Pick<Advance, "row" | "ids">>, vocabulary: number): void => {
  for (const { ids, row } of rows) {
    const wrong = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabulary))
    if (wrong !== undefined) throw new Error(`Generator.advance: id ${wrong} in row ${row} (axis vocabulary): the model has ids from 0 to ${vocabulary - 1}`)
  }
}
const powerOfTwo = (least: number): number => 2 ** Math.ceil(Math.log2(least))

/** Places that a pass attends to whose last token stands at place `held` − 1: rounded up, to multiples of 256 and above 2,048 of an eighth to a quarter of the length, so that few programs serve every length. */
export const extentOf = (held: number, capacity: number): number => {
  const step = Math.max(256, powerOfTwo(held + 1) / 8)
  return Math.min(capacity, Math.ceil(held / step) * step)
}

/** A generator that keeps keys and values. Programs are recorded for passes of 1, 8, 16, … tokens, and those that go on from a text for its length rounded up, when they are first needed. */
export const make = (arena: Arena, recorded: Recorded, options: Options): Effect.Effect<Generator, never, Scope.Scope> => Effect.gen(function*() {
  const { cache, chunk = 512, replicas = 1 } = options, { batch, capacity } = cache
  const lengths = Array.from({ length: batch }, () => 0), passes = new Map<string, Pass>(), inputs = new Map<number, Inputs>()
  let logits: Tensor | undefined
  const longest = Math.min(chunk, capacity)
  const inputsOf = (tokens: number): Inputs => {
    const rows = batch * tokens, index = (length: number, label: string) => kept([length], { dtype: "u32", label: `generate.${label}` })
    const made = inputs.get(tokens) ?? { ids: index(rows, "ids"), positions: index(rows, "positions"), places: index(rows, "places"), last: index(batch, "last") }
    inputs.set(tokens, made)
    return made
  }
  /** Every program's logits end in the same place: there are many programs. */
  const laid = (x: Tensor): Tensor => {
    logits ??= like(x, "generate.logits")
    const into = partsOf(logits)
    for (const [at, part] of partsOf(x).entries()) Recording.step(affine, { x: part, out: into[at]! }, { count: part.slot.length, scale: 1, shift: 0 })
    return logits
  }
  /** A pass of so many tokens of each row; `extent` 0: the rows begin with it. */
  const passOf = (tokens: number, extent: number): Pass => {
    const key = `${tokens} ${extent}`, before = passes.get(key)
    if (before !== undefined) return before
    const given = inputsOf(tokens), { ids, last, places, positions } = given
    const program = Recording.record(() => {
      const states = recorded.states(ids, { cache, tokens, positions, places, fresh: extent === 0, extent: extent === 0 ? undefined : extent }) // [rows, hidden]
      return laid(recorded.head(tokens === 1 ? states : gatherRows(states, last))) // [batch, vocabulary]
    }, { replicas })
    expectShape("Generator.make", "logits", program.outputs, [batch, undefined])
    const pass = { ...given, tokens, program }
    passes.set(key, pass)
    return pass
  }
  yield* Effect.addFinalizer(() => Effect.ignore(arena.free([...KeyValueCache.tensors(cache), ...[...inputs.values()].flatMap(({ ids, last, places, positions }) => [ids, last, places, positions]), ...logits === undefined ? [] : [logits]])))
  /** One pass: the next tokens of some rows, at most `tokens` of each; the logits after them. */
  const run = Effect.fn("Generator.pass")(function*(pass: Pass, rows: ReadonlyArray<{ readonly row: number; readonly ids: ReadonlyArray<number> }>, answers: Map<number, Float32Array>) {
    const { tokens } = pass, length = batch * tokens
    checkIds(rows, pass.program.outputs.shape[1]!)
    const ids = new Uint32Array(length), positions = new Uint32Array(length), places = new Uint32Array(length).fill(KeyValueCache.noPlace), last = new Uint32Array(batch)
    for (const { ids: given, row } of rows) {
      given.forEach((id, at) => {
        ids[row * tokens + at] = id
        positions[row * tokens + at] = places[row * tokens + at] = lengths[row]! + at
      })
      last[row] = row * tokens + given.length - 1
    }
    yield* Effect.all([arena.upload(pass.ids, ids), arena.upload(pass.positions, positions), arena.upload(pass.places, places), ...tokens === 1 ? [] : [arena.upload(pass.last, last)]], { concurrency: "unbounded", discard: true })
    yield* arena.submit(pass.program)
    for (const { ids: given, row } of rows) lengths[row]! += given.length // what failed can be asked for again
    const all = (yield* arena.read(pass.program.outputs)) as Float32Array, vocabulary = all.length / batch
    for (const { row } of rows) answers.set(row, Float32Array.from(all.subarray(row * vocabulary, (row + 1) * vocabulary)))
  })
  const advance = Effect.fn("Generator.advance")(function*(rows: ReadonlyArray<Advance>) {
    checked(rows, lengths, capacity)
    const answers = new Map<number, Float32Array>(), fresh = rows.filter((one) => one.fresh)
    for (const { row } of fresh) lengths[row] = 0
    let rest: ReadonlyArray<{ readonly row: number; readonly ids: ReadonlyArray<number> }> = rows.filter((one) => !one.fresh)
    if (fresh.length > 0) {
      const tokens = Math.min(longest, Math.max(8, powerOfTwo(Math.max(...fresh.map(({ ids }) => ids.length)))))
      yield* run(passOf(tokens, 0), fresh.map(({ ids, row }) => ({ row, ids: ids.slice(0, tokens) })), answers)
      rest = [...rest, ...fresh.filter(({ ids }) => ids.length > tokens).map(({ ids, row }) => ({ row, ids: ids.slice(tokens) }))]
    }
    while (rest.length > 0) {
      const most = Math.max(...rest.map(({ ids }) => ids.length))
      const extent = (tokens: number) => extentOf(Math.max(...rest.map(({ ids, row }) => lengths[row]! + Math.min(ids.length, tokens))), capacity)
      let tokens = most === 1 ? 1 : Math.min(longest, Math.max(8, powerOfTwo(most)))
      while (tokens > 8 && batch * tokens * extent(tokens) * 16 > scoresLength) tokens = Math.max(8, tokens >> 1)
      yield* run(passOf(tokens, extent(tokens)), rest.map(({ ids, row }) => ({ row, ids: ids.slice(0, tokens) })), answers)
      rest = rest.filter(({ ids }) => ids.length > tokens).map(({ ids, row }) => ({ row, ids: ids.slice(tokens) }))
    }
    return rows.map(({ row }) => answers.get(row)!)
  })
  return { batch, window: capacity, advance }
})

/** A generator that runs the whole window for each token; `forward` gets ids u32 [batch · window] and each row's last token, u32 [batch], and gives logits [batch, vocabulary]. */
export const recomputing = (arena: Arena, options: { readonly batch?: number; readonly window: number; readonly replicas?: number; readonly forward: (ids: Tensor, last: Tensor) => Tensor }): Effect.Effect<Generator, never, Scope.Scope> => Effect.gen(function*() {
  const { batch = 1, forward, replicas = 1, window } = options
  const input = kept([batch * window], { dtype: "u32", label: "generate.ids" }), last = kept([batch], { dtype: "u32", label: "generate.last" })
  const program = Recording.record(() => keep(forward(input, last), "generate.logits"), { replicas })
  expectShape("Generator.recomputing", "logits", program.outputs, [batch, undefined])
  yield* Effect.addFinalizer(() => Effect.ignore(arena.free([input, last, program.outputs])))
  let held: ReadonlyArray<ReadonlyArray<number>> = Array.from({ length: batch }, () => [])
  const advance = Effect.fn("Generator.advance")(function*(rows: ReadonlyArray<Advance>) {
    checked(rows, held.map((ids) => ids.length), window)
    checkIds(rows, program.outputs.shape[1]!)
    const next = [...held]
    for (const { fresh, ids, row } of rows) next[row] = fresh ? ids : [...held[row]!, ...ids]
    const padded = new Uint32Array(batch * window), ends = Uint32Array.from(next, (ids, row) => row * window + Math.max(ids.length, 1) - 1)
    next.forEach((ids, row) => padded.set(ids, row * window)) // what stands after the last token is not seen by it
    yield* arena.upload(input, padded)
    yield* arena.upload(last, ends)
    yield* arena.submit(program)
    held = next // what failed can be asked for again
    const all = (yield* arena.read(program.outputs)) as Float32Array, vocabulary = all.length / batch
    return rows.map(({ row }) => Float32Array.from(all.subarray(row * vocabulary, (row + 1) * vocabulary)))
  })
  return { batch, window, advance }
})

/** A generator over a dense decoder, or one with another feed-forward; only the last token of each row passes the head. Options: `batch` 1, `cache` true. */
export const fromDecoder = Effect.fn("Generator.fromDecoder")(function*(arena: Arena, decoder: Decoder.Decoder, options: {
  readonly batch?: number; readonly window: number; readonly cache?: boolean; readonly chunk?: number; readonly replicas?: number
} & Pick<Decoder.ForwardOptions, "feedForward" | "adapters">) {
  const { adapters, batch = 1, cache = true, feedForward, window } = options, available = decoder.constants.tables.cosines.shape[0]!
  if (window > available) throw new Error(`Generator.fromDecoder: a window of ${window} tokens, but the rotary tables hold ${available} positions`)
  if (!cache) {
    const size = { batch, tokens: window }
    yield* Decoder.prepare(arena, decoder, size)
    return yield* recomputing(arena, { ...options, forward: (ids, last) => Decoder.head(decoder, gatherRows(Decoder.states(decoder, ids, { ...size, feedForward, adapters }), last), adapters) })
  }
  return yield* make(arena, {
    states: (ids, chunk) => Decoder.states(decoder, ids, { batch, tokens: chunk.tokens, chunk, feedForward, adapters }),
    head: (x) => Decoder.head(decoder, x, adapters)
  }, { ...options, cache: KeyValueCache.make(decoder.model, { batch, capacity: window }) })
})
