/**
 * Runs: computes what a plan says is missing, keeps every finished result with its provenance, and reads back the outputs.
 */
import { Cause, Deferred, Effect, Exit, Schema, type Scope, Semaphore } from "effect"
import { mkdir } from "node:fs/promises"
import { arch, cpus, platform } from "node:os"
import { join } from "node:path"
import type { Artifact } from "./Artifact.ts"
import * as Digest from "./Digest.ts"
import { emit } from "./Event.ts"
import { attempt, writeJson } from "./File.ts"
import { before, leaves, mapLeaves, type Outputs } from "./Graph.ts"
import * as Key from "./Key.ts"
import * as Lock from "./Lock.ts"
import { type Any, isNode, mainArtifact, type Tree } from "./Node.ts"
import { type Cost, quantities } from "./Cost.ts"
import { peakMemory } from "./peakMemory.ts"
import * as Plan from "./Plan.ts"
import type { Provenance } from "./Provenance.ts"
import type { Actual, Context } from "./Stage.ts"
import * as Store from "./Store.ts"

export interface Options extends Plan.Options {
  /** How many stages may run at once; 1, since there is one device. */
  readonly concurrency?: number
  /** Do not stop at a failure: run what does not need the failed stage, then fail. */
  readonly keepGoing?: boolean
}
type Steps = ReadonlyMap<string, Plan.Step>

const message = (error: unknown): string => error instanceof Error ? error.message : typeof error === "object" ? JSON.stringify(error) : String(error)
const tagged = (error: unknown, tag: string): boolean => typeof error === "object" && error !== null && (error as { _tag?: unknown })._tag === tag

/** Reads back the kept result that a node stands for. */
const load = (steps: Steps, node: Any): Effect.Effect<unknown, Store.StoreError, Store.Store> => Effect.flatMap(Store.Store, ({ root }) => {
  const { key, stage } = steps.get(node.call.id)!
  return Effect.mapError(Effect.suspend(() => node.artifact.load(join(Store.resultFolder(root, key), node.port ?? "main"))), (error) => new Store.StoreError({
    root, problem: `cannot read the result of ${stage} (results/${key}/${node.port ?? "main"}): ${message(error)}; delete that folder, and it is made again`, cause: error
  }))
})
const loadTree = (steps: Steps, tree: Tree): Effect.Effect<unknown, Store.StoreError, Store.Store> =>
  tree === undefined ? Effect.undefined : isNode(tree) ? load(steps, tree)
    : Array.isArray(tree) ? Effect.forEach(tree, (node) => load(steps, node))
    : Effect.all(Object.fromEntries(Object.entries(tree as Readonly<Record<string, Any>>).map(([name, node]) => [name, load(steps, node)])))

const only = (measured: Actual): Cost => Object.fromEntries(quantities.flatMap((quantity) => measured[quantity] === undefined ? [] : [[quantity, measured[quantity]]]))

interface Started { readonly at: number; readonly cpuSeconds: number }
const cpuSeconds = (): number => { const { user, system } = process.cpuUsage(); return (user + system) / 1e6 }

