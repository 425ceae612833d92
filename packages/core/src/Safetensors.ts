/**
 * Safetensors files, read lazily: the header is checked when a file is opened, and a read touches only the bytes of the rows it asks for.
 *
 * A folder holds one `model.safetensors`, or shards and `model.safetensors.index.json`. Names in an index are hostile too: they must be plain
 * names of the same folder, also after symbolic links (a Hugging Face cache links into its `blobs`, which is allowed). Writing is in
 * `SafetensorsWriter.ts`.
 */
import { Effect } from "effect"
import { constants } from "node:fs"
import { type FileHandle, open as openHandle, readFile, realpath, stat } from "node:fs/promises"
import { basename, dirname, join, sep } from "node:path"
import * as Dtype from "./Dtype.ts"
import { type Header, headerLength, parse, SafetensorsError } from "./SafetensorsHeader.ts"
import * as StrictJson from "./StrictJson.ts"
import type { Rows, TensorInfo } from "./Weights.ts"

export { type Entry, type Header, SafetensorsError } from "./SafetensorsHeader.ts"
export * from "./SafetensorsWriter.ts"

/** An open file: its header in memory, its data on disk. `bytes` reads a tensor of any dtype as stored, `read` one of F32, F16, BF16, F8_E4M3 or F8_E5M2 as f32. */
export interface File {
  readonly path: string
  readonly header: Header
  readonly infos: ReadonlyMap<string, TensorInfo>
  readonly bytes: (name: string, rows?: Rows) => Effect.Effect<Uint8Array, SafetensorsError>
  readonly read: (name: string, rows?: Rows) => Effect.Effect<Float32Array, SafetensorsError>
}

/** Bytes decoded at a time: what a read of f16 or bf16 needs beside its result. */
const tile = 4 << 20
/** The system calls take at most 2 GiB at once. */
const longestRead = 1 << 30

const guarded = <A>(file: string, work: () => Promise<A>): Effect.Effect<A, SafetensorsError> =>
  Effect.tryPromise({
    try: work,
    catch: (error) => error instanceof SafetensorsError ? error : new SafetensorsError({ file, reason: "Unreadable", problem: (error as Error).message })
  })

