/**
 * The device that runs programs: a service, so that stages name what they need and the pipeline's caller chooses it. Every device takes
 * the same programs; no stage asks which one it has.
 */
import { Context, type Effect, Schema, type Scope } from "effect"
import type { Program } from "./Recording.ts"
import type { Tensor } from "./Tensor.ts"

/** The device failed or cannot do what was asked. `DeviceLost` work is retried once on a fresh device. */
export class DeviceError extends Schema.TaggedError<DeviceError>()("DeviceError", { device: Schema.String, doing: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `${this.device}: ${this.doing}: ${this.problem}. ${this.remedy}` }
}
export class DeviceLost extends Schema.TaggedError<DeviceLost>()("DeviceLost", { device: Schema.String, problem: Schema.String }) {
  override get message() { return `${this.device} was lost: ${this.problem}. The stage is retried once on a fresh device; unsaved steps are computed again.` }
}
export type Failure = DeviceError | DeviceLost

/** What an arena has measured so far, summed over replicas. */
export interface Stats {
  /** Bytes held now, and the most ever held at once, kept and scratch together. */
  readonly liveBytes: number
  readonly peakBytes: number
  /** Floating-point operations of the steps executed (grouped products by the rows they really had). */
  readonly flops: number
  readonly submissions: number
}

/** Memory of one scope on the device: kept tensors and the scratch of the programs run in it. Closed with its scope, nothing to dispose. */
export interface Arena {
  /** Writes a tensor: shape's length of numbers, or replicas × that when it is sharded (replica 0's rows first). */
  readonly upload: (tensor: Tensor, data: Float32Array | Float64Array | Uint32Array) => Effect.Effect<void, Failure>
  /** Runs the program once, after everything submitted before it. */
  readonly submit: (program: Program) => Effect.Effect<void, Failure>
  /** The numbers of a kept tensor, after everything submitted before; a sharded one is concatenated along axis 0. Float64Array only on a device of that precision. */
  readonly read: (tensor: Tensor) => Effect.Effect<Float32Array | Float64Array | Uint32Array, Failure>
  /** Gives the memory of kept tensors back before the scope ends. */
  readonly free: (tensors: ReadonlyArray<Tensor>) => Effect.Effect<void, Failure>
  readonly stats: Effect.Effect<Stats, Failure>
}

export interface Service {
  /** "host", "gpu" or "software". */
  readonly name: string
  /** What the device says of itself: adapter, driver or processor, workers. Part of the provenance. */
  readonly adapter: string
  /** How many replicas run each program: record with `{ replicas }`, give each `rows / replicas` of the batch. */
  readonly replicas: number
  /** The largest single buffer, in bytes. */
  readonly largestBuffer: number
  readonly arena: Effect.Effect<Arena, Failure, Scope.Scope>
  /** Bytes of scratch that one replica holds for a program, where the device places it in a way of its own; others place it as the program says. */
  readonly scratchBytes?: (program: Program) => number
}
export class Device extends Context.Service<Device, Service>()("@switchyard/gpu/Device") {}

export { host } from "./host/host.ts"
export { plain } from "./host/plain.ts"
export { count } from "./count.ts"
export { planned } from "./planned.ts"
export { auto, byName } from "./webgpu/auto.ts"
export { gpu } from "./webgpu/gpu.ts"
export { software } from "./webgpu/software.ts"
