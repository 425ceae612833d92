/**
 * alpha · the product over the last two axes, batched over the first of three.
 *
 * Shapes: a [batch?, rows, inner] ([inner, rows] when `transposeA`), b [batch?, inner, columns] ([columns, inner] when `transposeB`) → [batch?, rows, columns].
 * Both transposed is refused: (b a)ᵀ says the same.
 */
import * as Gradient from "../Gradient.ts"
import { matmulNN } from "../kernels/matmulNN.ts"
import { matmulNT } from "../kernels/matmulNT.ts"
import { matmulTN } from "../kernels/matmulTN.ts"
import * as Recording from "../Recording.ts"
import { expectShape, type Tensor } from "../Tensor.ts"

export const matmul = (a: Tensor, b: Tensor, options: { readonly transposeA?: boolean; readonly transposeB?: boolean; readonly alpha?: number } = {}): Tensor => {
  const { alpha = 1, transposeA = false, transposeB = false } = options
  if (transposeA && transposeB) throw new Error("matmul: transposeA and transposeB together: swap the operands instead")
  if (a.shape.length !== 2 && a.shape.length !== 3) throw new Error(`matmul: a must have 2 or 3 axes, got [${a.shape.join(", ")}]`)
  expectShape("matmul", "a", a, a.shape)
  const lead = a.shape.slice(0, -2), batch = lead[0] ?? 1
  const rows = a.shape.at(transposeA ? -1 : -2)!, inner = a.shape.at(transposeA ? -2 : -1)!
  expectShape("matmul", "b", b, [...lead, ...(transposeB ? [undefined, inner] : [inner, undefined])])
  const columns = b.shape.at(transposeB ? -2 : -1)!
  const out = Recording.scratch([...lead, rows, columns])
  const kernel = transposeA ? matmulTN : transposeB ? matmulNT : matmulNN
  Recording.step(kernel, { a, b, out }, { batch, rows, columns, inner, strideA: rows * inner, strideB: inner * columns, alpha, accumulate: 0 })
  return Gradient.derive(out, [a, b], (gradient, needs) => [
    !needs[0] ? undefined
      : transposeA ? matmul(b, gradient, { transposeB: true, alpha })          // a [inner, rows] ← b gradientᵀ
      : matmul(gradient, b, transposeB ? { alpha } : { transposeB: true, alpha }), // a [rows, inner] ← gradient b or gradient bᵀ
    !needs[1] ? undefined
      : transposeB ? matmul(gradient, a, { transposeA: true, alpha })          // b [columns, inner] ← gradientᵀ a
      : matmul(a, gradient, transposeA ? { alpha } : { transposeA: true, alpha }) // b [inner, columns] ← a gradient or aᵀ gradient
  ])
}
