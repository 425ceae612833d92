/**
 * `Device.host`: the processor as a device. Data-parallel replicas, one in each worker thread (or a single one in this thread), each with
 * its own arena and its own share of the batch; docs/architecture.md says what a replica is.
 */
import { cpus } from "node:os"
import { Effect, Layer, type Scope, Semaphore } from "effect"
import { crossing } from "../crossings.ts"
import { Device, DeviceError, DeviceLost, type Arena, type Failure, type Service, type Stats } from "../Device.ts"
import type { Program } from "../Recording.ts"
import type { Tensor } from "../Tensor.ts"
import { layoutOf } from "./layout.ts"
import { onnxProducts } from "./onnxProducts.ts"
import { plainDevice } from "./plain.ts"
import { makeReplica, OutOfMemory, type KernelTime } from "./Replica.ts"
import { defaultWorkers, openWorkers, WorkerLost, type Workers } from "./workers.ts"

export interface HostOptions {
  /** Worker threads, each one replica; 0 runs one replica in this thread. As many as processors, at most eight, unless given. */
  readonly workers?: number
  /** "f64" is the plain device of one replica in double precision: slow, for checking gradients. */
  readonly precision?: "f32" | "f64"
  /** False leaves onnxruntime-node out though it is installed. */
  readonly onnxRuntime?: boolean
  /** What the device says that one buffer may hold, in bytes; larger weights and logits lie in parts. All of the arena unless given. */
  readonly largestBuffer?: number
  /** Measures every kernel; `stats` then has a `profile`. */
  readonly profile?: boolean
}
/** What a host arena's `stats` give: with `profile: true`, milliseconds and calls of each kernel (matrix products by shape) in the first replica. */
export interface HostStats extends Stats { readonly profile: Readonly<Record<string, KernelTime>> }

/** The largest arena a WebAssembly memory can be. */
const largestArena = 2 ** 32

const failure = (doing: string) => (cause: unknown): Failure => {
  if (cause instanceof OutOfMemory) return new DeviceError({ device: "host", doing, problem: cause.message, remedy: "Use a smaller batch, fewer workers, or free tensors that are no longer needed." })
  if (cause instanceof WorkerLost) return new DeviceLost({ device: "host", problem: cause.message })
  throw cause
}
const attempt = <A>(doing: string, evaluate: () => A | Promise<A>): Effect.Effect<A, Failure> =>
  Effect.tryPromise({ try: async () => evaluate(), catch: (cause) => cause }).pipe(Effect.catch((cause) => Effect.suspend(() => Effect.fail(failure(doing)(cause)))))

const checkLength = (tensor: Tensor, replicas: number, length: number): DeviceError | undefined => {
  const expected = tensor.slot.length * (tensor.slot.sharded ? replicas : 1)
  return length === expected ? undefined : new DeviceError({
    device: "host", doing: `upload ${tensor.slot.label}`, problem: `${length} numbers for shape [${tensor.shape.join(", ")}]${tensor.slot.sharded ? ` on each of ${replicas} replicas` : ""}`, remedy: `Give ${expected} numbers.`
  })
}
const checkReplicas = (program: Program, replicas: number): void => {
  if (program.replicas !== replicas) throw new Error(`program ${program.id} was recorded for ${program.replicas} replicas, the device has ${replicas}: record with { replicas: device.replicas }`)
}

/** The arena until its scope is closed: a call after that fails, as on every device, instead of finding memory without its numbers. */
const whileOpen = (arena: Effect.Effect<Arena, Failure, Scope.Scope>): Effect.Effect<Arena, Failure, Scope.Scope> => Effect.gen(function*() {
  const opened = yield* arena
  let open = true
  yield* Effect.addFinalizer(() => Effect.sync(() => { open = false }))
  const only = <A>(doing: string, call: Effect.Effect<A, Failure>): Effect.Effect<A, Failure> => Effect.suspend(() => open ? call
    : Effect.fail(new DeviceError({ device: "host", doing, problem: "the arena's scope was closed", remedy: "Use an arena inside its scope only." })))
  return {
    upload: (tensor, data) => only(`upload ${tensor.slot.label}`, opened.upload(tensor, data)),
    submit: (program) => only("submit", opened.submit(program)),
    read: (tensor) => only(`read ${tensor.slot.label}`, opened.read(tensor)),
    free: (tensors) => only("free", opened.free(tensors)),
    stats: opened.stats
  }
})

