/**
 * Replicas in worker threads. Every worker gets the same messages in the same order; programs are sent once and named by number
 * afterwards; numbers cross in shared memory (uploads) or are transferred (reads). A worker that dies takes the device with it.
 */
import { availableParallelism } from "node:os"
import { createRequire } from "node:module"
import { pathToFileURL } from "node:url"
import { Worker } from "node:worker_threads"
import type { Reals } from "../Kernel.ts"
import { joinReplicasStep, sumReplicasStep, type Program } from "../Recording.ts"
import type { Slot } from "../Tensor.ts"
import { GivenUp, giveUp, makeExchange } from "./exchange.ts"
import { OutOfMemory, type KernelTime, type ReplicaStats, type Steps } from "./Replica.ts"

/** A worker ended by itself: its arena is gone. */
export class WorkerLost extends Error {}

export interface ArenaOptions { readonly onnxRuntime?: boolean; readonly profile?: boolean }
/** What a worker is told. `arena` numbers the arenas of one device. */
export type Message = { readonly arena: number } & (
  | { readonly do: "greet" }
  | { readonly do: "open"; readonly options: ArenaOptions }
  | { readonly do: "upload"; readonly slot: Slot; readonly data: Reals | Uint32Array }
  | { readonly do: "program"; readonly program: Steps; readonly exchange: SharedArrayBuffer }
  | { readonly do: "submit"; readonly program: number }
  | { readonly do: "forget"; readonly program: number }
  | { readonly do: "read"; readonly slot: Slot }
  | { readonly do: "free"; readonly slots: ReadonlyArray<Slot> }
  | { readonly do: "stats" }
  | { readonly do: "close" }
  /** The thread ends. */
  | { readonly do: "exit" }
)
export interface Request { readonly id: number; readonly message: Message }
export interface Reply {
  readonly id: number
  readonly value?: unknown
  /** `bytes` when the arena could not grow to them; `follows` when it is only the echo of another replica's failure. */
  readonly error?: { readonly message: string; readonly bytes?: number; readonly follows: boolean }
}

export interface WorkerArena {
  readonly upload: (slot: Slot, data: Reals | Uint32Array) => Promise<void>
  readonly submit: (program: Program) => Promise<void>
  readonly read: (slot: Slot) => Promise<Float32Array | Uint32Array>
  readonly free: (slots: ReadonlyArray<Slot>) => Promise<void>
  readonly stats: () => Promise<ReplicaStats>
  readonly close: () => Promise<void>
}
export interface Workers {
  readonly count: number
  /** Whether one has died: no arena can be opened any more. */
  readonly lost: () => boolean
  readonly open: (options: ArenaOptions) => Promise<WorkerArena>
  readonly close: () => Promise<void>
}

/** Milliseconds that a thread is given to come to the end of its step. */
const patience = 10_000

/** One for each processor, at most eight: each holds all weights. */
export const defaultWorkers = (): number => Math.min(availableParallelism(), 8)

/** From sources the worker's own thread must register tsx first, named by its own path; compiled, it just starts. */
const start = (index: number, count: number, stop: SharedArrayBuffer): Worker => {
  const options = { workerData: { index, count, stop }, name: `switchyard host ${index}` }
  if (!import.meta.url.endsWith(".ts")) return new Worker(new URL("./worker.js", import.meta.url), options)
  const tsx = new URL("./index.mjs", pathToFileURL(createRequire(import.meta.url).resolve("tsx/esm/api"))).href // require finds the .cjs beside it
  const script = `import(${JSON.stringify(tsx)}).then(({ register }) => { register(); return import(${JSON.stringify(new URL("./worker.ts", import.meta.url).href)}) })`
  return new Worker(script, { ...options, eval: true, execArgv: ["--conditions=@switchyard/source"] })
}

