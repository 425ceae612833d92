/**
 * The two networks of the clusters problem as recorded programs: one convolution over the patches, alone or as experts behind a top-1 router.
 *
 * An expert's output for a class is the sum, over patches and the class's filters, of σ(⟨w, patch⟩ + b), σ the cube or the identity; of the
 * identity the patches are summed first, which is the same function. The router's score is linear in the sum of the patches; noise is added for
 * choosing, and the whole example goes to the best. The gate is the softmax of the scores (the paper) or the noised score itself (the released
 * code, whose outputs also pass a softmax before a cross-entropy that has its own).
 */
import { Op, Tensor } from "@switchyard/gpu"
import { Router, route } from "@switchyard/routing"
import { patches, width } from "./clusters.ts"

export interface Network {
  readonly form: "mixture" | "single"
  readonly activation: "cubic" | "linear"
  readonly gate: "softmax" | "released"
  readonly experts: number
  /** Filters of one expert for one class. */
  readonly filters: number
}
/** The kept tensors of one replica. Shapes: `examples` its rows, `rowsOf` rows of `x` for each example. */
export interface Inputs {
  readonly examples: number
  /** [examples · rowsOf, width + 1] */
  readonly x: Tensor.Tensor
  /** [examples, width]: the sum of an example's patches. */
  readonly sums: Tensor.Tensor
  /** [examples, experts] */
  readonly noise: Tensor.Tensor
  /** u32 [examples · rowsOf]: the example of each row. */
  readonly owners: Tensor.Tensor
  readonly labels: Tensor.Tensor
  /** [examples]: what each counts in the loss. */
  readonly shares: Tensor.Tensor
  /** [2, rowsOf · 2 · filters]: one where a response belongs to the class. */
  readonly classes: Tensor.Tensor
}
export interface Parameters {
  /** [experts, 2 · filters, width + 1], the last column biases. */
  readonly filters: Tensor.Tensor
  /** [experts, width]; undefined of a single network. */
  readonly router: Tensor.Tensor | undefined
}

/** Rows of `x` for each example. */
export const rowsOf = ({ activation }: Network): number => activation === "cubic" ? patches : 1

export const inputs = (network: Network, examples: number): Inputs => {
  const rows = examples * rowsOf(network), own = (label: string, shape: ReadonlyArray<number>, dtype: "f32" | "u32" = "f32") => Tensor.kept(shape, { sharded: true, label, dtype })
  return {
    examples, x: own("x", [rows, width + 1]), sums: own("sums", [examples, width]), noise: own("noise", [examples, network.experts]), owners: Tensor.kept([rows], { label: "owners", dtype: "u32" }),
    labels: own("labels", [examples], "u32"), shares: own("shares", [examples]), classes: Tensor.kept([2, rowsOf(network) * 2 * network.filters], { label: "classes" })
  }
}
export const parameters = (network: Network): Parameters => ({
  filters: Tensor.kept([network.experts, 2 * network.filters, width + 1], { label: "filters" }),
  router: network.form === "single" ? undefined : Tensor.kept([network.experts, width], { label: "router" })
})

/** What the network says of every example [examples, 2], and where the router sent it: u32 [examples, 1], undefined of a single network. */
export const forward = (network: Network, given: Inputs, { filters, router }: Parameters): { readonly output: Tensor.Tensor; readonly experts: Tensor.Tensor | undefined } => {
  const { classes, examples, noise, owners, sums, x } = given, rows = rowsOf(network), responses = 2 * network.filters
  const answer = (inner: Tensor.Tensor) => { // [examples · rows, responses] → [examples, 2]
    const bent = network.activation === "cubic" ? Op.multiply(Op.map(inner, "square"), inner) : inner
    return Op.linear(Op.view(bent, [examples, rows * responses]), classes)
  }
  if (router === undefined) return { output: answer(Op.linear(x, Op.view(filters, [responses, width + 1]))), experts: undefined }
  const scores = Op.linear(sums, router), noised = Op.add(scores, noise) // [examples, experts]
  const decision = route(Router.topK({ active: 1, weight: "prob" }), sums, { batch: examples, tokens: 1, experts: network.experts, tensors: { weight: router }, scores: noised })
  const weights = Op.gatherColumns(network.gate === "softmax" ? Op.softmax(scores) : noised, decision.experts) // [examples, 1]; noise chooses, it does not weigh
  const visits = Op.dispatch(Op.view(x, [examples, rows * (width + 1)]), decision, 1) // [examples, rows · (width + 1)], in the experts' order
  const byRow = rows === 1 ? decision : Op.countingSort(Op.topK(Op.gatherRows(Op.stopGradient(noised), owners), 1), network.experts) // an example's rows stay together: where experts begin among rows
  const inner = Op.groupedLinear(Op.view(visits, [examples * rows, width + 1]), filters, byRow.offsets) // [examples · rows, responses]
  return { output: Op.combine(answer(inner), decision.places, weights), experts: decision.experts }
}

/** The cross-entropy over all replicas' examples [1]; of the released gate that of a softmax of a softmax. */
export const lossOf = (network: Network, { labels, shares }: Inputs, output: Tensor.Tensor): Tensor.Tensor =>
  Op.sumAll(Op.multiply(Op.crossEntropy(network.form === "mixture" && network.gate === "released" ? Op.softmax(output) : output, labels), shares))

/**
 * A gradient whose every expert is divided by its own norm: that of its weights plus that of its biases. Shapes: [experts, responses, width + 1].
 *
 * An expert without examples stays where it is, and so does one whose answers are so sure that the squares of its gradient vanish in f32 (below
 * about 1e-19): a vanished norm must not blow up what is left of the gradient.
 */
export const normalised = (gradient: Tensor.Tensor): Tensor.Tensor => {
  const [experts, responses, columns] = gradient.shape as readonly [number, number, number], flat = Op.view(gradient, [experts * responses, columns])
  const norm = (from: number, count: number) => {
    const part = Op.view(Op.sliceColumns(flat, from, count), [experts, responses * count])
    return Op.map(Op.dotRows(part, part), "sqrt") // [experts]
  }
  const norms = Op.affine(Op.add(norm(0, columns - 1), norm(columns - 1, 1)), { shift: 1e-17 })
  return Op.view(Op.divideRows(Op.view(gradient, [experts, responses * columns]), norms), gradient.shape)
}