/** Writes the outputs and the record into `making`, then puts it in place: the result exists from that rename on. */
const finish = (pipeline: string, step: Plan.Step, making: string, result: unknown, measured: Actual, seed: number, started: Started) => Effect.gen(function*() {
  const { root } = yield* Store.Store
  const { call, key } = step, sides = Object.entries(call.stage.sides)
  const values = sides.length === 0 ? { main: result } : result as Readonly<Record<string, unknown>>
  const outputs: Record<string, Provenance["outputs"][string]> = {}
  for (const [port, artifact] of [...sides, ["main", mainArtifact(call)] as const] as ReadonlyArray<readonly [string, Artifact<unknown>]>) {
    const directory = join(making, port)
    if (port !== "main") yield* Store.located(root)(attempt("write", directory, () => mkdir(directory)))
    const value = values[port] as never
    yield* Effect.mapError(Effect.suspend(() => artifact.save(value, directory)), (error) => new Store.StoreError({ root, problem: `cannot keep ${port} of ${step.stage}: ${message(error)}`, cause: error }))
    outputs[port] = { kind: artifact.kinds[0]!, header: JSON.parse(JSON.stringify(artifact.header(value) ?? {})) as Schema.Json, files: yield* Store.located(root)(Digest.folder(directory)) }
  }
  const inputs: Record<string, Provenance["inputs"][string]> = {}
  for (const [name, input] of Object.entries(step.inputs)) {
    const [from, port = "main"] = input.split("#") as [string, string?]
    const record = yield* Store.provenance(from)
    inputs[name] = { key: input, sha256: Key.digest(record?.outputs[port]?.files ?? []) }
  }
  yield* Plan.unchanged(step) // after the last output: what is large is read while it is kept
  const written = Object.values(outputs).flatMap((output) => output.files).reduce((sum, file) => sum + file.bytes, 0)
  const record: Provenance = {
    format: 1, key, pipeline, stage: step.stage, version: call.stage.version, options: call.options as Schema.Json, seed: call.stage.seeded ? seed + (call.seed ?? 0) : null,
    inputs, files: step.files, outputs, ...measured.device === undefined ? {} : { device: measured.device },
    node: process.version, machine: `${platform()} ${arch()}, ${cpus().length} × ${cpus()[0]?.model ?? "unknown processor"}`,
    started: new Date(started.at).toISOString(), seconds: (Date.now() - started.at) / 1000,
    process: { cpuSeconds: cpuSeconds() - started.cpuSeconds, peakBytes: peakMemory() }, planned: only(step.cost), actual: { bytesWritten: written, ...only(measured) }
  }
  yield* Store.located(root)(writeJson(join(making, "provenance.json"), record))
  yield* Store.keep(key, making)
  yield* Store.forgetState(key)
})

/** One attempt at a stage, in a scope of its own. */
const work = (pipeline: string, steps: Steps, step: Plan.Step, seed: number) => Effect.scoped(Effect.gen(function*() {
  const store = yield* Store.Store
  const { call, key, stage } = step, at = { stage, key }, started: Started = { at: Date.now(), cpuSeconds: cpuSeconds() }
  const making = yield* Store.begin(key), directory = join(making, "main")
  yield* Store.located(store.root)(attempt("write", directory, () => mkdir(directory)))
  const inputs: Record<string, unknown> = {}
  for (const [name, tree] of Object.entries(call.inputs)) inputs[name] = yield* loadTree(steps, tree)
  let measured: Actual = {}
  const context: Context = {
    key, keys: step.inputs, seed: call.stage.seeded ? seed + (call.seed ?? 0) : 0, directory,
    // a store that fails fails the run, not the stage's own types: see the catchDefect below
    resume: {
      last: yield* Store.lastSaved(key),
      save: (write) => Effect.provideService(quietly(Store.saveState(key, write)), Store.Store, store) as never
    },
    progress: (done, total, unit) => emit({ _tag: "Progress", ...at, done, total, unit }),
    metric: (name, value) => emit({ _tag: "Metric", ...at, name, value }),
    actual: (more) => Effect.sync(() => { measured = { ...measured, ...more } })
  }
  const result: unknown = yield* call.stage.run(inputs, Schema.decodeUnknownSync(call.stage.options)(call.options), context)
  yield* Effect.uninterruptible(finish(pipeline, step, making, result, measured, seed, started))
  return (Date.now() - started.at) / 1000
})) as Effect.Effect<number, unknown, Store.Store>
const quietly = <A, E, R>(effect: Effect.Effect<A, E | Store.StoreError, R>): Effect.Effect<A, E, R> =>
  Effect.mapError(effect, (error) => { if (error instanceof Store.StoreError) throw error; return error })

const once = (pipeline: string, steps: Steps, step: Plan.Step, seed: number, fresh: boolean) => {
  const at = { stage: step.stage, key: step.key }
  const attempted = work(pipeline, steps, step, seed).pipe(
    Effect.catchDefect((defect) => defect instanceof Store.StoreError ? Effect.fail(defect) : Effect.die(defect)),
    Effect.withSpan(`stage ${step.stage}`, { attributes: { key: step.key } })
  )
  return Effect.andThen(fresh ? Store.forgetState(step.key) : Effect.void, emit({ _tag: "Started", ...at })).pipe(
    Effect.andThen(Effect.catchIf(attempted, (error) => tagged(error, "DeviceLost"), (error) => Effect.andThen(emit({ _tag: "Retried", ...at, problem: message(error) }), attempted))),
    Effect.flatMap((seconds) => emit({ _tag: "Finished", ...at, seconds })),
    Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void
      : emit({ _tag: "Failed", ...at, interrupted: Cause.hasInterruptsOnly(exit.cause), problem: message(Cause.squash(exit.cause)) }))
  )
}

