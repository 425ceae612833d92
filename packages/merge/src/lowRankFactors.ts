/** The best low-rank approximation of a matrix in the Frobenius norm: its truncated singular value decomposition (Eckart & Young 1936). */
import { Matrix, SingularValueDecomposition } from "ml-matrix"

/**
 * w ≈ b · a with b = U√S and a = √S·Vᵀ.
 *
 * Shapes: w [rows, columns]; a [rank, columns], b [rows, rank]. `lost` is the share of the squared norm that the approximation leaves out, 0 at full rank.
 * Fails: a rank above the smaller axis dies.
 */
export const lowRankFactors = (w: Float32Array, rows: number, columns: number, rank: number): { readonly a: Float32Array; readonly b: Float32Array; readonly lost: number } => {
  if (rank < 1 || rank > Math.min(rows, columns)) throw new Error(`lowRankFactors: rank ${rank} must lie between 1 and ${Math.min(rows, columns)}, the smaller axis of [${rows}, ${columns}]`)
  const { diagonal, leftSingularVectors: left, rightSingularVectors: right } = new SingularValueDecomposition(Matrix.from1DArray(rows, columns, w), { autoTranspose: true })
  const a = new Float32Array(rank * columns), b = new Float32Array(rows * rank)
  for (let r = 0; r < rank; r++) {
    const root = Math.sqrt(diagonal[r]!)
    for (let column = 0; column < columns; column++) a[r * columns + column] = root * right.get(column, r)
    for (let row = 0; row < rows; row++) b[row * rank + r] = root * left.get(row, r)
  }
  const square = (values: ReadonlyArray<number>) => values.reduce((sum, value) => sum + value * value, 0), all = square(diagonal)
  return { a, b, lost: all === 0 ? 0 : square(diagonal.slice(rank)) / all }
}
