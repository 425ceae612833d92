/** The devices that executors are tested on. For tests. */
import { Device, plainDevice } from "@switchyard/gpu"
import { Context, Effect, Exit, Layer, Scope } from "effect"

/** `precise`: numbers are f64. */
export const devices: ReadonlyArray<{ readonly name: string; readonly precise: boolean; readonly layer: () => Layer.Layer<Device.Device, Device.Failure> }> = [
  { name: "plain, f64", precise: true, layer: () => Layer.succeed(Device.Device, Device.Device.of(plainDevice({ precision: "f64" }))) },
  { name: "plain, f32", precise: false, layer: () => Device.plain() },
  { name: "host", precise: false, layer: () => Device.host({ workers: 0 }) },
  { name: "software", precise: false, layer: () => Device.software() }
]

/** Opens a device for a suite of tests. */
export const openDevice = async (layer: Layer.Layer<Device.Device, Device.Failure>): Promise<{ readonly device: Device.Service; readonly close: () => Promise<void> }> => {
  const scope = Effect.runSync(Scope.make())
  return { device: Context.get(await Effect.runPromise(Layer.buildWithScope(layer, scope)), Device.Device), close: () => Effect.runPromise(Scope.close(scope, Exit.void)) }
}
