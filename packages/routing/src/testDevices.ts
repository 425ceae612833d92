/** The devices that every test of an executor runs on, opened once for a suite and closed after it. For tests. */
import { afterAll, beforeAll, describe, jest } from "@jest/globals"
import { Device, plainDevice } from "@switchyard/gpu"
import { Context, Effect, Exit, Layer, Scope } from "effect"

jest.setTimeout(60_000) // the software device compiles each kernel when it first meets it

const layers: Readonly<Record<string, () => Layer.Layer<Device.Device, Device.Failure>>> = {
  "plain, f64": () => Layer.succeed(Device.Device, Device.Device.of(plainDevice({ precision: "f64" }))),
  "plain, f32": () => Device.plain(),
  host: () => Device.host({ workers: 0 }),
  software: () => Device.software()
}

/** A suite for each device; `precise` is true where numbers are f64. */
export const onEachDevice = (suite: (device: () => Device.Service, precise: boolean) => void): void => {
  for (const [name, layer] of Object.entries(layers)) {
    describe(`on device ${name}`, () => {
      const scope = Effect.runSync(Scope.make())
      let service: Device.Service | undefined
      beforeAll(async () => { service = Context.get(await Effect.runPromise(Layer.buildWithScope(layer(), scope)), Device.Device) }, 60_000)
      afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
      suite(() => service!, name === "plain, f64")
    })
  }
}
