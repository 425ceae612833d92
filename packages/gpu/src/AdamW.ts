/**
 * AdamW with a limit on the gradients' global norm, all on the device: one recorded update, whose few numbers that change from step to
 * step (rate, bias corrections) are a kept vector uploaded before each submission. Paper: Loshchilov & Hutter, ICLR 2019.
 */
import { adamw } from "./kernels/adamw.ts"
import { clipFactor } from "./kernels/clipFactor.ts"
import { chunkLength, sumSquares } from "./kernels/sumSquares.ts"
import * as Recording from "./Recording.ts"
import { expectShape, kept, like, partsOf, type Tensor } from "./Tensor.ts"

/** Options: learningRate (per step, from a `Schedule`); beta1 0.9, beta2 0.999, epsilon 1e-8, weightDecay 0; clip: the largest global norm, 0 for no limit. */
export interface Options {
  readonly learningRate: number
  readonly beta1?: number
  readonly beta2?: number
  readonly epsilon?: number
  readonly weightDecay?: number
  readonly clip?: number
}
export interface State {
  readonly parameters: ReadonlyArray<Tensor>
  /** Moments of each parameter, kept: what a resumed run uploads again. */
  readonly first: ReadonlyArray<Tensor>
  readonly second: ReadonlyArray<Tensor>
  /** [7], kept: upload `hyper(options, step)` before each submission. */
  readonly hyper: Tensor
  readonly clip: number
  /** Which parameters weight decay shrinks. */
  readonly decays: ReadonlyArray<boolean>
}

/** State for these parameters, moments zero. Options: `decays` says which parameters shrink; those of two or more axes (matrices, not gains) unless said otherwise. */
export const make = (parameters: ReadonlyArray<Tensor>, options: Pick<Options, "clip"> & { readonly decays?: (parameter: Tensor) => boolean } = {}): State => {
  const { clip = 0, decays = ({ shape }: Tensor) => shape.length > 1 } = options
  if (parameters.length === 0) throw new Error("AdamW.make: no parameters to train")
  if (new Set(parameters.map(({ slot }) => slot.id)).size < parameters.length) throw new Error("AdamW.make: a parameter is listed twice")
  for (const { slot } of parameters) if (!slot.kept) throw new Error(`AdamW.make: ${slot.label || "a parameter"} is scratch; parameters are kept tensors`)
  for (const { dtype, slot } of parameters) if (dtype !== "f32") throw new Error(`AdamW.make: ${slot.label || "a parameter"} is ${dtype}: what is trained must be f32`)
  const moments = (name: string) => parameters.map((parameter) => like(parameter, `adamw.${name}.${parameter.slot.label}`))
  return { parameters, first: moments("first"), second: moments("second"), hyper: kept([7], { label: "adamw.hyper" }), clip, decays: parameters.map(decays) }
}

/**
 * Records one update in place and gives [clip factor, global norm of the gradients before clipping], scratch: keep it to log it.
 *
 * It sums the gradients over replicas itself (`Recording.sumReplicas`), so the loss must be divided by the rows of all replicas.
 * Shapes: gradients (`given`) like the parameters, in their order.
 */
export const update = (state: State, given: ReadonlyArray<Tensor>): Tensor => {
  const { clip, hyper } = state
  if (given.length !== state.parameters.length) throw new Error(`AdamW.update: ${given.length} gradients for ${state.parameters.length} parameters`)
  given.forEach((gradient, at) => expectShape("AdamW.update", `gradient of ${state.parameters[at]!.slot.label}`, gradient, state.parameters[at]!.shape))
  const flat = (tensors: ReadonlyArray<Tensor>) => tensors.flatMap(partsOf)
  const parameters = flat(state.parameters), first = flat(state.first), second = flat(state.second), gradients = flat(given)
  const decays = state.parameters.flatMap((parameter, at) => partsOf(parameter).map(() => state.decays[at]!))
  Recording.sumReplicas([...new Map(gradients.map((gradient) => [gradient.slot.id, gradient])).values()]) // two parameters may share one gradient
  const places = gradients.reduce<ReadonlyArray<number>>((starts, { slot }) => [...starts, starts.at(-1)! + Math.ceil(slot.length / chunkLength)], [0]), norms = places.at(-1)!
  const squares = Recording.scratch([norms]), factor = Recording.scratch([2])
  gradients.forEach((x, at) => Recording.step(sumSquares, { x, out: squares }, { count: x.slot.length, at: places[at]!, chunk: chunkLength }))
  Recording.step(clipFactor, { squares, out: factor }, { count: norms, maximum: clip })
  parameters.forEach((parameter, at) => Recording.step(adamw,
    { parameter, first: first[at]!, second: second[at]!, gradient: gradients[at]!, hyper, clip: factor },
    { count: parameter.slot.length, decays: decays[at] ? 1 : 0 }))
  return factor
}

/** The numbers of step `step` (the first is 1), to be uploaded to `state.hyper`. Corrections use the betas as f32 holds them. */
export const hyper = (options: Options, step: number): Float32Array => {
  const { beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, learningRate, weightDecay = 0 } = options
  if (!Number.isInteger(step) || step < 1) throw new Error(`AdamW.hyper: step must be 1 or more, got ${step}`)
  return Float32Array.of(learningRate, beta1, beta2, epsilon, weightDecay, 1 - Math.fround(beta1) ** step, 1 - Math.fround(beta2) ** step)
}
