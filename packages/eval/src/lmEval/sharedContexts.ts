/**
 * A question with several answers, asked once: the tokens that its requests begin with are worked off in one pass, whose keys and values stay, and each
 * answer goes on from there. An answer's places are written over by the next one's, which see nothing behind themselves.
 *
 * Only for models whose decisions about a token follow from that token: a pool over the text so far would go on from the wrong answer.
 */
import type { Model } from "@switchyard/core"
import { type Device, KeyValueCache, Op, Recording, Tensor } from "@switchyard/gpu"
import { LanguageModel, type Router } from "@switchyard/routing"
import { Effect } from "effect"
import type { Answer } from "./judgeChoices.ts"

/** What is fed, and which requests read it: the logits of its last tokens, one for each token of the continuation. */
export interface Sequence { readonly input: ReadonlyArray<number>; readonly wanted: ReadonlyArray<{ readonly request: number; readonly continuation: ReadonlyArray<number> }> }
/** Sequences that begin with `prefix`, none of whose logits are asked for. */
export interface Group { readonly prefix: ReadonlyArray<number>; readonly members: ReadonlyArray<Sequence> }

/** A prefix shorter than this is not worth a pass of its own. */
const shortest = 8

/** Sequences that share all that is fed before what is asked, and those that share nothing. Order: longest first. */
export const groupsOf = (sequences: ReadonlyArray<Sequence>): { readonly groups: ReadonlyArray<Group>; readonly alone: ReadonlyArray<Sequence> } => {
  const found = new Map<string, { readonly prefix: ReadonlyArray<number>; readonly members: Array<Sequence> }>(), alone: Array<Sequence> = []
  for (const sequence of sequences) {
    const start = sequence.input.length - Math.max(...sequence.wanted.map(({ continuation }) => continuation.length))
    if (start < shortest) { alone.push(sequence); continue }
    const prefix = sequence.input.slice(0, start), key = prefix.join(), group = found.get(key)
    if (group === undefined) found.set(key, { prefix, members: [sequence] })
    else group.members.push(sequence)
  }
  const all = [...found.values()], order = new Map(sequences.map((sequence, at) => [sequence, at]))
  for (const { members } of all) if (members.length === 1) alone.push(members[0]!)
  return {
    groups: all.filter(({ members }) => members.length > 1).sort((a, b) => lengthOf(b) - lengthOf(a) || order.get(a.members[0]!)! - order.get(b.members[0]!)!),
    alone: alone.sort((a, b) => order.get(a)! - order.get(b)!)
  }
}

/** Whether a model may go on from a question more than once: a dense one, or one whose router looks at single tokens. */
export const canShare = (model: Model.Model, router: Router.Router | undefined): boolean => model.feedForward.kind === "dense" || router === undefined ? true
  : router.capacity === undefined && router.unit.of === "token" && (router.score.by === "linear" || router.score.by === "distance")

const powerOfTwo = (least: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, least)))
/** Tokens of a group's longest member. */
export const lengthOf = ({ members }: Group): number => members.reduce((most, { input }) => Math.max(most, input.length), 0)

interface Pass { readonly ids: Tensor.Tensor; readonly positions: Tensor.Tensor; readonly places: Tensor.Tensor }
interface Asking extends Pass { readonly slots: Tensor.Tensor; readonly targets: Tensor.Tensor; readonly program: Recording.Program<{ readonly losses: Tensor.Tensor; readonly best: Tensor.Tensor }> }

