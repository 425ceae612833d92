/// <reference types="@webgpu/types" preserve="true" />
/**
 * Dawn's entry point, opened once for each driver search and kept for the life of the process: an instance that is collected while a tick is
 * pending takes the process with it. Pinned on the native module's own `globals`, which outlives test runners' VM contexts.
 */
import { Effect } from "effect"
import { DeviceError } from "../Device.ts"

export type Drivers = "system" | "swiftshader"
type Slots = Record<symbol, GPU | undefined>

/** The instance that looks for these drivers; `before` runs when it is made anew, and its undo afterwards. Fails: no Dawn binary for this platform. */
export const instance = (drivers: Drivers): Effect.Effect<GPU, DeviceError> =>
  Effect.tryPromise({
    // Imported late: a machine without a Dawn binary must still be able to import the host device.
    try: async () => {
      const { create, globals } = await import("webgpu")
      const slots = globals as unknown as Slots, key = Symbol.for(`@switchyard/gpu/instance/${drivers}`)
      return slots[key] ??= create([])
    },
    catch: (cause) => new DeviceError({
      device: "gpu", doing: "load Dawn (npm webgpu)", problem: String(cause instanceof Error ? cause.message : cause),
      remedy: `There may be no Dawn build for ${process.platform}-${process.arch}: use --device host.`
    })
  })

/** Adapter in words: what it says of itself, without empty parts. */
export const describe = ({ info }: GPUAdapter): string =>
  [info.vendor, info.architecture, info.device, info.description].filter((part) => part !== "").join(" ")

/** Whether an adapter runs on the processor. */
export const isSoftware = (adapter: GPUAdapter): boolean =>
  adapter.info.isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|softpipe|basic render|\bwarp\b/i.test(describe(adapter))