const withHandle = async <A>(path: string, use: (handle: FileHandle) => Promise<A>): Promise<A> => {
  // not blocking, so that a named pipe in a model's folder is refused instead of waited for
  const handle = await openHandle(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  try {
    return await use(handle)
  } finally {
    await handle.close()
  }
}

const fill = async (handle: FileHandle, file: string, out: Uint8Array, position: number): Promise<void> => {
  for (let done = 0; done < out.length;) {
    const { bytesRead } = await handle.read(out, done, Math.min(out.length - done, longestRead), position + done)
    if (bytesRead === 0) throw new SafetensorsError({ file, reason: "Unreadable", problem: `it ended at byte ${position + done}` })
    done += bytesRead
  }
}

/** Opens a file and checks its header. Fails: SafetensorsError for everything that is wrong with it. */
export const open = (path: string): Effect.Effect<File, SafetensorsError> =>
  guarded(path, () => withHandle(path, async (headerHandle) => {
    const opened = await headerHandle.stat()
    if (!opened.isFile()) throw new SafetensorsError({ file: path, reason: "Unreadable", problem: "it is not a regular file" })
    const first = new Uint8Array(Math.min(8, opened.size))
    await fill(headerHandle, path, first, 0)
    const length = headerLength(path, first, opened.size), start = 8 + length
    const bytes = new Uint8Array(length)
    await fill(headerHandle, path, bytes, 8)
    const header = parse(path, bytes, opened.size - start)

    /** Calls `use` with an open handle and the first byte and the length of the rows. */
    const locate = <A>(name: string, rows: Rows | undefined, use: (handle: FileHandle, info: TensorInfo, at: number, length: number) => Promise<A>) =>
      guarded(path, () => {
        const entry = header.tensors.get(name)
        if (entry === undefined) throw new SafetensorsError({ file: path, reason: "Missing", problem: `no such tensor among ${header.tensors.size}`, tensor: name })
        const all = entry.shape[0] ?? 1, { from, to } = rows ?? { from: 0, to: all }
        const row = all === 0 ? 0 : (entry.end - entry.begin) / all
        if (!(Number.isInteger(from) && Number.isInteger(to) && 0 <= from && from <= to && to <= all && Number.isInteger(row * from) && Number.isInteger(row * to))) {
          throw new SafetensorsError({ file: path, reason: "Rows", problem: `rows ${from} to ${to} of ${all}`, tensor: name })
        }
        return withHandle(path, async (handle) => {
          const now = await handle.stat()
          if (now.size !== opened.size || now.mtimeMs !== opened.mtimeMs) throw new SafetensorsError({ file: path, reason: "Unreadable", problem: "it changed after it was opened", tensor: name })
          return use(handle, entry, start + entry.begin + from * row, (to - from) * row)
        })
      })

    return {
      path,
      header,
      infos: new Map([...header.tensors].map(([name, { dtype, shape }]) => [name, { dtype, shape }])),
      bytes: (name, rows) => locate(name, rows, async (handle, _, at, length) => {
        const out = new Uint8Array(length)
        await fill(handle, path, out, at)
        return out
      }),
      read: (name, rows) => locate(name, rows, async (handle, { dtype }, at, length) => {
        if (!Dtype.isFloat(dtype)) throw new SafetensorsError({ file: path, reason: "UnknownDtype", problem: `${dtype} is not read as numbers`, tensor: name })
        const width = Dtype.bits[dtype] / 8, out = new Float32Array(length / width)
        if (dtype === "F32") {
          await fill(handle, path, new Uint8Array(out.buffer), at)
          return out
        }
        const part = new Uint8Array(Math.min(tile, length))
        for (let done = 0; done < length; done += tile) {
          const bytes = part.subarray(0, Math.min(tile, length - done))
          await fill(handle, path, bytes, at + done)
          Dtype.decode(bytes, dtype, out.subarray(done / width, (done + bytes.length) / width))
        }
        return out
      })
    }
  }))

/** The name of a folder's single file, and of its index. */
export const single = "model.safetensors", index = "model.safetensors.index.json"

/** The folder in which a file of `folder` may lie after symbolic links: itself, or the blobs of its Hugging Face cache. */
const allowedRoots = async (folder: string): Promise<ReadonlyArray<string>> => {
  const real = await realpath(folder), snapshots = dirname(real)
  return basename(snapshots) === "snapshots" ? [real, join(dirname(snapshots), "blobs")] : [real]
}

const inside = async (folder: string, name: string): Promise<string> => {
  const path = join(folder, name), real = await realpath(path), roots = await allowedRoots(folder)
  if (roots.some((root) => real.startsWith(root.endsWith(sep) ? root : root + sep))) return path
  throw new SafetensorsError({ file: path, reason: "Index", problem: `it is a link to ${real}, outside its folder` })
}

const exists = (path: string) => stat(path).then(() => true, () => false)

/** Reads and checks an index. Fails: throws SafetensorsError. */
const readIndex = async (path: string): Promise<ReadonlyMap<string, string>> => {
  const fail = (problem: string): never => { throw new SafetensorsError({ file: path, reason: "Index", problem }) }
  let json: StrictJson.Value = null
  try {
    json = StrictJson.parse(new TextDecoder("utf-8", { fatal: true }).decode(await readFile(path)), { depth: 8 })
  } catch (error) {
    fail((error as Error).message)
  }
  const map = json instanceof Map ? (json as ReadonlyMap<string, StrictJson.Value>).get("weight_map") : undefined
  if (!(map instanceof Map)) return fail("it has no object weight_map")
  for (const [tensor, name] of map as ReadonlyMap<string, StrictJson.Value>) {
    if (typeof name !== "string" || !/^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$/.test(name)) fail(`tensor ${JSON.stringify(tensor)} lies in ${JSON.stringify(name)?.slice(0, 100)}, which is not a plain file name`)
  }
  return map as ReadonlyMap<string, string>
}

/** Opens a folder's single file, or all of its shards: the file of each tensor by name. Fails: SafetensorsError, also for tensors that index and shards do not agree about. */
export const openFolder = (folder: string): Effect.Effect<ReadonlyMap<string, File>, SafetensorsError> =>
  Effect.gen(function*() {
    const [hasSingle, hasIndex] = yield* guarded(folder, async () => Promise.all([exists(join(folder, single)), exists(join(folder, index))]))
    if (hasSingle && hasIndex) return yield* new SafetensorsError({ file: join(folder, index), reason: "Index", problem: `${single} and an index stand side by side: which one holds the model cannot be known` })
    if (!hasSingle && !hasIndex && (yield* guarded(folder, () => exists(folder)))) return yield* new SafetensorsError({ file: folder, reason: "Absent", problem: `it holds neither ${single} nor ${index}` })
    if (!hasIndex) {
      const file = yield* open(hasSingle ? yield* guarded(folder, () => inside(folder, single)) : join(folder, single))
      return new Map([...file.infos.keys()].map((name) => [name, file]))
    }
    const path = join(folder, index), map = yield* guarded(path, () => readIndex(path))
    const out = new Map<string, File>()
    for (const shard of new Set(map.values())) {
      const file = yield* open(yield* guarded(join(folder, shard), () => inside(folder, shard)))
      for (const tensor of file.infos.keys()) {
        if (map.get(tensor) !== shard) return yield* new SafetensorsError({ file: file.path, reason: "Index", problem: `the index places it in ${map.get(tensor) ?? "no file"}`, tensor })
        out.set(tensor, file)
      }
    }
    for (const [tensor, shard] of map) {
      if (!out.has(tensor)) return yield* new SafetensorsError({ file: join(folder, shard), reason: "Missing", problem: "the index places it here, the file has no such tensor", tensor })
    }
    return out
  })