/** Asks groups of questions, `batch` of them at a time in each replica, all of at most `capacity` tokens. Holds their keys and values until `free`. */
export const make = (arena: Device.Arena, self: LanguageModel.LanguageModel, { batch, capacity, replicas }: { readonly batch: number; readonly capacity: number; readonly replicas: number }) => {
  const { model } = self, kept: Array<Tensor.Tensor> = []
  const sharded = (shape: ReadonlyArray<number>, label: string, dtype: "f32" | "u32" = "u32") => {
    const tensor = Tensor.kept(shape, { label: `shared.${label}`, dtype, sharded: true })
    kept.push(tensor)
    return tensor
  }
  const width = model.keyValueHeads * model.headSize
  const cache: KeyValueCache.KeyValueCache = { batch, capacity, layers: Array.from({ length: model.layers }, () => ({ keys: sharded([batch, capacity, width], "keys", "f32"), values: sharded([batch, capacity, width], "values", "f32") })) }
  const passOf = (tokens: number): Pass => ({ ids: sharded([batch * tokens], "ids"), positions: sharded([batch * tokens], "positions"), places: sharded([batch * tokens], "places") })
  const readings = new Map<number, Pass & { readonly program: Recording.Program<void> }>(), askings = new Map<string, Asking>()
  const reading = (tokens: number) => {
    const known = readings.get(tokens)
    if (known !== undefined) return known
    const pass = passOf(tokens), made = { ...pass, program: Recording.record(() => { LanguageModel.states(self, pass.ids, { chunk: { ...pass, cache, tokens, fresh: true } }) }, { replicas }) }
    readings.set(tokens, made)
    return made
  }
  const asking = (tokens: number, count: number): Asking => {
    const key = `${tokens} ${count}`, known = askings.get(key)
    if (known !== undefined) return known
    const pass = passOf(tokens), slots = sharded([count], "slots"), targets = sharded([count], "targets")
    const program = Recording.record(() => {
      const { states } = LanguageModel.states(self, pass.ids, { chunk: { ...pass, cache, tokens, fresh: false } })
      const logits = LanguageModel.head(self, Op.gatherRows(states, slots)) // [slots, vocabulary]
      return { losses: Op.keep(Op.crossEntropy(logits, targets), "losses", { sharded: true }), best: Op.keep(Op.view(Op.topK(logits, 1), [count]), "best", { sharded: true }) }
    }, { replicas })
    kept.push(program.outputs.losses, program.outputs.best)
    const made = { ...pass, slots, targets, program }
    askings.set(key, made)
    return made
  }
  /** Feeds tokens of each row from a place on. */
  const feed = (pass: Pass, tokens: number, rows: ReadonlyArray<{ readonly row: number; readonly from: number; readonly ids: ReadonlyArray<number> }>) => {
    const length = replicas * batch * tokens, ids = new Uint32Array(length), positions = new Uint32Array(length), places = new Uint32Array(length).fill(KeyValueCache.noPlace)
    for (const { from, ids: given, row } of rows) for (const [at, id] of given.entries()) {
      ids[row * tokens + at] = id
      positions[row * tokens + at] = places[row * tokens + at] = from + at
    }
    return Effect.all([arena.upload(pass.ids, ids), arena.upload(pass.positions, positions), arena.upload(pass.places, places)], { discard: true })
  }

  /** The answers of at most batch · replicas groups. */
  const ask = Effect.fn("sharedContexts.ask")(function*(groups: ReadonlyArray<Group>) {
    const longest = Math.max(...groups.map(({ prefix }) => prefix.length)), read = reading(Math.min(capacity, Math.ceil(longest / 16) * 16)), answers = new Map<number, Answer>()
    yield* feed(read, read.ids.shape[0]! / batch, groups.map(({ prefix }, row) => ({ row, from: 0, ids: prefix })))
    yield* arena.submit(read.program)
    for (let member = 0; member < Math.max(...groups.map(({ members }) => members.length)); member++) {
      const rows = groups.flatMap(({ members, prefix }, row) => members[member] === undefined ? [] : [{ row, from: prefix.length, ids: members[member]!.input.slice(prefix.length), wanted: members[member]!.wanted }])
      const tokens = powerOfTwo(Math.max(...rows.map(({ ids }) => ids.length)))
      const counts = Array.from({ length: replicas }, (_, replica) => rows.filter(({ row }) => Math.floor(row / batch) === replica).reduce((sum, { wanted }) => sum + wanted.reduce((sum, { continuation }) => sum + continuation.length, 0), 0))
      const count = Math.max(8, powerOfTwo(Math.max(...counts))), pass = asking(tokens, count)
      const slots = new Uint32Array(replicas * count), targets = new Uint32Array(replicas * count).fill(Op.noTarget), reached = Array.from({ length: replicas }, (_, replica) => replica * count)
      const reads: Array<{ readonly request: number; readonly from: number; readonly continuation: ReadonlyArray<number> }> = []
      for (const { ids, row, wanted } of rows) for (const { continuation, request } of wanted) {
        const replica = Math.floor(row / batch), from = reached[replica]!
        reads.push({ request, from, continuation })
        for (const [at, token] of continuation.entries()) {
          slots[from + at] = (row - replica * batch) * tokens + ids.length - continuation.length + at
          targets[from + at] = token
        }
        reached[replica] = from + continuation.length
      }
      yield* feed(pass, tokens, rows)
      yield* arena.upload(pass.slots, slots)
      yield* arena.upload(pass.targets, targets)
      yield* arena.submit(pass.program)
      const losses = yield* arena.read(pass.program.outputs.losses), best = yield* arena.read(pass.program.outputs.best) // [replicas · slots]
      for (const { continuation, from, request } of reads) {
        let logLikelihood = 0, isGreedy = true
        for (const [at, token] of continuation.entries()) {
          logLikelihood -= losses[from + at]!
          isGreedy &&= best[from + at] === token
        }
        answers.set(request, { logLikelihood, isGreedy })
      }
    }
    return answers as ReadonlyMap<number, Answer>
  })
  return { ask, free: Effect.suspend(() => arena.free(kept)) }
}
