/**
 * The training loop: upload a batch, submit the recorded step, read a few numbers, log, save now and then.
 *
 * What step s sees and does is a function of the state and s alone, so a run that was killed and resumed ends in the same bits as one that was
 * not. The same property finds out where a run diverged: the steps since the last saved state are done again up to the one before the bad
 * one, that state is kept, and the bad batch is looked at layer by layer.
 */
import type { Corpus, Stage } from "@switchyard/core"
import { AdamW, type Device, Op, Recording, type Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import * as LanguageModel from "./LanguageModel.ts"
import { type Options, rateAt, TrainingDiverged } from "./Training.ts"
import { load, type LogRow, put, save, snapshot } from "./trainState.ts"
import { type Aims, trainStep, type TrainStep } from "./trainStep.ts"

export interface TrainOptions<E> {
  readonly arena: Device.Arena
  readonly device: Pick<Device.Service, "replicas" | "adapter">
  /** Puts the values on the device that training begins with. */
  readonly initialize: Effect.Effect<void, E>
  readonly batches: Corpus.Batches
  readonly options: Options
  readonly aims: Aims
  readonly context: Pick<Stage.Context, "resume" | "progress" | "metric" | "actual">
}

/**
 * Trains the named parameters of a language model on the device and gives the log; the trained values are in the arena.
 *
 * Fails: TrainingDiverged, with the state before the bad step saved; what `initialize`, the device and the files fail with. On interruption
 * the state between two steps is saved.
 */
export const train = <E>(self: LanguageModel.LanguageModel, names: ReadonlyArray<string>, given: TrainOptions<E>) => Effect.gen(function*() {
  const { aims, arena, batches, context, device, initialize, options } = given
  const step = trainStep(self, names, options, aims, device)
  const learning = { names, parameters: step.optimizer.parameters, optimizer: step.optimizer, corrections: step.corrections }
  const { last } = context.resume
  const kept = last === undefined ? undefined : yield* load(last, learning)
  const zero = Effect.forEach([...step.optimizer.first, ...step.optimizer.second], (tensor) => arena.upload(tensor, new Float32Array(tensor.slot.length)), { discard: true })
  yield* initialize
  yield* kept === undefined ? zero : put(arena, learning, kept.snapshot)

  const log = [...kept?.log ?? []]
  // `sound`: what is on the device is the state after `done` steps
  let done = kept?.snapshot.step ?? 0, saved = kept?.snapshot, sound = true
  const before = saved?.flops ?? 0
  if (done > 0) yield* context.metric("resumedAt", done)
  const persist = Effect.gen(function*() {
    if (!sound || done === (saved?.step ?? 0)) return
    const state = yield* snapshot(arena, learning, done, before)
    yield* context.resume.save((folder) => save(folder, learning, state, log.slice(0, state.step)))
    saved = state
  })

  let next: Corpus.Batch | undefined
  /** One step and its numbers; a step is done whole or not at all, so that an interruption falls between two. */
  const one = Effect.uninterruptible(Effect.gen(function*() {
    const began = performance.now(), at = done
    yield* feed(arena, step, next ?? batches.at(at), self, options, aims, device.replicas)
    next = undefined
    yield* arena.upload(step.optimizer.hyper, AdamW.hyper({ ...options, learningRate: rateAt(options, at + 1) }, at + 1))
    const prepare = Effect.sync(() => { if (at + 1 < options.steps) next = batches.at(at + 1) }) // while the device works
    yield* Effect.all([arena.submit(step.program), prepare], { concurrency: 2, discard: true })
    const values: Record<string, number> = {}
    for (const [name, tensor] of step.metrics) values[name] = (yield* arena.read(tensor))[0]!
    const gradientNorm = (yield* arena.read(step.clipped))[1]!
    const { loss, ...auxiliary } = values
    const count = options.batch * options.tokens
    sound = [loss!, gradientNorm].every(Number.isFinite)
    if (sound) done++
    return {
      step: at + 1, tokens: (at + 1) * count, loss: loss!,
      ...auxiliary,
      gradientNorm, learningRate: rateAt(options, at + 1), tokensPerSecond: 1000 * count / (performance.now() - began)
    } as LogRow
  }))

  /** The state before the bad step again, kept; then the bad batch, layer by layer. */
  const diverged = (row: LogRow) => Effect.gen(function*() {
    next = undefined
    yield* Effect.uninterruptible(Effect.andThen(saved === undefined ? Effect.andThen(initialize, zero) : put(arena, learning, saved), Effect.sync(() => {
      done = saved?.step ?? 0
      sound = true
    })))
    while (done < row.step - 1) yield* one
    yield* persist
    yield* feed(arena, step, batches.at(done), self, options, aims, device.replicas)
    const layer = yield* firstBadLayer(arena, self, step, device.replicas)
    return new TrainingDiverged({ step: row.step, ...layer === undefined ? {} : { layer }, loss: row.loss, gradientNorm: row.gradientNorm, learningRate: options.learningRate })
  })

  const told = Math.ceil(options.steps / 20) // a listener hears of twenty losses; the log has all
  const loop = Effect.gen(function*() {
    while (done < options.steps) {
      const row = yield* Effect.uninterruptible(Effect.tap(one, (made) => Effect.sync(() => { if (sound) log.push(made) })))
      if (!sound) return yield* yield* diverged(row)
      yield* context.progress(done, options.steps, "steps")
      if (done % told === 0 || done === options.steps) {
        yield* context.metric("loss", row.loss)
        yield* context.metric("tokensPerSecond", row.tokensPerSecond)
      }
      if (done % options.saveEvery === 0 && done < options.steps) yield* Effect.uninterruptible(persist)
      yield* Effect.yieldNow // where an interruption is heard on a device that never waits
    }
  })
  yield* Effect.onInterrupt(loop, () => Effect.ignore(persist))
  const { flops, peakBytes } = yield* arena.stats
  yield* context.actual({ flops: before + flops, deviceBytes: peakBytes, device: device.adapter })
  return log
})

/** Uploads one batch, its rows in the replicas' order; rows that stand in for missing ones repeat the first and count nothing. */
const feed = (arena: Device.Arena, step: TrainStep, batch: Corpus.Batch, self: LanguageModel.LanguageModel, { tokens }: Options, { gated, supervise }: Aims, replicas: number) => Effect.gen(function*() {
  const sequences = self.batch * replicas, given = batch.domains.length
  const spread = (from: Uint32Array) => {
    const out = new Uint32Array(sequences * tokens)
    for (let row = 0; row < sequences; row++) out.set(from.subarray((row < given ? row : 0) * tokens, (row < given ? row : 0) * tokens + tokens), row * tokens)
    return out
  }
  const targets = spread(batch.targets), shares = new Float32Array(sequences * tokens)
  let counted = 0
  for (let at = 0; at < given * tokens; at++) if (targets[at] !== Op.noTarget) counted++
  for (let at = 0; at < given * tokens; at++) if (targets[at] !== Op.noTarget) shares[at] = 1 / counted
  yield* arena.upload(step.ids, spread(batch.ids))
  yield* arena.upload(step.targets, targets)
  yield* arena.upload(step.shares, shares)
  if (step.labels === undefined) return
  const labels = new Uint32Array(sequences * tokens)
  for (let row = 0; row < sequences; row++) labels.fill((supervise ?? gated)!.labels[batch.domains[row < given ? row : 0]!]!, row * tokens, (row + 1) * tokens)
  yield* arena.upload(step.labels, labels)
  const generalist = supervise?.generalist
  if (step.general === undefined || generalist === undefined) return
  yield* arena.upload(step.general.labels, new Uint32Array(labels.length).fill(generalist.expert))
  yield* arena.upload(step.general.shares, shares.map((share, row) => share * Math.max(0, 1 - row % tokens / generalist.until)))
})

/** The first layer whose block's output holds a number that is not finite, on the batch last fed. */
const firstBadLayer = (arena: Device.Arena, self: LanguageModel.LanguageModel, step: TrainStep, replicas: number) => Effect.gen(function*() {
  const outputs: Array<Tensor.Tensor> = []
  const program = Recording.record(() => {
    const { logits } = LanguageModel.forward(self, step.ids, { tap: (point, layer, tensor) => { if (point === "block.output") outputs[layer] = Op.keep(tensor, `block ${layer}`, { sharded: true }) } })
    return Op.keep(logits, "logits", { sharded: true })
  }, { replicas })
  yield* arena.submit(program)
  for (const [layer, tensor] of outputs.entries()) if (!(yield* arena.read(tensor)).every(Number.isFinite)) return layer
  return undefined
})
