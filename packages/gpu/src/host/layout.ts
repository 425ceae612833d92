/** Where a replica puts a program's scratch: slabs, the buffer of tiled runs, and room for transposed forms. Known before anything is allocated. */
import type * as Kernel from "../Kernel.ts"
import { kernels } from "../kernels.ts"
import type { Step } from "../Recording.ts"
import { causalForms, type CausalForm } from "./causal.ts"
import { alignment } from "./Heap.ts"
import type { Steps } from "./Replica.ts"
import { staged } from "./storedProducts.ts"
import { placeTiles, type Tile, tilesOf } from "./tiles.ts"

export interface Layout {
  readonly runs: ReadonlyArray<Tile>
  readonly slabOf: ReadonlyMap<number, number>
  readonly slabBytes: ReadonlyArray<number>
  readonly forms: ReadonlyMap<number, CausalForm>
  /** Bytes of the transposed forms, at the beginning of scratch, and of the tiles behind them. */
  readonly formBytes: number
  readonly tileBytes: number
  /** Where the two buffers of products with stored weights begin, behind the slabs. */
  readonly stageAt: number
  readonly sideAt: number
  /** Bytes in all, with the padding between slabs and without it. */
  readonly total: number
  readonly bytes: number
}

export const kernelOf = (step: Step): Kernel.Any => {
  const kernel = kernels.get(step.kernel)
  if (kernel === undefined) throw new Error(`unknown kernel ${step.kernel}`)
  return kernel
}
const written = (step: Step): ReadonlyArray<number> => step.slots.filter((_, at) => (Object.values(kernelOf(step).bindings) as ReadonlyArray<Kernel.Binding>)[at]!.access !== "read")
const aligned = (numbers: number): number => Math.ceil(numbers * 4 / alignment) * alignment

/** Options: `library`: whether matrix products go to ONNX Runtime; without it attention takes forms of its own. */
export const layoutOf = (program: Steps, library: boolean): Layout => {
  const runs = tilesOf(program, written), { slabOf, slabs } = placeTiles(program, runs), slabBytes = slabs.map(aligned)
  const forms = library ? new Map<number, CausalForm>() : causalForms(program)
  const formBytes = aligned(Math.max(0, ...[...forms.values()].map(({ transposed }) => transposed)))
  const tileBytes = formBytes + 4 * Math.max(0, ...runs.map(({ length }) => length))
  const stageAt = slabBytes.reduce((sum, bytes) => sum + bytes, Math.ceil(tileBytes / alignment) * alignment)
  const [stage, side] = program.steps.map(staged).reduce(([stage, side], [weight, columns]) => [Math.max(stage, weight), Math.max(side, columns)] as const, [0, 0] as const).map(aligned) as [number, number]
  return { runs, slabOf, slabBytes, forms, formBytes, tileBytes, stageAt, sideAt: stageAt + stage, total: stageAt + stage + side, bytes: slabs.reduce((sum, length) => sum + length * 4, tileBytes) + stage + side }
}
