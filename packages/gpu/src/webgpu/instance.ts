/// <reference types="@webgpu/types" preserve="true" />
/**
 * Dawn's entry point, opened once for each driver search and kept for the life of the process: an instance that is collected while a tick is
 * pending takes the process with it. Pinned on the native module's own `globals`, which outlives test runners' VM contexts.
 */
export type Drivers = "system" | "swiftshader"
type Slots = Record<symbol, GPU | undefined>

/** The instance that looks for these drivers. Rejects where there is no Dawn binary for the platform. */
export const instance = async (drivers: Drivers): Promise<GPU> => {
  // Imported late: a machine without a Dawn binary must still be able to import the host device.
  const { create, globals } = await import("webgpu")
  const slots = globals as unknown as Slots, key = Symbol.for(`@switchyard/gpu/instance/${drivers}`)
  return slots[key] ??= create([])
}

/** Adapter in words: what it says of itself, without empty parts. */
export const describe = ({ info }: GPUAdapter): string =>
  [info.vendor, info.architecture, info.device, info.description].filter((part) => part !== "").join(" ")

/** Whether an adapter runs on the processor. */
export const isSoftware = (adapter: GPUAdapter): boolean =>
  adapter.info.isFallbackAdapter || /swiftshader|llvmpipe|lavapipe|softpipe|basic render|\bwarp\b/i.test(describe(adapter))
