/**
 * Tensors that a family's files keep in one: query, key and value as rows of one matrix, or all experts' gates and ups in one block, turned and with their
 * rows taking turns. They are taken apart when they are read and put together when they are written; canonical tensors are always single.
 */
import { Effect } from "effect"
import * as Family from "./Family.ts"
import type { Packed } from "./families.ts"
import * as Model from "./Model.ts"
import * as Weights from "./Weights.ts"

/** One of the canonical tensors in a pack: which block of rows it is, and of which expert. */
interface Member { readonly name: string; readonly shape: ReadonlyArray<number>; readonly part: number; readonly expert: number | undefined }

/** A tensor of the files with the canonical tensors in it. `rows` of one expert's block, `columns` of each row. */
export interface Pack {
  readonly file: string
  readonly row: Packed
  readonly shape: ReadonlyArray<number>
  readonly members: ReadonlyArray<Member>
  readonly rows: number
  readonly columns: number
}

/** The packs of a family's files for this model, by the name of each. */
export const packsOf = (family: Family.Family, model: Model.Model): ReadonlyMap<string, Pack> => {
  const found = new Map<string, { readonly row: Packed; readonly members: Array<Member> }>()
  if (family.packed === undefined) return new Map()
  for (const { name, shape } of Model.tensors(model)) {
    const place = Family.packedIn(family, name)
    if (place === undefined) continue
    const pack = found.get(place.file) ?? { row: place.row, members: [] }
    pack.members.push({ name, shape, part: place.part, expert: place.expert })
    found.set(place.file, pack)
  }
  return new Map([...found].map(([file, { members, row }]) => {
    const block = members.filter(({ expert }) => expert === members[0]!.expert), rows = block.reduce((sum, { shape }) => sum + shape[0]!, 0), [, ...rest] = block[0]!.shape
    const columns = rest[0] ?? 1, of = row.turned === true ? [...rest, rows] : [rows, ...rest]
    return [file, { file, row, members, rows, columns, shape: members[0]!.expert === undefined ? of : [members.length / block.length, ...of] }]
  }))
}

/** Where row r, column c of a member stands in its expert's block. */
const placing = ({ columns, members, row, rows }: Pack, { expert, part }: Member): (r: number, c: number) => number => {
  const block = members.filter((one) => one.expert === expert).sort((a, b) => a.part - b.part)
  const step = row.alternating === true ? block.length : 1, start = row.alternating === true ? part : block.slice(0, part).reduce((sum, { shape }) => sum + shape[0]!, 0)
  return row.turned === true ? (r, c) => c * rows + start + r * step : (r, c) => (start + r * step) * columns + c
}

/** Rows of a canonical tensor, out of its pack. */
export const unpack = (stored: Weights.Weights, pack: Pack, name: string, { from, to }: Weights.Rows): Effect.Effect<Float32Array, Weights.WeightsError> => {
  const member = pack.members.find((one) => one.name === name)!, at = placing(pack, member), { columns } = pack
  if (pack.row.turned !== true && pack.row.alternating !== true && member.expert === undefined) return stored.read(pack.file, { from: at(from, 0) / columns, to: at(to, 0) / columns })
  const slab = member.expert === undefined ? undefined : { from: member.expert, to: member.expert + 1 }
  return Effect.map(stored.read(pack.file, slab), (block) => {
    const values = new Float32Array((to - from) * columns)
    for (let r = from; r < to; r++) for (let c = 0; c < columns; c++) values[(r - from) * columns + c] = block[at(r, c)]!
    return values
  })
}

/** A whole pack, from weights by canonical name. */
export const pack = Effect.fnUntraced(function*(weights: Weights.Weights, packed: Pack) {
  const all = new Float32Array(packed.shape.reduce((product, axis) => product * axis, 1)), { columns } = packed
  for (const member of packed.members) {
    const values = yield* weights.read(member.name), at = placing(packed, member), start = (member.expert ?? 0) * packed.rows * columns
    for (let i = 0; i < values.length; i++) all[start + at(Math.floor(i / columns), i % columns)] = values[i]!
  }
  return all
})
