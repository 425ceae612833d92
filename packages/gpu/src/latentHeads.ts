/**
 * Queries, keys and values of latent attention: a state is first brought down to a short vector, normalised, and the heads are products of that. What rotates stands
 * apart: the last numbers of each query's head, and one head of keys that all share. Paper: DeepSeek-AI, "DeepSeek-V2", 2024.
 *
 * Here every head's keys and values are spelled out, as in training; the attention that follows is the usual one, with heads of two sizes.
 */
import type { Model } from "@switchyard/core"
import { joinColumns } from "./ops/joinColumns.ts"
import { permute } from "./ops/permute.ts"
import { rmsNorm } from "./ops/rmsNorm.ts"
import { rope, type RopeTables } from "./ops/rope.ts"
import { sliceColumns } from "./ops/sliceColumns.ts"
import { view } from "./ops/view.ts"
import type { Tensor } from "./Tensor.ts"

export interface LatentHeadsOptions {
  readonly model: Model.Model
  readonly positions: Tensor
  readonly tables: RopeTables
  /** x through the layer's matrix of this name. */
  readonly project: (x: Tensor, name: string) => Tensor
  /** The layer's gain of this name. */
  readonly gain: (name: string) => Tensor
}

/** Shapes: x [rows, hidden] → query and key [rows, heads · headSize], value [rows, heads · value]. */
export const latentHeads = (x: Tensor, latent: NonNullable<Model.Attention["latent"]>, options: LatentHeadsOptions): readonly [query: Tensor, key: Tensor, value: Tensor] => {
  const { gain, model: { attention, headSize, heads }, positions, project, tables } = options, rows = x.shape[0]!, rotated = attention?.rotated ?? headSize, still = headSize - rotated
  const query = view(latent.query === undefined ? project(x, "query") : project(rmsNorm(project(x, "queryDown"), gain("queryDownNorm"), latent.epsilon), "queryUp"), [rows * heads, headSize])
  const down = project(x, "keyValueDown") // [rows, keyValue + rotated]
  const pair = view(project(rmsNorm(sliceColumns(down, 0, latent.keyValue), gain("keyValueDownNorm"), latent.epsilon), "keyValue"), [rows * heads, still + latent.value])
  const turn = (part: Tensor, count: number) => view(rope(view(latent.interleaved ? halves(part) : part, [rows, count * rotated]), positions, tables, { heads: count, headSize: rotated }), [rows * count, rotated])
  const turnedQuery = turn(sliceColumns(query, still, rotated), heads), turnedKey = turn(sliceColumns(down, latent.keyValue, rotated), 1)
  return [
    view(joinColumns([sliceColumns(query, 0, still), turnedQuery]), [rows, heads * headSize]),
    view(joinColumns([sliceColumns(pair, 0, still), view(repeated(turnedKey, heads), [rows * heads, rotated])]), [rows, heads * headSize]),
    view(sliceColumns(pair, still, latent.value), [rows, heads * latent.value])
  ]
}

/** Neighbouring pairs set apart, as `rope` turns them; queries and keys alike, so their products stay. Shapes: x [rows, columns] → the same. */
const halves = (x: Tensor): Tensor => {
  const [rows, columns] = x.shape as readonly [number, number]
  return view(permute(view(x, [rows, columns / 2, 2, 1])), x.shape)
}

/** The same columns so many times, side by side. Shapes: x [rows, columns] → [rows, times · columns]. */
const repeated = (x: Tensor, times: number): Tensor => {
  if (times === 1) return x
  const half = repeated(x, times >> 1)
  return joinColumns(times % 2 === 0 ? [half, half] : [half, half, x])
}
