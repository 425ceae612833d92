/** How tensors lie in GGUF files where it differs from the families' own files, undone as they are read: interleaved heads, raised gains, vectors for rows. */
import { Effect } from "effect"
import * as Weights from "./Weights.ts"

/**
 * Rows of query or key in the order of Hugging Face: the file has each head's first half and second half interleaved, so that row
 * 2i + j of a head in the file is row i + j · headSize / 2 of it.
 */
export const parted = (stored: Weights.Weights, headSize: number, isRotated: (name: string) => boolean): Weights.Weights =>
  Weights.make(stored.infos, (name, rows, { shape }) => {
    if (!isRotated(name)) return stored.read(name, rows)
    const { from, to } = rows, columns = Weights.rowLength(shape), first = Math.floor(from / headSize) * headSize, last = Math.min(Math.ceil(to / headSize) * headSize, shape[0]!)
    return Effect.map(stored.read(name, { from: first, to: last }), (values) => {
      const out = new Float32Array((to - from) * columns) // [to − from, columns]
      for (let row = from; row < to; row++) {
        const within = row % headSize, half = headSize / 2, there = row - within + within % half * 2 + Math.floor(within / half) - first
        out.set(values.subarray(there * columns, (there + 1) * columns), (row - from) * columns)
      }
      return out
    })
  })

/** The direction of a shared expert's gate, [1, hidden] of ours, stands in some files as a vector. */
export const asRow = (stored: Weights.Weights): Weights.Weights => {
  const isVector = (name: string, shape: ReadonlyArray<number>) => name.endsWith(".ffn_gate_inp_shexp.weight") && shape.length === 1
  if (![...stored.infos].some(([name, { shape }]) => isVector(name, shape))) return stored
  const infos = new Map([...stored.infos].map(([name, info]) => [name, isVector(name, info.shape) ? { ...info, shape: [1, ...info.shape] } : info]))
  return Weights.make(infos, (name, rows) => isVector(name, stored.infos.get(name)!.shape) ? Effect.map(stored.read(name), (values) => rows.from === rows.to ? values.subarray(0, 0) : values) : stored.read(name, rows))
}

/** Gains without the one that was added to them: 1 + gain is then the file's own number. */
export const lowered = (stored: Weights.Weights, isGain: (name: string) => boolean): Weights.Weights => {
  const infos = new Map([...stored.infos].map(([name, info]) => [name, isGain(name) ? { ...info, dtype: "F32" as const } : info]))
  return Weights.make(infos, (name, rows) => isGain(name) ? Effect.map(stored.read(name, rows), (values) => values.map((value) => value - 1)) : stored.read(name, rows))
}
