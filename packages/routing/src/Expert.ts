/**
 * Experts as tensors of one layer. A full expert is a feed-forward of its own; a low-rank expert is the layer's shared feed-forward with
 * `scale · b·a` added to each matrix (Hu et al., "LoRA", 2021). On the device the experts of a layer are stacked along a first axis.
 */
import { Model } from "@switchyard/core"
import { Tensor } from "@switchyard/gpu"

/** The matrices of a feed-forward, in the order in which a token meets them. */
export const matrices = ["gate", "up", "down"] as const
export type Matrix = (typeof matrices)[number]

/** gate, up [inner, hidden]; down [hidden, inner]. Stacked: an axis of experts before them. */
export type Full = Readonly<Record<Matrix, Tensor.Tensor>>
/** Of each matrix [out], what is added to its products. Stacked: an axis of experts before it. */
export type Bias = Readonly<Record<Matrix, Tensor.Tensor>>
/** Of each matrix [out, in]: a [rank, in], b [out, rank]. Stacked: an axis of experts before them. */
export type LowRank = Readonly<Record<Matrix, { readonly a: Tensor.Tensor; readonly b: Tensor.Tensor }>>

/** The experts of one layer on the device. `activation`: their inner function, silu when left out. */
export type Experts = { readonly activation?: Model.Activation | undefined } & (
  | { readonly kind: "full"; readonly count: number; readonly stack: Full; readonly bias?: Bias | undefined }
  | { readonly kind: "lowRank"; readonly count: number; readonly scale: number; readonly base: Full; readonly stack: LowRank }
)

/** The feed-forward that every token passes beside its experts, and the direction of its gate, `router` [1, hidden], where it has one. */
export interface Shared { readonly feedForward: Full; readonly router: Tensor.Tensor | undefined; readonly activation?: Model.Activation | undefined }

/** A tensor of the device, and the canonical tensors whose rows it holds one after the other (itself alone, unless it is a stack). */
export interface Entry {
  readonly name: string
  readonly shape: ReadonlyArray<number>
  readonly parts: ReadonlyArray<string>
}

const stacked = /^(layers\.\d+\.experts)\.(\d+)\.(.+)$/

/** The tensors that a model has on the device: `layers.{l}.experts.{e}.gate` of all e become one `layers.{l}.experts.gate`, the others stay. */
export const entries = (model: Model.Model): ReadonlyArray<Entry> => {
  const found = new Map<string, Entry>()
  for (const { name, shape } of Model.tensors(model)) {
    const match = stacked.exec(name)
    if (match === null) { found.set(name, { name, shape, parts: [name] }); continue }
    const stack = `${match[1]}.${match[3]}`, parts = [...found.get(stack)?.parts ?? [], name]
    found.set(stack, { name: stack, shape: [parts.length, ...shape], parts })
  }
  return [...found.values()]
}

/**
 * The low-rank tensors of an adapter on a dense model: `layers.{l}.feedForward.gate.a` [rank, in], `.b` [out, rank]; on the feed-forwards, or on the matrices it names.
 * Fails: dies on a name that is no matrix of the model's layers.
 */
export const adapterEntries = (model: Model.Model, { matrices: named, rank }: { readonly rank: number; readonly matrices?: Readonly<Record<string, { readonly rank: number }>> }): ReadonlyArray<Entry> => {
  const shapes = new Map(Model.tensors(model).map(({ name, shape }) => [name, shape]))
  const all = named === undefined ? Array.from({ length: model.layers }, (_, layer) => matrices.map((matrix) => [`layers.${layer}.feedForward.${matrix}`, rank] as const)).flat() : Object.entries(named).map(([name, low]) => [name, low.rank] as const)
  return all.flatMap(([name, own]) => {
    const shape = shapes.get(name)
    if (shape?.length !== 2 || !/\.(feedForward|attention)\./.test(name)) throw new Error(`Expert.adapterEntries: ${name} is no matrix of a layer of this model: fold the adapter into its base`)
    return [{ name: `${name}.a`, shape: [own, shape[1]!], parts: [`${name}.a`] }, { name: `${name}.b`, shape: [shape[0]!, own], parts: [`${name}.b`] }]
  })
}

const named = (parameters: ReadonlyMap<string, Tensor.Tensor>, name: string): Tensor.Tensor => {
  const tensor = parameters.get(name)
  if (tensor === undefined) throw new Error(`there is no tensor ${name} among the model's parameters`)
  return tensor
}
/** The matrices called `{at}.gate`, `.up`, `.down`. Fails: dies when one is not there. */
export const full = (parameters: ReadonlyMap<string, Tensor.Tensor>, at: string): Full =>
  ({ gate: named(parameters, `${at}.gate`), up: named(parameters, `${at}.up`), down: named(parameters, `${at}.down`) })
/** The rows called `{at}.gateBias`, `.upBias`, `.downBias`. Fails: dies when one is not there. */
export const bias = (parameters: ReadonlyMap<string, Tensor.Tensor>, at: string): Bias =>
  ({ gate: named(parameters, `${at}.gateBias`), up: named(parameters, `${at}.upBias`), down: named(parameters, `${at}.downBias`) })
/** The pairs called `{at}.gate.a`, `{at}.gate.b`, …. Fails: dies when one is not there. */
export const lowRank = (parameters: ReadonlyMap<string, Tensor.Tensor>, at: string): LowRank => {
  const pair = (matrix: Matrix) => ({ a: named(parameters, `${at}.${matrix}.a`), b: named(parameters, `${at}.${matrix}.b`) })
  return { gate: pair("gate"), up: pair("up"), down: pair("down") }
}

/** The experts of a layer, from the parameters of the model. */
export const inLayer = (parameters: ReadonlyMap<string, Tensor.Tensor>, form: Model.Mixture, layer: number, activation?: Model.Activation): Experts => {
  const at = `layers.${layer}.experts`
  return form.expert.kind === "full" ? { activation, kind: "full", count: form.experts, stack: full(parameters, at), bias: form.expert.bias === true ? bias(parameters, at) : undefined }
    : { activation, kind: "lowRank", count: form.experts, scale: form.expert.scale, base: full(parameters, `layers.${layer}.feedForward`), stack: lowRank(parameters, at) }
}

/** The shared expert of a layer; undefined where the model has none. */
export const sharedIn = (parameters: ReadonlyMap<string, Tensor.Tensor>, form: Model.Mixture, layer: number, activation?: Model.Activation): Shared | undefined => {
  const at = `layers.${layer}.shared`
  return form.shared === undefined ? undefined : { activation, feedForward: full(parameters, at), router: form.shared.gate ? named(parameters, `${at}.router`) : undefined }
}

/** The feed-forward of a layer that has one instead of experts. */
export const denseIn = (parameters: ReadonlyMap<string, Tensor.Tensor>, layer: number, activation?: Model.Activation): Shared =>
  ({ activation, feedForward: full(parameters, `layers.${layer}.feedForward`), router: undefined })
