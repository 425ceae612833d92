/**
 * One model's log-likelihood of every document: windows through `LanguageModel` on whatever device there is, sums in f64 on the host.
 */
import type { Checkpoint, Corpus } from "@switchyard/core"
import { Device, Op, Recording, type Storage, type Tensor } from "@switchyard/gpu"
import { LanguageModel } from "@switchyard/routing"
import { Effect } from "effect"
import * as ScoredWindows from "./scoredWindows.ts"
import type { Task } from "./Task.ts"

/** The program that scores one batch, with weights stored as told (f32 when left out): ids and targets in, the loss of every row out (0 where a target is left out). */
export const program = (model: Checkpoint.Any["model"], task: Task, replicas: number, storage?: Storage.Storage) => Effect.gen(function*() {
  const { batch, tokens } = ScoredWindows.sizes(model, task, replicas)
  const self = yield* LanguageModel.make(model, { batch, tokens, storage }), { ids, targets } = ScoredWindows.inputs(batch * tokens)
  const recorded: Recording.Program<{ readonly losses: Tensor.Tensor }> = Recording.record(() => ({ losses: Op.keep(LanguageModel.lossOf(self, ids, targets).losses, "losses", { sharded: true }) }), { replicas })
  return { self, ids, targets, program: recorded, batch: batch * replicas, tokens }
})

/** Scores every document of the task's split, domain by domain. `progress` is told of scored tokens. */
export const score = (checkpoint: Checkpoint.Any, texts: Readonly<Record<string, Corpus.Corpus>>, task: Task, progress: (done: number, total: number) => Effect.Effect<void>, storage?: Storage.Storage) => Effect.scoped(Effect.gen(function*() {
  const device = yield* Device.Device, arena = yield* device.arena
  const fed = yield* program(checkpoint.model, task, device.replicas, storage)
  yield* LanguageModel.load(arena, fed.self, checkpoint.weights)
  const { documents: scores, tokens } = yield* ScoredWindows.run(arena, fed, checkpoint, texts, task, (_, __, { tokens }) => progress(tokens.done, tokens.total))
  const stats = yield* arena.stats
  return { scores, tokens, flops: stats.flops, deviceBytes: stats.peakBytes, flopsPerToken: fed.program.flops * device.replicas / (fed.batch * fed.tokens), device: `${device.name}: ${device.adapter}` }
}))
