/**
 * Safetensors files, written one tensor at a time: memory never holds more than the largest tensor.
 *
 * A file appears whole or not at all: temporary name, flush, rename. A sharded model's index comes last, so that a crashed run is never
 * mistaken for a complete one. Inside a file the widest dtype stands first, then names in order, as the reference writer has it.
 */
import { Effect } from "effect"
import { type FileHandle, open as openHandle, rename, rm, stat } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import * as Dtype from "./Dtype.ts"
import { flushFolder, temporaryName } from "./File.ts"
import { byteLength, type Entry, format, SafetensorsError } from "./SafetensorsHeader.ts"

/** A tensor to be written: the dtype is that of the file. */
export interface Planned {
  readonly name: string
  readonly dtype: Dtype.Dtype
  readonly shape: ReadonlyArray<number>
}

/** Gives a tensor's values when its turn comes: f32 for F32, F16, BF16, F8_E4M3 and F8_E5M2, the bytes as stored for every other dtype. */
export type Produce<E = never, R = never> = (name: string) => Effect.Effect<Float32Array | Uint8Array, E, R>

const guarded = <A>(file: string, work: () => Promise<A>): Effect.Effect<A, SafetensorsError> =>
  Effect.tryPromise({ try: work, catch: (error) => new SafetensorsError({ file, reason: "Unwritable", problem: (error as Error).message }) })

const bytesOf = (file: string, { name, dtype, shape }: Planned): number => {
  const length = byteLength(dtype, shape)
  if (length === undefined) throw new SafetensorsError({ file, reason: "Overflow", problem: `${dtype} of shape [${shape}]`, tensor: name })
  return length
}

const inOrder = (tensors: ReadonlyArray<Planned>): ReadonlyArray<Planned> =>
  [...tensors].sort((a, b) => Dtype.bits[b.dtype] - Dtype.bits[a.dtype] || Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))

const writeAll = async (handle: FileHandle, bytes: Uint8Array): Promise<void> => {
  for (let done = 0; done < bytes.length;) done += (await handle.write(bytes, done, Math.min(bytes.length - done, 1 << 30))).bytesWritten
}

/** Values encoded at a time: what a write of f16 or bf16 needs beside the tensor. */
const tile = 1 << 20

const writeTensor = async (handle: FileHandle, file: string, { name, dtype, shape }: Planned, values: Float32Array | Uint8Array): Promise<void> => {
  const expected = byteLength(dtype, shape)!
  if (!Dtype.isFloat(dtype)) {
    if (!(values instanceof Uint8Array) || values.length !== expected) throw new Error(`Safetensors.write: ${name}: ${dtype} needs ${expected} raw bytes`)
    return writeAll(handle, values)
  }
  if (!(values instanceof Float32Array) || values.length * Dtype.bits[dtype] / 8 !== expected) {
    throw new Error(`Safetensors.write: ${name}: shape [${shape}] needs ${expected * 8 / Dtype.bits[dtype]} f32 values, got ${values.length}`)
  }
  const lost = Dtype.overflow(values, dtype)
  if (lost >= 0) throw new SafetensorsError({ file, reason: "Value", problem: `value ${lost} is ${values[lost]}, beyond the largest ${dtype}`, tensor: name })
  for (let at = 0; at < values.length; at += tile) await writeAll(handle, Dtype.encode(values.subarray(at, at + tile), dtype))
}

/** Writes `path` under a temporary name beside it and gives that name; nothing is left behind on failure or interruption. */
const writeTemporary = <E, R>(path: string, tensors: ReadonlyArray<Planned>, produce: Produce<E, R>, metadata: ReadonlyMap<string, string>): Effect.Effect<string, E | SafetensorsError, R> => {
  const temporary = temporaryName(path)
  return Effect.acquireUseRelease(
    guarded(path, () => openHandle(temporary, "wx")),
    (handle) => Effect.gen(function*() {
      const entries: Array<readonly [string, Entry]> = []
      let begin = 0
      for (const tensor of tensors) {
        const end = begin + bytesOf(path, tensor)
        entries.push([tensor.name, { dtype: tensor.dtype, shape: tensor.shape, begin, end }])
        begin = end
      }
      yield* guarded(path, () => writeAll(handle, format(entries, metadata)))
      for (const tensor of tensors) {
        const values = yield* produce(tensor.name)
        yield* Effect.promise(async () => {
          try {
            await writeTensor(handle, path, tensor, values)
          } catch (error) {
            if (error instanceof SafetensorsError) return error
            if ((error as NodeJS.ErrnoException).code === undefined) throw error // a mistake of the caller: a defect
            return new SafetensorsError({ file: path, reason: "Unwritable", problem: (error as Error).message })
          }
        }).pipe(Effect.flatMap((error) => error === undefined ? Effect.void : Effect.fail(error)))
      }
      yield* guarded(path, () => handle.sync())
      return temporary
    }),
    (handle, exit) => Effect.promise(async () => {
      await handle.close()
      if (exit._tag === "Failure") await rm(temporary, { force: true })
    })
  )
}

