/**
 * GGUF files that llama.cpp has split: `NAME-00001-of-00003.gguf` and the others beside it. The first one holds the metadata, each its share of the tensors.
 *
 * All pieces must be there, say the same count, and hold no tensor twice; together they are one file to whoever reads.
 */
import { Effect } from "effect"
import { existsSync } from "node:fs"
import * as Gguf from "./Gguf.ts"
import { GgufError, type Header } from "./GgufHeader.ts"
import * as Weights from "./Weights.ts"

const pattern = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/s
/** More pieces than any model has. */
const most = 10_000

/** The paths of all pieces, from the path of one; the path alone when its name is no piece's. */
export const pathsOf = (path: string): ReadonlyArray<string> => {
  const [, name, , count] = pattern.exec(path) ?? []
  if (count === undefined || Number(count) < 2 || Number(count) > most) return [path]
  return Array.from({ length: Number(count) }, (_, i) => `${name}-${String(i + 1).padStart(5, "0")}-of-${count}.gguf`)
}

const remedy = "fetch all pieces into one folder under the names that they were given, or join them with llama.cpp's llama-gguf-split --merge"

/** Opens a file, or all pieces of a split one by the first one's path. Fails: GgufError, also naming the piece that is missing, or that contradicts the first. */
export const open = (path: string): Effect.Effect<Gguf.File, GgufError> => Effect.gen(function*() {
  const paths = pathsOf(path), first = yield* Gguf.open(path), said = first.header.metadata.get("split.count")
  const fail = (file: string, key: string, problem: string) => new GgufError({ file, key, problem, remedy })
  if (said === undefined || said === 0 || said === 1) return first
  if (paths.length === 1) return yield* fail(path, "split.count", `it is a piece of ${String(said).slice(0, 20)}, and its name does not end in -00001-of-0000N.gguf`)
  if (path !== paths[0]) return yield* fail(path, "split.no", `it is not the first piece: open ${paths[0]}`)
  const tensors = new Map<string, Header["tensors"] extends ReadonlyMap<string, infer E> ? E : never>(), files = new Map<string, Gguf.File>()
  for (const [no, piece] of paths.entries()) {
    if (!existsSync(piece)) return yield* fail(piece, "(file)", `there is no such file: piece ${no + 1} of ${paths.length}`)
    const file = no === 0 ? first : yield* Gguf.open(piece), { metadata } = file.header
    for (const [key, expected] of [["split.no", no], ["split.count", paths.length]] as const) {
      if (metadata.get(key) !== expected) return yield* fail(piece, key, `it is ${String(metadata.get(key)).slice(0, 20)} instead of ${expected}`)
    }
    for (const [name, entry] of file.header.tensors) {
      if (files.has(name)) return yield* fail(piece, `tensor ${JSON.stringify(name)}`, "it stands in an earlier piece too")
      files.set(name, file)
      tensors.set(name, entry)
    }
  }
  const total = first.header.metadata.get("split.tensors.count")
  if (total !== undefined && Number(total) !== tensors.size) return yield* fail(path, "split.tensors.count", `it is ${String(total).slice(0, 20)}, the pieces hold ${tensors.size}`)
  const infos = new Map([...files].map(([name, file]) => [name, file.weights.infos.get(name)!]))
  return { path, header: { metadata: first.header.metadata, tensors }, weights: Weights.make(infos, (name, rows) => files.get(name)!.weights.read(name, rows)) }
})
