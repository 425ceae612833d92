/// <reference types="@webgpu/types" preserve="true" />
/** Dawn on SwiftShader: slow, everywhere, and asked for by name only. Tests of the WGSL kernels run on it. */
import { Effect, Layer, type Scope } from "effect"
import { Device, DeviceError } from "../Device.ts"
import { openDevice, type Opened, type Options, textOf } from "./device.ts"
import { instance } from "./instance.ts"
import { loadVulkan, swiftshaderFolder, withSwiftshader } from "./swiftshader.ts"

const adapter = Effect.gen(function*() {
  const remedy = "Run `npm install --save-dev @sparticuz/chromium` (Linux x64), or use --device host."
  const failed = (doing: string) => (cause: unknown) => new DeviceError({ device: "software", doing, problem: textOf(cause), remedy })
  if (process.platform !== "linux" || process.arch !== "x64") return yield* failed("find SwiftShader")(`there is none for ${process.platform}-${process.arch}`)
  const folder = yield* Effect.tryPromise({ try: () => swiftshaderFolder(), catch: failed("unpack SwiftShader") })
  if (!loadVulkan(folder)) return yield* failed("load a Vulkan loader")(`${folder} has one that does not load`)
  const found = yield* Effect.tryPromise({
    try: () => withSwiftshader(folder, async () => (await instance("swiftshader")).requestAdapter()),
    catch: failed("find SwiftShader")
  })
  return found ?? (yield* failed("find SwiftShader")(`the Vulkan loader shows no adapter for ${folder}`))
})

/** The device with its hook for losing it, for tests. */
export const openSoftware = (options: Options = {}): Effect.Effect<Opened, DeviceError, Scope.Scope> => openDevice("software", adapter, options)

/** SwiftShader, out of the development dependency @sparticuz/chromium. Fails: it is not installed, or this is not Linux x64. */
export const software = (options: Options = {}): Layer.Layer<Device, DeviceError> => Layer.effect(Device, Effect.map(openSoftware(options), ({ service }) => Device.of(service)))
