/** Chooses a device: the graphics processor where there is one, else the host; or one by its name, as the command line gives it. */
import { Effect, Layer } from "effect"
import { Device, DeviceError } from "../Device.ts"
import { host } from "../host/host.ts"
import { gpu, openGpu } from "./gpu.ts"
import { software } from "./software.ts"

const hostOnly = (): Layer.Layer<Device, DeviceError> => Layer.catchTag(host(), "DeviceLost", ({ problem }) =>
  Layer.effect(Device, Effect.fail(new DeviceError({ device: "host", doing: "start the host's workers", problem, remedy: "Use fewer workers." }))))

/** The hardware GPU, else the host; the log says which and why. Never a software adapter. */
export const auto = (): Layer.Layer<Device, DeviceError> =>
  Layer.unwrap(Effect.matchEffect(openGpu(), {
    onSuccess: ({ service }) => Effect.as(Effect.logInfo(`device: gpu, ${service.adapter}`), Layer.succeed(Device, Device.of(service))),
    onFailure: ({ problem }) => Effect.as(Effect.logInfo(`device: host, since there is no graphics processor to use: ${problem}`), hostOnly())
  }))

export const names = ["auto", "gpu", "host", "software"] as const
export type Name = (typeof names)[number]

/** The device of a name, `--device`. Fails: no such name. */
export const byName = (name: string): Layer.Layer<Device, DeviceError> => {
  switch (name) {
    case "auto": return auto()
    case "gpu": return gpu()
    case "host": return hostOnly()
    case "software": return software()
    default: return Layer.effect(Device, Effect.fail(new DeviceError({ device: name, doing: "choose a device", problem: "there is no device of that name", remedy: `Use one of ${names.join(", ")}.` })))
  }
}
