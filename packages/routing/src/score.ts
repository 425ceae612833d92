/**
 * Logits of the experts for each row, by learned directions, by one hidden layer (silu) or by nearness to centroids.
 *
 * Shapes: x [rows, width], weight or centroids [experts, width], deviation [width]; of mlp inner.weight [inner, width], inner.bias [inner],
 * weight [experts, inner], bias [experts] → [rows, experts]. Gradients: with respect to all of them.
 */
import { Op, type Tensor } from "@switchyard/gpu"
import type { Score } from "./Router.ts"

export const score = (x: Tensor.Tensor, by: Exclude<Score, { readonly by: "likelihood" }>, tensors: Readonly<Record<string, Tensor.Tensor>>): Tensor.Tensor => {
  const named = (name: string): Tensor.Tensor => {
    const tensor = tensors[name]
    if (tensor === undefined) throw new Error(`score: a router by ${by.by} needs the tensor ${name}, the layer has ${Object.keys(tensors).join(", ") || "none"}`)
    return tensor
  }
  if (by.by === "linear") return Op.linear(x, named("weight"))
  if (by.by === "mlp") return Op.linear(Op.map(Op.linear(x, named("inner.weight"), named("inner.bias")), "silu"), named("weight"), named("bias")) // [rows, inner] → [rows, experts]
  const centroids = named("centroids")
  switch (by.metric) {
    case "cosine": return Op.affine(Op.linear(unitRows(x), unitRows(centroids)), { scale: 1 / by.temperature })
    case "euclidean": return nearness(Op.linear(x, centroids), Op.dotRows(x, x), Op.dotRows(centroids, centroids), by.temperature)
    case "whitened": {
      const [experts, hidden] = centroids.shape as readonly [number, number]
      const precision = Op.view(Op.map(Op.map(named("deviation"), "square"), "reciprocal"), [1, hidden]) // 1 / deviation²
      const weighted = Op.multiply(centroids, Op.joinRows(Array.from({ length: experts }, () => precision))) // [experts, hidden]
      return nearness(Op.linear(x, weighted), Op.view(Op.linear(Op.multiply(x, x), precision), [x.shape[0]!]), Op.dotRows(centroids, weighted), by.temperature)
    }
  }
}

/** Rows of length one; a row of zeros stays what it is. */
const unitRows = (x: Tensor.Tensor): Tensor.Tensor => Op.divideRows(x, Op.map(Op.affine(Op.dotRows(x, x), { shift: 1e-12 }), "sqrt"))

/** −(‖x‖² − 2 x·c + ‖c‖²) / temperature. Shapes: products [rows, experts], squares of x [rows], of c [experts]. */
const nearness = (products: Tensor.Tensor, ofRows: Tensor.Tensor, ofCentroids: Tensor.Tensor, temperature: number): Tensor.Tensor => {
  const ones = Op.affine(Op.stopGradient(products), { scale: 0, shift: 1 }) // [rows, experts]
  const near = Op.addRow(Op.affine(products, { scale: 2 / temperature }), Op.affine(ofCentroids, { scale: -1 / temperature })) // [rows, experts]
  return Op.add(near, Op.scaleRows(ones, ofRows), -1 / temperature)
}