/** Starts the workers and waits until each has answered. */
export const openWorkers = async (count: number): Promise<Workers> => {
  const stop = new SharedArrayBuffer(4), threads = Array.from({ length: count }, (_, index) => start(index, count, stop))
  const pending = new Map<number, { readonly resolve: (value: unknown) => void; readonly reject: (error: Error) => void; readonly index: number }>()
  const exchanges = new Set<SharedArrayBuffer>()
  let requests = 0, arenas = 0, lost: Error | undefined, closing = false

  /**
   * Ends the threads between two steps: one that is ended inside ONNX Runtime takes the whole process with it. A thread that does not get there
   * in time is left to end with the process.
   */
  const stopAll = async (): Promise<void> => {
    Atomics.store(new Int32Array(stop), 0, 1)
    for (const shared of exchanges) giveUp(shared)
    await Promise.all(threads.map((thread) => new Promise<void>((resolve) => {
      if (thread.threadId < 0) { resolve(); return }
      const waiting = setTimeout(() => { thread.unref(); resolve() }, patience)
      thread.once("exit", () => { clearTimeout(waiting); resolve() })
      thread.postMessage({ id: 0, message: { arena: 0, do: "exit" } } satisfies Request)
    })))
  }
  const lose = (error: Error): void => {
    if (lost !== undefined || closing) return
    lost = error
    for (const shared of exchanges) giveUp(shared)
    void stopAll()
    for (const { reject } of pending.values()) reject(error)
    pending.clear()
  }
  const awaited = (): void => { for (const [index, thread] of threads.entries()) if ([...pending.values()].some((one) => one.index === index)) thread.ref(); else thread.unref() }
  threads.forEach((thread, index) => {
    thread.on("message", ({ error, id, value }: Reply) => {
      const waiting = pending.get(id)
      pending.delete(id)
      awaited()
      if (error !== undefined) waiting?.reject(error.bytes !== undefined ? new OutOfMemory(error.bytes) : error.follows ? new GivenUp(error.message) : new Error(error.message))
      else waiting?.resolve(value)
    })
    thread.on("error", (error) => lose(new WorkerLost(`worker ${index} of ${count} failed: ${error.message}`)))
    thread.on("exit", (code) => lose(new WorkerLost(`worker ${index} of ${count} ended with exit code ${code}`)))
  })
  const ask = (index: number, message: Message): Promise<unknown> => new Promise((resolve, reject) => {
    if (lost !== undefined || closing) { reject(lost ?? new WorkerLost("the device was closed")); return }
    const id = ++requests
    pending.set(id, { resolve, reject, index })
    awaited()
    threads[index]!.postMessage({ id, message } satisfies Request)
  })
  /** All workers; when some fail, the first cause is given after every one has answered. */
  const askAll = async (message: (index: number) => Message): Promise<ReadonlyArray<unknown>> => {
    const answers = await Promise.allSettled(threads.map((_, index) => ask(index, message(index))))
    const failures = answers.flatMap((answer) => answer.status === "rejected" ? [answer.reason as Error] : [])
    if (failures.length > 0) throw failures.find((error) => !(error instanceof GivenUp)) ?? failures[0]
    return answers.map((answer) => (answer as PromiseFulfilledResult<unknown>).value)
  }

  await askAll(() => ({ arena: 0, do: "greet" }))
  return {
    count,
    lost: () => lost !== undefined && !closing,
    close: async () => { closing = true; await stopAll() },
    open: async (options) => {
      const arena = ++arenas
      const { onnxRuntime, profile } = options
      await askAll(() => ({ arena, do: "open", options: { ...onnxRuntime === undefined ? {} : { onnxRuntime }, ...profile === undefined ? {} : { profile } } }))
      const sent = new WeakSet<Program>()
      const forget = new FinalizationRegistry(({ exchange, program }: { readonly program: number; readonly exchange: SharedArrayBuffer }) => { exchanges.delete(exchange); if (lost === undefined && !closing) void askAll(() => ({ arena, do: "forget", program })).catch(() => undefined) })
      return {
        upload: async (slot, data) => {
          const Shared = data.constructor as new(buffer: SharedArrayBuffer) => typeof data
          const shared = new Shared(new SharedArrayBuffer(data.byteLength))
          shared.set(data)
          await askAll((index) => ({ arena, do: "upload", slot, data: slot.sharded ? shared.subarray(index * slot.length, (index + 1) * slot.length) : shared }))
        },
        submit: async (program) => {
          if (!sent.has(program)) {
            const { outputs: _, ...steps } = program
            const largest = Math.max(0, ...program.steps.filter(({ kernel }) => kernel === sumReplicasStep).map(({ slots }) => slots.reduce((sum, id) => sum + program.slots.get(id)!.length, 0)))
            const joined = Math.max(0, ...program.steps.filter(({ kernel }) => kernel === joinReplicasStep).map(({ slots }) => slots.reduce((sum, id, at) => at % 2 === 1 ? sum : sum + program.slots.get(id)!.length, 0)))
            const exchange = makeExchange(count, largest, joined)
            exchanges.add(exchange)
            sent.add(program)
            forget.register(program, { program: program.id, exchange })
            await askAll(() => ({ arena, do: "program", program: steps, exchange }))
          }
          try {
            await askAll(() => ({ arena, do: "submit", program: program.id }))
          } catch (error) {
            sent.delete(program) // its exchange has been given up: the next submission brings a new one
            throw error
          }
        },
        read: async (slot) => {
          if (!slot.sharded) return await ask(0, { arena, do: "read", slot }) as Float32Array | Uint32Array
          const parts = await askAll(() => ({ arena, do: "read", slot })) as ReadonlyArray<Float32Array | Uint32Array>
          const whole = slot.dtype === "u32" ? new Uint32Array(slot.length * count) : new Float32Array(slot.length * count)
          parts.forEach((part, index) => whole.set(part, index * slot.length))
          return whole
        },
        free: async (slots) => { await askAll(() => ({ arena, do: "free", slots })) },
        stats: async () => {
          const all = await askAll(() => ({ arena, do: "stats" })) as ReadonlyArray<ReplicaStats>
          const total = (of: (stats: ReplicaStats) => number) => all.reduce((sum, stats) => sum + of(stats), 0)
          return { liveBytes: total((one) => one.liveBytes), peakBytes: total((one) => one.peakBytes), flops: total((one) => one.flops), submissions: all[0]!.submissions, profile: all[0]!.profile as Readonly<Record<string, KernelTime>> }
        },
        close: async () => { if (lost === undefined && !closing) await askAll(() => ({ arena, do: "close" })).catch(() => undefined) }
      }
    }
  }
}
