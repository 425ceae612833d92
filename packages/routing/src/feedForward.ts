/**
 * The dense feed-forward, down · (silu(gate · x) ⊙ (up · x)), as it is and with low-rank terms on its matrices.
 *
 * Shapes: x [rows, hidden] → [rows, hidden]. Paper: Shazeer, "GLU variants improve transformer", 2020.
 */
import { Op, type Tensor } from "@switchyard/gpu"
import type { Full, LowRank, Matrix } from "./Expert.ts"

export const dense = (x: Tensor.Tensor, { down, gate, up }: Full): Tensor.Tensor =>
  Op.linear(Op.swiglu(Op.linear(x, gate), Op.linear(x, up)), down)

/** Each matrix W acts as W + scale · b·a. */
export const adapted = (x: Tensor.Tensor, base: Full, change: LowRank, scale: number): Tensor.Tensor => {
  const through = (input: Tensor.Tensor, matrix: Matrix) => Op.adaptedLinear(input, base[matrix], { ...change[matrix], scale })
  return through(Op.swiglu(through(x, "gate"), through(x, "up")), "down")
}
