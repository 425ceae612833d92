/**
 * The state of a training run between two steps, as files: parameters, both moments and corrections (safetensors, f32: the same bits come back), the number
 * of steps done, and the log so far. Random state and data position need no file: both are functions of the seed and the step.
 */
import { File, Safetensors, Table, Tables, Weights } from "@switchyard/core"
import type { AdamW, Device, Tensor } from "@switchyard/gpu"
import { Effect, Schema } from "effect"
import { join } from "node:path"

export type LogRow = Table.Row<Tables.TrainLog>
/** What learns, in order, with the optimizer's moments, and what moves beside it, by name. */
export interface Learning { readonly names: ReadonlyArray<string>; readonly parameters: ReadonlyArray<Tensor.Tensor>; readonly optimizer: AdamW.State; readonly corrections: ReadonlyMap<string, Tensor.Tensor> }

const Counts = Schema.Struct({ version: Schema.Literal(1), step: Schema.Int, flops: Schema.Finite, names: Schema.Array(Schema.String) })

/** The saved state of a training stage cannot be used: which folder, why, what to do. */
export class TrainStateError extends Schema.TaggedError<TrainStateError>()("TrainStateError", { folder: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `saved training state in ${this.folder}: ${this.problem}. Remedy: ${this.remedy}.` }
}

const parts = ({ corrections, names, optimizer, parameters }: Learning): ReadonlyMap<string, Tensor.Tensor> => new Map([
  ...names.flatMap((name, at) => [[`parameter/${name}`, parameters[at]!], [`first/${name}`, optimizer.first[at]!], [`second/${name}`, optimizer.second[at]!]] as const),
  ...[...corrections].map(([name, tensor]) => [`parameter/${name}`, tensor] as const)
])
/** The names of all that moves: what a saved state must have been of. */
const moving = ({ corrections, names }: Learning): ReadonlyArray<string> => [...names, ...corrections.keys()]

/** The numbers of one moment of a run, off the device. `flops`: done by all the processes that brought it here. */
export interface Snapshot { readonly step: number; readonly flops: number; readonly values: ReadonlyMap<string, Float32Array> }

/** Reads the state after `step` steps; `before` are the operations of earlier processes. */
export const snapshot = (arena: Device.Arena, learning: Learning, step: number, before: number): Effect.Effect<Snapshot, Device.Failure> => Effect.gen(function*() {
  const values = new Map<string, Float32Array>()
  for (const [name, tensor] of parts(learning)) {
    const data = yield* arena.read(tensor)
    values.set(name, data instanceof Float32Array ? data : Float32Array.from(data))
  }
  return { step, flops: before + (yield* arena.stats).flops, values }
})
/** Puts it back. */
export const put = (arena: Device.Arena, learning: Learning, { values }: Snapshot): Effect.Effect<void, Device.Failure> =>
  Effect.forEach(parts(learning), ([name, tensor]) => arena.upload(tensor, values.get(name)!), { discard: true })

/** Writes a snapshot and the log so far into an empty folder. */
export const save = (folder: string, learning: Learning, { flops, step, values }: Snapshot, log: ReadonlyArray<LogRow>) => Effect.gen(function*() {
  yield* Safetensors.write(join(folder, "state.safetensors"), [...parts(learning)].map(([name, { shape }]) => ({ name, shape, dtype: "F32" as const })), (name) => Effect.succeed(values.get(name)!))
  yield* Table.write(yield* Table.fromRows(Tables.TrainLog, log), join(folder, "log.arrow"))
  yield* File.writeJson(join(folder, "state.json"), { version: 1, step, flops, names: moving(learning) })
})

/** Reads a saved state. Gives the snapshot and its log. Fails: TrainStateError when the state is of other parameters. */
export const load = (folder: string, learning: Learning) => Effect.gen(function*() {
  const wrong = (problem: string) => new TrainStateError({ folder, problem, remedy: "remove the folder: the stage then starts again" })
  const { flops, names, step } = yield* Effect.mapError(Schema.decodeUnknownEffect(Counts)(yield* File.readJson(join(folder, "state.json"))), (error) => wrong(error.message))
  if (names.join() !== moving(learning).join()) return yield* wrong("it holds other parameters than those that learn")
  const weights = yield* Weights.fromFile(join(folder, "state.safetensors")), values = new Map<string, Float32Array>()
  for (const [name, { shape }] of parts(learning)) {
    if (weights.infos.get(name)?.shape.join() !== shape.join()) return yield* wrong(`${name} is not of shape [${shape.join(", ")}]`)
    values.set(name, yield* weights.read(name))
  }
  return { snapshot: { step, flops, values } as Snapshot, log: Table.rows(yield* Table.read(Tables.TrainLog, join(folder, "log.arrow"))) }
})
