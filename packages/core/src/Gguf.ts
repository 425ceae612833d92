/**
 * GGUF files, the single-file format of llama.cpp, read lazily: the header is checked when a file is opened, and a read touches only the
 * blocks of the rows it asks for, which it gives as f32.
 *
 * A file is a whole model: `Checkpoint.open("model.gguf")` makes one of it, through `ggufModel.ts`.
 */
import { Effect } from "effect"
import { constants } from "node:fs"
import { type FileHandle, open as openHandle } from "node:fs/promises"
import { decodeBlocks } from "./ggufBlocks.ts"
import { GgufError, type Header, more, parse } from "./GgufHeader.ts"
import { ggufTokenizer } from "./ggufTokenizer.ts"
import type * as Tokenizer from "./Tokenizer.ts"
import * as Weights from "./Weights.ts"

export { type Entry, GgufError, type Header, type Value } from "./GgufHeader.ts"

/** An open file: its header in memory, its data on disk. `weights`: every tensor by its name in the file, quantised ones under F32, which their values need. */
export interface File {
  readonly path: string
  readonly header: Header
  readonly weights: Weights.Weights
}

/** Bytes of the first reading of a header; each next one takes four times as many. */
const firstReading = 1 << 18
/** Bytes decoded at a time: what a read needs beside its result. */
const tile = 4 << 20
const readRemedy = "check that the file exists, is readable and was not changed while it was open"

const guarded = <A>(file: string, work: () => Promise<A>): Effect.Effect<A, GgufError> =>
  Effect.tryPromise({ try: work, catch: (error) => error instanceof GgufError ? error : new GgufError({ file, key: "(file)", problem: (error as Error).message, remedy: readRemedy }) })

const withHandle = async <A>(path: string, use: (handle: FileHandle) => Promise<A>): Promise<A> => {
  // not blocking, so that a named pipe is refused instead of waited for
  const handle = await openHandle(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  try {
    return await use(handle)
  } finally {
    await handle.close()
  }
}

const fill = async (handle: FileHandle, file: string, key: string, out: Uint8Array, position: number): Promise<void> => {
  for (let done = 0; done < out.length;) {
    const { bytesRead } = await handle.read(out, done, out.length - done, position + done)
    if (bytesRead === 0) throw new GgufError({ file, key, problem: `the file ended at byte ${position + done}`, remedy: readRemedy })
    done += bytesRead
  }
}

/** Opens a file and checks its header. Fails: GgufError for everything that is wrong with it. */
export const open = (path: string): Effect.Effect<File, GgufError> =>
  guarded(path, () => withHandle(path, async (headerHandle) => {
    const opened = await headerHandle.stat()
    if (!opened.isFile()) throw new GgufError({ file: path, key: "(file)", problem: "it is not a regular file", remedy: readRemedy })
    let header: Header | typeof more = more
    for (let length = Math.min(firstReading, opened.size); header === more; length = Math.min(4 * length, opened.size)) {
      const bytes = new Uint8Array(length)
      await fill(headerHandle, path, "(header)", bytes, 0)
      header = parse(path, bytes, opened.size)
    }
    const { tensors } = header, infos = new Map([...tensors].map(([name, { type, shape }]) => [name, { dtype: type.dtype, shape }]))

    const read = (name: string, { from, to }: Weights.Rows): Promise<Float32Array> => withHandle(path, async (handle) => {
      const now = await handle.stat()
      if (now.size !== opened.size || now.mtimeMs !== opened.mtimeMs) throw new GgufError({ file: path, key: `tensor ${JSON.stringify(name)}`, problem: "it changed after it was opened", remedy: readRemedy })
      const { type, shape, begin } = tensors.get(name)!, row = Weights.rowLength(shape)
      // a vector's rows are single values, which may begin inside a block
      const first = Math.floor(from * row / type.values), last = Math.ceil(to * row / type.values), step = Math.floor(tile / type.bytes)
      const out = new Float32Array((last - first) * type.values), part = new Uint8Array(Math.min(step, last - first) * type.bytes)
      for (let block = first; block < last; block += step) {
        const blocks = Math.min(step, last - block), bytes = part.subarray(0, blocks * type.bytes), at = (block - first) * type.values
        await fill(handle, path, `tensor ${JSON.stringify(name)}`, bytes, begin + block * type.bytes)
        decodeBlocks(type, bytes, out.subarray(at, at + blocks * type.values))
      }
      const skipped = from * row - first * type.values
      return out.subarray(skipped, skipped + (to - from) * row)
    })
    return {
      path, header,
      weights: Weights.make(infos, (name, rows) => Effect.mapError(guarded(path, () => read(name, rows)), (cause) =>
        new Weights.WeightsError({ tensor: name, problem: cause.message, remedy: "repair or replace the file", cause })))
    }
  }))

/** The tokenizer of an open file, also of one that holds nothing else. Fails: GgufError naming the key, TokenizerError. */
export const tokenizer = ({ path, header }: File): Effect.Effect<Tokenizer.Tokenizer, GgufError | Tokenizer.TokenizerError> => ggufTokenizer(path, header)