const inlineArena = (options: HostOptions): Effect.Effect<Arena, Failure, Scope.Scope> =>
  Effect.acquireRelease(attempt("open an arena", () => makeReplica(options)), (replica) => Effect.sync(() => replica.close())).pipe(Effect.map((replica): Arena => crossing("host", {
    upload: (tensor, data) => {
      const wrong = checkLength(tensor, 1, data.length)
      return wrong ? Effect.fail(wrong) : attempt(`upload ${tensor.slot.label}`, () => replica.upload(tensor.slot, data))
    },
    submit: (program) => attempt("submit", () => { checkReplicas(program, 1); replica.submit(program) }),
    read: (tensor) => attempt(`read ${tensor.slot.label}`, () => replica.read(tensor.slot)),
    free: (tensors) => attempt("free", () => replica.free(tensors.map(({ slot }) => slot))),
    stats: Effect.sync((): HostStats => replica.stats())
  })))

const workerArena = (workers: Workers, options: HostOptions): Effect.Effect<Arena, Failure, Scope.Scope> =>
  Effect.acquireRelease(attempt("open an arena", () => workers.open(options)), (arena) => Effect.promise(() => arena.close())).pipe(Effect.map((arena): Arena => crossing("host", {
    upload: (tensor, data) => {
      const wrong = checkLength(tensor, workers.count, data.length)
      return wrong ? Effect.fail(wrong) : attempt(`upload ${tensor.slot.label}`, () => arena.upload(tensor.slot, data))
    },
    submit: (program) => attempt("submit", () => { checkReplicas(program, workers.count); return arena.submit(program) }),
    read: (tensor) => attempt(`read ${tensor.slot.label}`, () => arena.read(tensor.slot)),
    free: (tensors) => attempt("free", () => arena.free(tensors.map(({ slot }) => slot))),
    stats: attempt("stats", async (): Promise<HostStats> => arena.stats())
  })))

const describe = (options: HostOptions, workers: number): string => {
  const version = options.onnxRuntime === false ? undefined : onnxProducts()?.version
  return `${cpus()[0]?.model.trim() ?? "processor"}, ${workers === 0 ? "this thread" : `${workers} workers`}, ${version === undefined ? "plain" : `onnxruntime-node ${version}`}`
}

const places = (options: HostOptions) => ({ scratchBytes: (program: Program) => layoutOf(program, options.onnxRuntime !== false && onnxProducts() !== undefined).bytes })

/** The device itself; closes its workers with the scope. Fails: DeviceError when a worker does not start. */
export const hostDevice = (options: HostOptions = {}): Effect.Effect<Service, Failure, Scope.Scope> => {
  const { precision = "f32", workers = defaultWorkers() } = options
  if (precision === "f64") return Effect.sync(() => ({ ...plainDevice({ precision }), name: "host" }))
  if (workers === 0) return Effect.sync(() => ({ name: "host", adapter: describe(options, 0), replicas: 1, largestBuffer: options.largestBuffer ?? largestArena, arena: whileOpen(inlineArena(options)), ...places(options) }))
  const start = Effect.tryPromise({
    try: () => openWorkers(workers),
    catch: (cause) => new DeviceError({ device: "host", doing: `start ${workers} workers`, problem: String(cause), remedy: "Ask for { workers: 0 } to run in this thread." })
  })
  return Effect.acquireRelease(Effect.map(start, (opened) => ({ opened, turn: Semaphore.makeUnsafe(1) })), (held) => Effect.promise(() => held.opened.close())).pipe(Effect.map((held): Service => {
    // where one has died, the next arena has fresh ones: a stage can be begun again
    const living = Effect.uninterruptible(Semaphore.withPermit(held.turn)(Effect.suspend(() => held.opened.lost() ? Effect.tap(start, (fresh) => Effect.sync(() => { held.opened = fresh })) : Effect.succeed(held.opened))))
    return { name: "host", adapter: describe(options, workers), replicas: workers, largestBuffer: options.largestBuffer ?? largestArena, arena: whileOpen(Effect.flatMap(living, (opened) => workerArena(opened, options))), ...places(options) }
  }))
}
/**
 * The processor as a device.
 *
 * Options: workers (0 = this thread), precision, onnxRuntime, profile. Fails: DeviceError when a worker does not start.
 */
export const host = (options: HostOptions = {}): Layer.Layer<Device, Failure> => Layer.effect(Device, Effect.map(hostDevice(options), (service) => Device.of(service)))
