/**
 * Logits of the experts for each row, as the router's score says.
 *
 * linear: a learned direction; mlp: one hidden layer (silu); distance: nearness to centroids. magnitude: |x · direction| (Ostapenko et al., "Towards modular LLMs
 * by building and reusing a library of LoRAs", 2024: Arrow). standardized: x and gate each less their mean and over their deviation, their product over
 * √width (Muqeeth et al., "Learning to route among specialized experts for zero-shot generalization", 2024: PHATGOOSE). generated: the direction is
 * column · (silu(gate e) ⊙ up e) of the expert's embedding e, less the mean of all when they were made and of mean square one, so that an expert that is added later needs only its embedding (Gritsch et al., "Nexus", 2024).
 *
 * Shapes: x [rows, width], weight or centroids [experts, width], deviation [width]; of mlp inner.weight [inner, width], inner.bias [inner],
 * weight [experts, inner], bias [experts]; directions, gates [experts, width]; embeddings [experts, embedding], embeddings.mean [embedding], inner.gate and inner.up [inner, embedding],
 * column [width, inner] → [rows, experts]. Gradients: with respect to all of them.
 */
import { Op, type Tensor } from "@switchyard/gpu"
import type { Score } from "./Router.ts"

export const score = (x: Tensor.Tensor, by: Exclude<Score, { readonly by: "likelihood" | "lookup" | "ngram" }>, tensors: Readonly<Record<string, Tensor.Tensor>>): Tensor.Tensor => {
  const named = (name: string): Tensor.Tensor => {
    const tensor = tensors[name]
    if (tensor === undefined) throw new Error(`score: a router by ${by.by} needs the tensor ${name}, the layer has ${Object.keys(tensors).join(", ") || "none"}`)
    return tensor
  }
  if (by.by === "linear") return Op.linear(x, named("weight"), by.bias === true ? named("bias") : undefined)
  if (by.by === "mlp") return Op.linear(Op.map(Op.linear(x, named("inner.weight"), named("inner.bias")), "silu"), named("weight"), named("bias")) // [rows, inner] → [rows, experts]
  if (by.by === "magnitude") {
    const along = Op.linear(x, named("directions")) // [rows, experts]
    return Op.affine(Op.add(Op.map(along, "relu"), Op.map(Op.affine(along, { scale: -1 }), "relu")), { scale: 1 / by.temperature }) // |along|
  }
  if (by.by === "standardized") return Op.affine(Op.linear(standardized(x), standardized(named("gates"))), { scale: 1 / Math.sqrt(x.shape[1]!) })
  if (by.by === "generated") {
    const centred = Op.addRow(named("embeddings"), Op.affine(named("embeddings.mean"), { scale: -1 })) // [experts, embedding]
    const embeddings = Op.affine(unitRows(centred), { scale: Math.sqrt(by.embedding) }) // each with a mean square of one
    const columns = Op.linear(Op.swiglu(Op.linear(embeddings, named("inner.gate")), Op.linear(embeddings, named("inner.up"))), named("column")) // [experts, inner] → [experts, width]
    return Op.linear(x, columns)
  }
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

/** Rows of mean zero and deviation one; a row that is the same everywhere becomes zeros. */
const standardized = (x: Tensor.Tensor): Tensor.Tensor => {
  const columns = x.shape[1]!, ones = Op.affine(Op.stopGradient(x), { scale: 0, shift: 1 })
  const centred = Op.add(x, Op.scaleRows(ones, Op.sumColumns(x, 1 / columns)), -1)
  return Op.divideRows(centred, Op.map(Op.affine(Op.dotRows(centred, centred), { scale: 1 / columns, shift: 1e-6 }), "sqrt"))
}
/** Rows of length one; a row of zeros stays what it is. */
const unitRows = (x: Tensor.Tensor): Tensor.Tensor => Op.divideRows(x, Op.map(Op.affine(Op.dotRows(x, x), { shift: 1e-12 }), "sqrt"))

/** −(‖x‖² − 2 x·c + ‖c‖²) / temperature. Shapes: products [rows, experts], squares of x [rows], of c [experts]. */
const nearness = (products: Tensor.Tensor, ofRows: Tensor.Tensor, ofCentroids: Tensor.Tensor, temperature: number): Tensor.Tensor => {
  const ones = Op.affine(Op.stopGradient(products), { scale: 0, shift: 1 }) // [rows, experts]
  const near = Op.addRow(Op.affine(products, { scale: 2 / temperature }), Op.affine(ofCentroids, { scale: -1 / temperature })) // [rows, experts]
  return Op.add(near, Op.scaleRows(ones, ofRows), -1 / temperature)
}