const checkNames = (file: string, tensors: ReadonlyArray<Planned>): void => {
  const seen = new Set<string>()
  for (const { name } of tensors) {
    if (seen.has(name) || name === "__metadata__" || name.includes("\0")) throw new Error(`Safetensors.write: ${file}: the name ${JSON.stringify(name)} is taken, reserved or contains NUL`)
    seen.add(name)
  }
}

const pytorch: ReadonlyMap<string, string> = new Map([["format", "pt"]])

/** Writes one file. Options: metadata, `{"format":"pt"}` by default. Fails: SafetensorsError or what `produce` fails with; dies on a repeated name or a wrong number of values. */
export const write = <E, R>(
  path: string, tensors: Iterable<Planned>, produce: Produce<E, R>, options: { readonly metadata?: ReadonlyMap<string, string> } = {}
): Effect.Effect<void, E | SafetensorsError, R> =>
  Effect.suspend(() => {
    const ordered = inOrder([...tensors])
    checkNames(path, ordered)
    return Effect.uninterruptibleMask((restore) => Effect.flatMap(restore(writeTemporary(path, ordered, produce, options.metadata ?? pytorch)), (temporary) => guarded(path, async () => {
      await rename(temporary, path)
      await flushFolder(dirname(path))
    })))
  })

/** Largest shard, in bytes, when nothing else is asked for. */
const defaultShard = 5e9

/** Writes a model's tensors into an existing folder: one file, or shards of at most `shardBytes` and their index. Fails: as `write`, also when the folder already holds a model. */
export const writeFolder = <E, R>(
  folder: string, tensors: Iterable<Planned>, produce: Produce<E, R>, { shardBytes = defaultShard }: { readonly shardBytes?: number } = {}
): Effect.Effect<ReadonlyArray<string>, E | SafetensorsError, R> =>
  Effect.gen(function*() {
    const planned = [...tensors], whole = join(folder, "model.safetensors"), index = `${whole}.index.json`
    checkNames(folder, planned)
    for (const path of [whole, index]) {
      const taken = yield* guarded(path, () => stat(path).then(() => true, () => false))
      if (taken) return yield* new SafetensorsError({ file: path, reason: "Unwritable", problem: "the folder already holds a model" })
    }
    const shards: Array<Array<Planned>> = []
    let used = Infinity, total = 0
    for (const tensor of planned) {
      const length = bytesOf(folder, tensor)
      total += length
      used += length
      if (used > shardBytes) {
        shards.push([])
        used = length
      }
      shards.at(-1)!.push(tensor)
    }
    if (shards.length <= 1) {
      yield* write(whole, planned, produce)
      return ["model.safetensors"]
    }
    const name = (i: number) => `model-${String(i + 1).padStart(5, "0")}-of-${String(shards.length).padStart(5, "0")}.safetensors`
    const temporaries: Array<string> = []
    yield* Effect.gen(function*() {
      for (const [i, shard] of shards.entries()) temporaries.push(yield* writeTemporary(join(folder, name(i)), inOrder(shard), produce, pytorch))
    }).pipe(Effect.onExit((exit) => exit._tag === "Success" ? Effect.void : Effect.promise(() => Promise.all(temporaries.map((path) => rm(path, { force: true }))))))
    const map = Object.fromEntries(shards.flatMap((shard, i) => shard.map((tensor) => [tensor.name, name(i)] as const)).sort(([a], [b]) => a < b ? -1 : 1))
    yield* Effect.uninterruptible(guarded(index, async () => {
      for (const [i, temporary] of temporaries.entries()) await rename(temporary, join(folder, name(i)))
      const partial = temporaryName(index), handle = await openHandle(partial, "wx")
      await handle.writeFile(`${JSON.stringify({ metadata: { total_size: total }, weight_map: map }, null, 2)}\n`)
      await handle.sync()
      await handle.close()
      await rename(partial, index)
      await flushFolder(folder)
    }))
    return [...shards.map((_, i) => name(i)), basename(index)]
  })
