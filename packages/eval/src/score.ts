/**
 * One model's log-likelihood of every document: windows through `LanguageModel` on whatever device there is, sums in f64 on the host.
 */
import { type Checkpoint, Corpus } from "@switchyard/core"
import { Device, Op, Recording, type Storage, Tensor } from "@switchyard/gpu"
import { LanguageModel } from "@switchyard/routing"
import { Effect } from "effect"
import type { DocumentScore } from "./metrics.ts"
import type { Task } from "./Task.ts"

/** Rows of one submission, over all replicas. */
const batchRows = 16




/** Rows of one replica, and tokens of a row: never more than the model's context. */
export const sizes = (model: Checkpoint.Any["model"], task: Task, replicas: number) => ({ batch: Math.max(1, Math.floor(batchRows / replicas)), tokens: Math.min(task.tokens, model.contextLength) })

/** The program that scores one batch, with weights stored as told (f32 when left out): ids and targets in, the loss of every row out (0 where a target is left out). */
export const program = (model: Checkpoint.Any["model"], task: Task, replicas: number, storage?: Storage.Storage) => Effect.gen(function*() {
  const { batch, tokens } = sizes(model, task, replicas), rows = batch * tokens
  const self = yield* LanguageModel.make(model, { batch, tokens, storage })
  const ids = Tensor.kept([rows], { dtype: "u32", sharded: true, label: "ids" }), targets = Tensor.kept([rows], { dtype: "u32", sharded: true, label: "targets" })
  const recorded = Recording.record(() => ({ losses: Op.keep(LanguageModel.lossOf(self, ids, targets).losses, "losses", { sharded: true }) }), { replicas })
  return { self, ids, targets, program: recorded, batch: batch * replicas, tokens }
})

/** Scores every document of the task's split, domain by domain. `progress` is told of scored tokens. */
export const score = (checkpoint: Checkpoint.Any, texts: Readonly<Record<string, Corpus.Corpus>>, task: Task, progress: (done: number, total: number) => Effect.Effect<void>, storage?: Storage.Storage) => Effect.scoped(Effect.gen(function*() {
  const device = yield* Device.Device, arena = yield* device.arena
  const { batch, ids, program: recorded, self, targets, tokens } = yield* program(checkpoint.model, task, device.replicas, storage)
  yield* LanguageModel.load(arena, self, checkpoint.weights)
  const rows = (yield* Effect.forEach(Object.entries(texts), ([domain, corpus]) => Effect.map(
    Corpus.windows(corpus, { tokenizer: checkpoint.tokenizer, split: task.split, tokens, documentBytes: task.documentBytes, maximumBytes: task.maximumBytes }),
    (windows) => windows.map((window) => ({ domain, window }))))).flat()
  const total = rows.reduce((sum, { window }) => sum + window.length - window.from, 0)
  const scores = new Map<string, { -readonly [K in keyof DocumentScore]: DocumentScore[K] }>()
  let done = 0
  for (let first = 0; first < rows.length; first += batch) {
    const part = rows.slice(first, first + batch)
    const feed = new Uint32Array(batch * tokens), aim = new Uint32Array(batch * tokens).fill(Op.noTarget) // [batch · tokens]
    part.forEach(({ window }, row) => {
      feed.set(window.ids, row * tokens)
      aim.set(window.targets.subarray(window.from, window.length), row * tokens + window.from)
    })
    yield* arena.upload(ids, feed)
    yield* arena.upload(targets, aim)
    yield* arena.submit(recorded)
    const losses = yield* arena.read(recorded.outputs.losses) // [batch · tokens]
    part.forEach(({ domain, window }, row) => {
      const name = `${domain}/${window.document}`
      const found = scores.get(name) ?? { domain, document: window.id, tokens: 0, bytes: 0, logLikelihood: 0 }
      for (let at = window.from; at < window.length; at++) found.logLikelihood -= losses[row * tokens + at]!
      found.tokens += window.length - window.from
      found.bytes += window.bytes
      scores.set(name, found)
      done += window.length - window.from
    })
    yield* progress(done, total)
  }
  const stats = yield* arena.stats
  return { scores: [...scores.values()] as ReadonlyArray<DocumentScore>, tokens: done, flops: stats.flops, deviceBytes: stats.peakBytes, flopsPerToken: recorded.flops * device.replicas / (batch * tokens), device: `${device.name}: ${device.adapter}` }
}))
