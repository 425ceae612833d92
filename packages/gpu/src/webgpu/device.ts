/// <reference types="@webgpu/types" preserve="true" />
/**
 * A WebGPU device behind the `Device` service: limits, pipelines made once, errors typed, loss remembered. An arena of a lost device fails for
 * good; the next arena opens a fresh device, so a stage can be retried by opening its arena again.
 */
import { Effect, type Scope, Semaphore } from "effect"
import { DeviceError, DeviceLost, type Failure, type Service } from "../Device.ts"
import type { Any, Binding } from "../Kernel.ts"
import { makeArena } from "./arena.ts"
import { type Forms, formsOf } from "./forms.ts"
import { describe, isSoftware } from "./instance.ts"
import { moduleOf } from "./prelude.ts"
import { quadsAreNeighbours } from "./quads.ts"

/** One opened device. */
export interface Live {
  readonly name: string
  readonly device: GPUDevice
  readonly forms: Forms
  readonly largestBuffer: number
  readonly pipelines: Map<string, Promise<GPUComputePipeline>>
  /** One submission, upload or read at a time, in the order asked for. */
  readonly turn: Semaphore.Semaphore
  /** Why it was lost, once it was. */
  lost: string | undefined
  /** An error that no scope caught, told by the next call. */
  problem: string | undefined
}
export interface Options {
  /** Refuses tensors above this many bytes; the adapter's own limit where that is smaller. */
  readonly largestBuffer?: number | undefined
  /** Features left alone although the adapter has them: its kernels' other forms run instead. */
  readonly without?: ReadonlyArray<"subgroups"> | undefined
}
export interface Opened { readonly service: Service; /** Loses the device, as a driver reset would. */ readonly destroyDevice: () => void }

const asked = ["maxBufferSize", "maxStorageBufferBindingSize", "maxStorageBuffersPerShaderStage", "minUniformBufferOffsetAlignment"] as const
const wanted: ReadonlyArray<GPUFeatureName> = ["subgroups"]

const open = (name: string, adapter: GPUAdapter, options: Options): Effect.Effect<Live, DeviceError> =>
  Effect.tryPromise({
    try: async (): Promise<Live> => {
      const requiredLimits = Object.fromEntries(asked.map((limit) => [limit, adapter.limits[limit]]))
      const requiredFeatures = wanted.filter((feature) => adapter.features.has(feature) && !(options.without ?? []).some((left) => left === feature))
      const device = await adapter.requestDevice({ requiredLimits, requiredFeatures, label: name })
      const quads = device.features.has("subgroups") && await quadsAreNeighbours(device)
      const live: Live = {
        name, device, forms: formsOf(quads, isSoftware(adapter)), pipelines: new Map(), turn: Semaphore.makeUnsafe(1), lost: undefined, problem: undefined,
        largestBuffer: Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize, options.largestBuffer ?? Infinity)
      }
      void device.lost.then(({ message, reason }) => live.lost ??= message || reason || "no reason given")
      device.addEventListener("uncapturederror", (event) => { event.preventDefault(); live.problem ??= event.error.message })
      return live
    },
    catch: (cause) => new DeviceError({ device: name, doing: "open the device", problem: textOf(cause), remedy: "Update the graphics driver, or use --device host." })
  })

/** An error in words. */
export const textOf = (cause: unknown): string => cause instanceof Error ? cause.message : String((cause as { message?: unknown } | null)?.message ?? cause)

/** A failed call in its typed form: a lost device when it is that, after giving the loss a moment to be told. */
export const failureOf = async (live: Live, doing: string, cause: unknown): Promise<Failure> => {
  if (live.lost === undefined) await Promise.race([live.device.lost, new Promise((resolve) => { setTimeout(resolve, 20) })])
  if (live.lost !== undefined) return new DeviceLost({ device: live.name, problem: live.lost })
  if (cause instanceof DeviceError) return cause
  const memory = /memory/i.test(textOf(cause))
  return new DeviceError({
    device: live.name, doing, problem: textOf(cause),
    remedy: memory ? "Make the batch smaller, or use a device with more memory." : "This is likely a fault of the kernel or the driver: report it with this message, and use --device host meanwhile."
  })
}

/** A kernel's pipeline, compiled at its first use. */
export const pipelineOf = (live: Live, kernel: Any): Promise<GPUComputePipeline> => {
  let pipeline = live.pipelines.get(kernel.name)
  if (pipeline === undefined) {
    pipeline = compile(live, kernel)
    live.pipelines.set(kernel.name, pipeline)
    pipeline.catch(() => live.pipelines.delete(kernel.name)) // the next use tries again
  }
  return pipeline
}

const visibility = 4 // GPUShaderStage.COMPUTE
const compile = async ({ device, forms, name }: Live, kernel: Any): Promise<GPUComputePipeline> => {
  const label = kernel.name as string
  const bindings = Object.values(kernel.bindings as Record<string, Binding>)
  const limit = device.limits.maxStorageBuffersPerShaderStage
  if (bindings.length > limit) throw new DeviceError({ device: name, doing: `compile kernel ${label}`, problem: `${bindings.length} bindings, the adapter allows ${limit}`, remedy: "Use --device host." })
  try {
    const code = await moduleOf(kernel, forms)
    device.pushErrorScope("validation")
    const layout = device.createBindGroupLayout({ label, entries: [
      { binding: 0, visibility, buffer: { type: "uniform" } },
      ...bindings.map(({ access }, at): GPUBindGroupLayoutEntry => ({ binding: at + 1, visibility, buffer: { type: access === "read" ? "read-only-storage" : "storage" } }))
    ] })
    const module = device.createShaderModule({ label, code })
    const made = device.createComputePipelineAsync({ label, layout: device.createPipelineLayout({ label, bindGroupLayouts: [layout] }), compute: { module, entryPoint: "main" } })
    const [problem, pipeline] = await Promise.all([device.popErrorScope(), made.then((value) => ({ value }), (cause: unknown) => ({ cause }))])
    if (problem !== null) throw new Error(problem.message)
    if ("cause" in pipeline) throw pipeline.cause
    return pipeline.value
  } catch (cause) {
    throw new DeviceError({ device: name, doing: `compile kernel ${label}`, problem: textOf(cause), remedy: "Check the kernel's WGSL (docs/adding-a-kernel.md)." })
  }
}

/** The service of an adapter. `find` is asked again after a loss: an adapter gives one device only. */
export const openDevice = (name: string, find: Effect.Effect<GPUAdapter, DeviceError>, options: Options = {}): Effect.Effect<Opened, DeviceError, Scope.Scope> =>
  Effect.gen(function*() {
    const adapter = yield* find
    let live = yield* open(name, adapter, options)
    yield* Effect.addFinalizer(() => Effect.sync(() => { live.lost ??= "its scope was closed"; live.device.destroy() }))
    const opening = Semaphore.makeUnsafe(1) // arenas that are opened at once share the fresh device
    const current = Effect.uninterruptible(Semaphore.withPermit(opening)(Effect.suspend((): Effect.Effect<Live, DeviceError> => live.lost === undefined ? Effect.succeed(live)
      : Effect.flatMap(find, (again) => Effect.tap(open(name, again, options), (fresh) => Effect.sync(() => { live = fresh }))))))
    const service: Service = { name, adapter: describe(adapter), replicas: 1, largestBuffer: live.largestBuffer, arena: Effect.flatMap(current, makeArena) }
    return { service, destroyDevice: () => { live.lost ??= "destroyed"; live.device.destroy() } }
  })
