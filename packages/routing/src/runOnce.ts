/** Uploads, records, runs and reads once: for tests. */
import { Device, Op, Recording, type Tensor } from "@switchyard/gpu"
import { Effect } from "effect"

export interface Given { readonly tensor: Tensor.Tensor; readonly data: Float32Array | Float64Array | Uint32Array }

/** The numbers of every tensor that `build` returns, by its name there. */
export const runOnce = <K extends string>(device: Device.Service, given: ReadonlyArray<Given>, build: () => Readonly<Record<K, Tensor.Tensor>>): Promise<Record<K, Float32Array | Float64Array | Uint32Array>> =>
  Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const arena = yield* device.arena
    for (const { data, tensor } of given) yield* arena.upload(tensor, data)
    const program = Recording.record(() => Object.entries<Tensor.Tensor>(build()).map(([name, tensor]) => [name, Op.keep(tensor, name)] as const))
    yield* arena.submit(program)
    const read: Record<string, Float32Array | Float64Array | Uint32Array> = {}
    for (const [name, tensor] of program.outputs) read[name] = yield* arena.read(tensor)
    return read as Record<K, Float32Array | Float64Array | Uint32Array>
  })))
