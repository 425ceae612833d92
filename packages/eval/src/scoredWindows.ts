/**
 * Texts through a program that gives each row's loss: the windows of every document in batches, sums in f64 on the host. What `Evaluate.score` and
 * `Positions.positions` share.
 */
import { type Checkpoint, Corpus } from "@switchyard/core"
import { Device, Op, type Recording, Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import type { DocumentScore } from "./metrics.ts"
import type { Task } from "./Task.ts"

/** Rows of one submission, over all replicas. */
const batchRows = 16

/** Rows of one replica, and tokens of a row: never more than the model's context. */
export const sizes = (model: Checkpoint.Any["model"], task: Task, replicas: number) => ({ batch: Math.max(1, Math.floor(batchRows / replicas)), tokens: Math.min(task.tokens, model.contextLength) })

/** What a batch is fed: u32 [rows] each, rows = batch · tokens of one replica. */
export const inputs = (rows: number) => ({ ids: Tensor.kept([rows], { dtype: "u32", sharded: true, label: "ids" }), targets: Tensor.kept([rows], { dtype: "u32", sharded: true, label: "targets" }) })

/** A program and what it is fed; `batch` rows over all replicas. */
export interface Fed<O extends { readonly losses: Tensor.Tensor }> { readonly ids: Tensor.Tensor; readonly targets: Tensor.Tensor; readonly program: Recording.Program<O>; readonly batch: number; readonly tokens: number }
/** A window and the index of its domain. */
export interface Row { readonly at: number; readonly window: Corpus.Window }

/** How many submissions these texts take, from their headers. */
export const submissions = (texts: Readonly<Record<string, Corpus.Header>>, task: Task, { batch, tokens }: { readonly batch: number; readonly tokens: number }): number =>
  Math.ceil(Object.values(texts).reduce((sum, header) => sum + Corpus.countWindows(header, { ...task, tokens }), 0) / batch)

/** Runs every window of the task's split, domain by domain, and gives the documents' scores. `seen` hears of each batch when its losses [batch · tokens] have been read, and of how many tokens and windows are done. */
export const run = <O extends { readonly losses: Tensor.Tensor }, E, R>(
  arena: Device.Arena, { batch, ids, program, targets, tokens }: Fed<O>, checkpoint: Pick<Checkpoint.Any, "tokenizer">, texts: Readonly<Record<string, Corpus.Corpus>>, task: Task,
  seen: (part: ReadonlyArray<Row>, losses: ArrayLike<number>, done: Readonly<Record<"tokens" | "windows", { readonly done: number; readonly total: number }>>) => Effect.Effect<void, E, R>
) => Effect.gen(function*() {
  const names = Object.keys(texts)
  const rows = (yield* Effect.forEach(names, (domain, at) => Effect.map(
    Corpus.windows(texts[domain]!, { tokenizer: checkpoint.tokenizer, split: task.split, tokens, documentBytes: task.documentBytes, maximumBytes: task.maximumBytes }),
    (windows) => windows.map((window): Row => ({ at, window }))))).flat()
  const total = rows.reduce((sum, { window }) => sum + window.length - window.from, 0)
  const documents = new Map<string, { -readonly [K in keyof DocumentScore]: DocumentScore[K] }>()
  let done = 0
  for (let first = 0; first < rows.length; first += batch) {
    const part = rows.slice(first, first + batch), feed = new Uint32Array(batch * tokens), aim = new Uint32Array(batch * tokens).fill(Op.noTarget) // [batch · tokens]
    part.forEach(({ window }, row) => {
      feed.set(window.ids, row * tokens)
      aim.set(window.targets.subarray(window.from, window.length), row * tokens + window.from)
    })
    yield* arena.upload(ids, feed)
    yield* arena.upload(targets, aim)
    yield* arena.submit(program)
    const losses = yield* arena.read(program.outputs.losses) // [batch · tokens]
    part.forEach(({ at, window }, row) => {
      const name = `${at}/${window.document}`, document = documents.get(name) ?? { domain: names[at]!, document: window.id, tokens: 0, bytes: 0, logLikelihood: 0 }
      documents.set(name, document)
      for (let index = window.from; index < window.length; index++) document.logLikelihood -= losses[row * tokens + index]!
      document.tokens += window.length - window.from
      document.bytes += window.bytes
      done += window.length - window.from
    })
    yield* seen(part, losses, { tokens: { done, total }, windows: { done: Math.min(first + batch, rows.length), total: rows.length } })
  }
  return { documents: [...documents.values()] as ReadonlyArray<DocumentScore>, tokens: done }
})
