/** What a program will cost on the device at hand: `count`, with scratch as that device places it. Without a device, as the program says. */
import { Effect, Option } from "effect"
import { count, type Count } from "./count.ts"
import { Device } from "./Device.ts"
import type { Program } from "./Recording.ts"

/** Needs no device: it asks whether there is one. Units and fields: as `count`. */
export const planned = (program: Program): Effect.Effect<Count> => Effect.map(Effect.serviceOption(Device), (device) => {
  const counted = count(program), scratch = Option.isSome(device) ? device.value.scratchBytes?.(program) : undefined
  const slabs = program.placement.slabs.reduce((sum, length) => sum + 4 * length, 0)
  return scratch === undefined ? counted : { ...counted, deviceBytes: counted.deviceBytes + program.replicas * (scratch - slabs) }
})
