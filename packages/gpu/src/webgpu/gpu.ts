/// <reference types="@webgpu/types" preserve="true" />
/** Dawn on the machine's graphics hardware: Vulkan, Metal or Direct3D 12. Adapters that run on the processor are refused: the host device is faster. */
import { Effect, Layer, type Scope } from "effect"
import { Device, DeviceError } from "../Device.ts"
import { openDevice, type Opened, type Options, textOf } from "./device.ts"
import { describe, instance, isSoftware } from "./instance.ts"
import { systemHasVulkan } from "./swiftshader.ts"

const remedy = "Install or update the graphics driver, or use --device host."
const failed = (problem: string) => new DeviceError({ device: "gpu", doing: "find a graphics processor", problem, remedy })

/** The first hardware adapter among those offered. Fails: none, with what was found instead. */
export const hardware = (offered: ReadonlyArray<GPUAdapter | null>): Effect.Effect<GPUAdapter, DeviceError> => {
  const found = offered.filter((adapter) => adapter !== null)
  const adapter = found.find((candidate) => !isSoftware(candidate))
  if (adapter !== undefined) return Effect.succeed(adapter)
  const names = [...new Set(found.map(describe))]
  return Effect.fail(failed(names.length === 0 ? "no adapter at all" : `only adapters that run on the processor: ${names.join(", ")}`))
}

const adapter = Effect.gen(function*() {
  if (!systemHasVulkan()) return yield* failed("no Vulkan loader (libvulkan.so.1) on this system")
  const offered = yield* Effect.tryPromise({
    try: async () => {
      const gpu = await instance("system")
      return [await gpu.requestAdapter({ powerPreference: "high-performance" }), await gpu.requestAdapter()]
    },
    catch: (cause) => failed(textOf(cause))
  })
  return yield* hardware(offered)
})

/** The device with its hook for losing it, for tests. */
export const openGpu = (options: Options = {}): Effect.Effect<Opened, DeviceError, Scope.Scope> => openDevice("gpu", adapter, options)

/** The graphics processor. Fails: there is none, or its driver offers no adapter. */
export const gpu = (options: Options = {}): Layer.Layer<Device, DeviceError> => Layer.effect(Device, Effect.map(openGpu(options), ({ service }) => Device.of(service)))