/** Computes the steps that are to do. */
const compute = (pipeline: string, steps: Steps, options: Options) => Effect.gen(function*() {
  const { root } = yield* Store.Store
  const seed = yield* Plan.Seed, limits = yield* Plan.Limits, fresh = options.fresh === true
  // equal content at two paths is one key under two ids: it is computed once
  const byKey = new Map<string, Plan.Step>()
  for (const step of steps.values()) if (step.status !== "not needed" && !byKey.has(step.key)) byKey.set(step.key, step)
  const host = yield* Semaphore.make(limits.hostBytes), device = yield* Semaphore.make(limits.deviceBytes)
  const done = new Map<string, Deferred.Deferred<boolean>>()
  for (const key of byKey.keys()) done.set(key, yield* Deferred.make<boolean>())
  const failures: Array<Cause.Cause<unknown>> = []

  const one = (step: Plan.Step) => Effect.gen(function*() {
    const { key, stage, cost } = step, finished = done.get(key)!
    if (step.cached) yield* emit({ _tag: "Cached", stage, key })
    else {
      for (const input of before(step.call)) {
        const { key: inputKey, stage: because } = steps.get(input.id)!
        if (yield* Deferred.await(done.get(inputKey)!)) continue
        yield* emit({ _tag: "Skipped", stage, key, because: `${because} failed` })
        return yield* Deferred.succeed(finished, false)
      }
      const permitted = <A, E, R>(effect: Effect.Effect<A, E, R>) => options.concurrency === undefined || options.concurrency <= 1 ? effect
        // always in this order, so that the two cannot deadlock; the plan has shown that each request fits
        : host.withPermits(cost.hostBytes ?? 0)(device.withPermits(cost.deviceBytes ?? 0)(effect))
      // another run of this process may be at it: then its result is awaited
      const mine = Effect.flatMap(fresh ? Effect.undefined : Store.kept(key), (found) => found === undefined ? once(pipeline, steps, step, seed, fresh) : emit({ _tag: "Cached", stage, key }))
      const exit = yield* Effect.exit(permitted(Lock.inTurn(Store.resultFolder(root, key))(mine)))
      if (Exit.isFailure(exit)) {
        if (options.keepGoing !== true || Cause.hasInterrupts(exit.cause)) return yield* Effect.failCause(exit.cause)
        failures.push(exit.cause)
        return yield* Deferred.succeed(finished, false)
      }
    }
    return yield* Deferred.succeed(finished, true)
  })
  yield* Effect.forEach(byKey.values(), one, { concurrency: Math.max(1, options.concurrency ?? 1), discard: true })
  if (failures.length > 0) return yield* Effect.failCause(failures[0]!)
})

/** Runs a pipeline's outputs; the types are put on by `Pipeline.run`. */
export const run = (pipeline: string, outputs: Outputs, options: Options): Effect.Effect<unknown, unknown, Store.Store> => Effect.gen(function*() {
  const { root } = yield* Store.Store
  let steps = yield* Plan.walk(outputs, options)
  const missing = () => [...steps.values()].some((step) => step.status === "to do")
  const inLock: Effect.Effect<void, unknown, Store.Store | Scope.Scope> = Effect.gen(function*() {
    // swept before another run of this process shares the lock: what that run is writing is no leftover
    yield* Effect.catchTag(Lock.acquire(root, Store.sweep), "FileError", (error) => Effect.fail(new Store.StoreError({ root, problem: error.message, cause: error })))
    // what another process has made meanwhile
    for (const step of steps.values()) if (options.fresh !== true && step.status === "to do" && (yield* Store.kept(step.key)) !== undefined) {
      steps = yield* Plan.walk(outputs, options)
      break
    }
    yield* compute(pipeline, steps, options)
  })
  // a store in which everything is kept is only read: it may be read-only
  yield* missing() ? Effect.scoped(inLock) : compute(pipeline, steps, options)
  const values = new Map<Any, unknown>()
  for (const node of leaves(outputs)) if (!values.has(node)) values.set(node, yield* load(steps, node))
  return mapLeaves(outputs, (node) => values.get(node))
})
