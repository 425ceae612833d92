/**
 * Structure edits: a new set of tensors, each said to come from somewhere. Copies are not read before they are asked for, so an upcycle of
 * a large model holds one tensor at a time.
 */
import { Random, Weights } from "@switchyard/core"
import { Router } from "@switchyard/routing"
import { Effect } from "effect"

/** Where one tensor of the result comes from. */
export type Origin =
  | { readonly copy: string; readonly of: Weights.Weights }
  | { readonly values: Float32Array; readonly shape: ReadonlyArray<number> }
  /** Rows of a tensor in another order, or some of them. */
  | { readonly gather: string; readonly rows: ReadonlyArray<number>; readonly of: Weights.Weights }

export type Edit = ReadonlyMap<string, Origin>

/** The edited tensors, lazily. Fails: dies on a copy of a tensor that does not exist. */
export const apply = (edit: Edit): Weights.Weights => {
  const info = (name: string, origin: Origin): Weights.TensorInfo => {
    if ("values" in origin) return { dtype: "F32", shape: origin.shape }
    const source = "copy" in origin ? origin.copy : origin.gather, found = origin.of.infos.get(source)
    if (found === undefined) throw new Error(`Edit.apply: ${name} comes from ${source}, which does not exist`)
    return "copy" in origin ? found : { dtype: found.dtype, shape: [origin.rows.length, ...found.shape.slice(1)] }
  }
  return Weights.make(new Map([...edit].map(([name, origin]) => [name, info(name, origin)])), (name, rows, { shape }) => {
    const origin = edit.get(name)!, length = Weights.rowLength(shape)
    if ("values" in origin) return Effect.succeed(origin.values.subarray(rows.from * length, rows.to * length))
    if ("copy" in origin) return origin.of.read(origin.copy, rows)
    return Effect.gen(function*() {
      const out = new Float32Array((rows.to - rows.from) * length)
      for (let row = rows.from; row < rows.to; row++) out.set(yield* origin.of.read(origin.gather, { from: origin.rows[row]!, to: origin.rows[row]! + 1 }), (row - rows.from) * length)
      return out
    })
  })
}

/** Copies of every tensor that passes, under their own names. */
export const copies = (of: Weights.Weights, keep: (name: string) => boolean = () => true): Edit =>
  new Map([...of.infos.keys()].filter(keep).map((name) => [name, { copy: name, of }]))

/**
 * New router tensors for these layers, as `Router.newborn` says: normals of deviation 0.02, as transformers starts its gates, unless they are deviations,
 * biases or a hidden layer. The seed and the tensor's name choose the numbers.
 */
export const newborn = (layers: ReadonlyArray<number>, tensors: Readonly<Record<string, ReadonlyArray<number>>>, seed: number): Edit =>
  new Map(layers.map((layer) => Object.entries(tensors).map(([name, shape]): [string, Origin] => {
    const at = `layers.${layer}.router.${name}`, values = new Float32Array(shape.reduce((product, axis) => product * axis, 1))
    return [at, { shape, values: Random.fillNormal(Random.make(seed, at), values, Router.newborn(name, shape)) }]
  })).flat())

/** Matrices of a gated feed-forward, in canonical names. */
export const matrices = ["gate", "up", "down"] as const
/** Whether a tensor belongs to the dense feed-forward (its norm does not). */
export const inFeedForward = (name: string): boolean => matrices.some((matrix) => name.endsWith(`.feedForward.${matrix}`))
