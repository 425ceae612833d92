/**
 * Lazy tensors by canonical name: nothing is read before it is asked for, and then only the rows that were asked for.
 *
 * Weights come from files, from memory, or from other weights renamed, overlaid or selected; a consumer cannot tell which.
 */
import { Effect, Schema } from "effect"
import type { Dtype } from "./Dtype.ts"
import * as Safetensors from "./Safetensors.ts"

/** What is known of a tensor without reading it: the dtype it is stored in, and its shape. */
export interface TensorInfo {
  readonly dtype: Dtype
  readonly shape: ReadonlyArray<number>
}

/** Rows `from` … `to` − 1 of a tensor's first axis. */
export interface Rows {
  readonly from: number
  readonly to: number
}

export interface Weights {
  readonly infos: ReadonlyMap<string, TensorInfo>
  readonly read: (name: string, rows?: Rows) => Effect.Effect<Float32Array, WeightsError>
}

/** A tensor could not be read. */
export class WeightsError extends Schema.TaggedError<WeightsError>()("WeightsError", {
  tensor: Schema.String,
  problem: Schema.String,
  remedy: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message() { return `tensor ${JSON.stringify(this.tensor)}: ${this.problem}. Remedy: ${this.remedy}.` }
}

/** Numbers in one row of a tensor's first axis; a scalar is one row. */
export const rowLength = (shape: ReadonlyArray<number>): number => shape.slice(1).reduce((product, axis) => product * axis, 1)

/** Weights whose `read` is called only with a known name and with rows inside the tensor. Fails: dies when it gives a wrong number of values. */
export const make = (
  infos: ReadonlyMap<string, TensorInfo>,
  read: (name: string, rows: Rows, info: TensorInfo) => Effect.Effect<Float32Array, WeightsError>
): Weights => ({
  infos,
  read: (name, asked) => {
    const info = infos.get(name)
    if (info === undefined) {
      return Effect.fail(new WeightsError({ tensor: name, problem: `there is no such tensor among ${infos.size}`, remedy: `the nearest name is ${JSON.stringify(nearest(name, infos.keys()))}` }))
    }
    const all = info.shape[0] ?? 1, rows = asked ?? { from: 0, to: all }
    if (!(Number.isInteger(rows.from) && Number.isInteger(rows.to) && 0 <= rows.from && rows.from <= rows.to && rows.to <= all)) {
      return Effect.fail(new WeightsError({ tensor: name, problem: `rows ${rows.from} to ${rows.to} of ${all} were asked for`, remedy: `ask for rows inside 0 to ${all}` }))
    }
    return Effect.map(read(name, rows, info), (values) => {
      const expected = (rows.to - rows.from) * rowLength(info.shape)
      if (values.length !== expected) throw new Error(`Weights.read(${JSON.stringify(name)}): axis values: expected ${expected}, got ${values.length}`)
      return values
    })
  }
})

/** The tensor of memory: dtype F32 unless said otherwise. */
export interface MemoryTensor {
  readonly shape: ReadonlyArray<number>
  readonly data: Float32Array
  readonly dtype?: Dtype
}

/** Weights held in memory. What is read shares their memory: do not write to it. Fails: dies when data and shape disagree. */
export const fromMemory = (tensors: Readonly<Record<string, MemoryTensor>> | ReadonlyMap<string, MemoryTensor>): Weights => {
  const held: ReadonlyMap<string, MemoryTensor> = tensors instanceof Map ? tensors : new Map(Object.entries(tensors))
  for (const [name, { shape, data }] of held) {
    const expected = shape.reduce((product, axis) => product * axis, 1)
    if (expected !== data.length) throw new Error(`Weights.fromMemory: ${name}: shape [${shape}] has ${expected} values, data ${data.length}`)
  }
  const infos = new Map([...held].map(([name, { shape, dtype = "F32" }]) => [name, { dtype, shape }]))
  return make(infos, (name, { from, to }, { shape }) => Effect.sync(() => held.get(name)!.data.subarray(from * rowLength(shape), to * rowLength(shape))))
}

/** The weights of open files, by the names in the files. */
const fromFiles = (files: ReadonlyMap<string, Safetensors.File>): Weights =>
  make(new Map([...files].map(([name, file]) => [name, file.infos.get(name)!])), (name, rows, { dtype }) =>
    Effect.mapError(dtype === "U8" ? Effect.map(files.get(name)!.bytes(name, rows), (bytes) => new Float32Array(bytes)) : files.get(name)!.read(name, rows), (cause) => new WeightsError({ tensor: name, problem: cause.message, remedy: "repair or replace the file", cause })))

/** The weights of one safetensors file, by the names in the file. Fails: SafetensorsError when the file cannot be opened. */
export const fromFile = (path: string): Effect.Effect<Weights, Safetensors.SafetensorsError> =>
  Effect.map(Safetensors.open(path), (file) => fromFiles(new Map([...file.infos.keys()].map((name) => [name, file]))))

/** The weights of a folder's `model.safetensors` or shards, by the names in the files. Fails: SafetensorsError. */
export const fromFolder = (folder: string): Effect.Effect<Weights, Safetensors.SafetensorsError> => Effect.map(Safetensors.openFolder(folder), fromFiles)

/** The same tensors under other names: `names` maps each new name to the old one; tensors that it does not mention are left out. Fails: dies on an old name that does not exist. */
export const rename = (weights: Weights, names: ReadonlyMap<string, string>): Weights => {
  const infos = new Map([...names].map(([name, old]) => {
    const info = weights.infos.get(old)
    if (info === undefined) throw new Error(`Weights.rename: there is no tensor ${JSON.stringify(old)}`)
    return [name, info] as const
  }))
  return make(infos, (name, rows) => weights.read(names.get(name)!, rows))
}

/** The tensors of both; where both have one of a name, that of `over`. */
export const overlay = (base: Weights, over: Weights): Weights => ({
  infos: new Map([...base.infos, ...over.infos]),
  read: (name, rows) => (over.infos.has(name) ? over : base).read(name, rows)
})

/** The tensors whose name passes. */
export const select = (weights: Weights, keep: (name: string) => boolean): Weights => {
  const infos = new Map([...weights.infos].filter(([name]) => keep(name)))
  return make(infos, (name, rows) => weights.read(name, rows))
}

/** The name among `names` that needs the fewest edits to become `name`. */
export const nearest = (name: string, names: Iterable<string>): string => {
  let best = "", least = Infinity
  for (const candidate of names) {
    const distance = editDistance(name, candidate, least)
    if (distance < least) [best, least] = [candidate, distance]
  }
  return best
}

const editDistance = (a: string, b: string, limit: number): number => {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    row = next
  }
  return row[b.length]!
}
