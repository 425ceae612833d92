/**
 * Runs of steps that treat every entry of a batch alike, such as one layer's attention over (example, head), are worked off a few entries at
 * a time: what one step writes, the next one finds in the cache. What lives only inside such a run never leaves a small buffer. The
 * arithmetic, and so every bit of the result, is the same as step by step.
 */
import { place, type Placement } from "../place.ts"
import type { Step } from "../Recording.ts"
import type { Slot } from "../Tensor.ts"
import type { Steps } from "./Replica.ts"

export interface Tile {
  /** Steps `from` … `to − 1`. */
  readonly from: number
  readonly to: number
  /** Entries of the batch, and how many of them are worked off at once. */
  readonly entries: number
  readonly each: number
  /** Slots that only this run uses → where they lie in the tile's buffer (numbers of four bytes). */
  readonly local: ReadonlyMap<number, number>
  /** Numbers the buffer must hold. */
  readonly length: number
}
/** A step as it works on some entries: how many numbers of each binding belong to one (0: shared by all), and its parameters for `count`. */
export interface Sliced { readonly strides: ReadonlyArray<number>; readonly params: (count: number) => ReadonlyArray<number> }

/** Numbers of the largest slot that are worked on at once: with its neighbours they fit a second-level cache. */
const workingSet = 2 ** 17

const rowKernels: ReadonlySet<string> = new Set(["softmax", "causalSoftmax", "softmaxGradient"])
const batchOf = ({ kernel, params }: Step): number => kernel.startsWith("matmul") ? params[0]! : 1

/** The step cut into `entries`, if it treats them alike. */
export const sliced = ({ kernel, params }: Step, entries: number): Sliced | undefined => {
  if (kernel.startsWith("matmul")) {
    const [batch, rows, columns, inner, strideA, strideB] = params as readonly [number, number, number, number, number, number]
    const packed = (strideA === 0 || strideA === rows * inner) && (strideB === 0 || strideB === columns * inner)
    return batch === entries && packed ? { strides: [strideA, strideB, rows * columns], params: (count) => [count, ...params.slice(1)] } : undefined
  }
  if (kernel === "placedSoftmax") { // the rows of one sequence: every stack's begin at its first token
    const [all, columns, batch, tokens] = params as readonly [number, number, number, number], rows = all / entries
    return batch === 1 && rows % tokens === 0 ? { strides: [rows * columns, 0, rows * columns], params: (count) => [count * rows, ...params.slice(1)] } : undefined
  }
  if (!rowKernels.has(kernel)) return undefined
  const rows = params[0]! / entries, columns = params[1]!
  if (!Number.isInteger(rows) || kernel === "causalSoftmax" && rows % params[2]! !== 0) return undefined
  const bindings = kernel === "softmaxGradient" ? 3 : 2
  return { strides: Array.from({ length: bindings }, () => rows * columns), params: (count) => [count * rows, ...params.slice(1)] }
}

/** Which steps use each scratch slot: first and last. */
const lives = (steps: ReadonlyArray<Step>): ReadonlyMap<number, readonly [number, number]> => {
  const found = new Map<number, readonly [number, number]>()
  steps.forEach((step, at) => { for (const id of step.slots) found.set(id, [found.get(id)?.[0] ?? at, at]) })
  return found
}

/** The runs of a program, in order. `writes(step)`: which of its slots a step writes. */
export const tilesOf = (program: Steps, writes: (step: Step) => ReadonlyArray<number>): ReadonlyArray<Tile> => {
  const { slots, steps } = program
  const life = lives(steps)
  const tileOf = (from: number, to: number, entries: number): Tile | undefined => {
    const strides = new Map<number, number>(), written = new Set<number>()
    for (const step of steps.slice(from, to)) {
      const cut = sliced(step, entries)!
      for (const [binding, id] of step.slots.entries()) {
        if ((strides.get(id) ?? cut.strides[binding]) !== cut.strides[binding]) return undefined
        strides.set(id, cut.strides[binding]!)
      }
      for (const id of writes(step)) written.add(id)
    }
    const isLocal = (slot: Slot): boolean => !slot.kept && slot.length === entries * strides.get(slot.id)! && life.get(slot.id)![0] >= from && life.get(slot.id)![1] < to
    const involved = [...strides.keys()].map((id) => slots.get(id)!)
    if (involved.some(({ id }) => written.has(id) && strides.get(id) === 0)) return undefined
    const each = Math.max(1, Math.floor(workingSet / Math.max(...strides.values())))
    if (each >= entries) return undefined
    const local = new Map<number, number>()
    let length = 0
    for (const slot of involved.filter(isLocal)) { local.set(slot.id, length); length += Math.ceil(each * strides.get(slot.id)! / 32) * 32 }
    return { from, to, entries, each, local, length }
  }
  const tiles: Array<Tile> = []
  for (let from = 0; from < steps.length; from++) {
    const entries = batchOf(steps[from]!)
    if (entries < 2) continue
    let to = from
    while (to < steps.length && sliced(steps[to]!, entries) !== undefined) to++
    let tile: Tile | undefined
    for (; to >= from + 2 && tile === undefined; to--) tile = tileOf(from, to, entries)
    if (tile !== undefined) { tiles.push(tile); from = tile.to - 1 }
  }
  return tiles
}

/** Where scratch lies when runs are cut: everything that a run touches is alive throughout the run, since its steps are no longer one after the other. */
export const placeTiles = (program: Steps, tiles: ReadonlyArray<Tile>): Placement => {
  if (tiles.length === 0) return program.placement
  const runs = new Map(tiles.map((tile) => [tile.from, tile]))
  const merged: Array<Step> = []
  for (let at = 0; at < program.steps.length; at++) {
    const tile = runs.get(at)
    if (tile === undefined) { merged.push(program.steps[at]!); continue }
    merged.push({ kernel: "run", slots: [...new Set(program.steps.slice(tile.from, tile.to).flatMap(({ slots }) => slots))], params: [] })
    at = tile.to - 1
  }
  return place(merged, program.slots)
}
