/** Which library call a matrix-product step becomes: one Gemm, one batched product, a Gemm per group, or none when it is too small. */
import type { OnnxProducts, Operand } from "./onnxProducts.ts"

/** Below this many floating-point operations a call into the library costs more than the SIMD module's product. Measured by tools/bench/host.ts. */
export const smallProduct = 120_000

export interface ProductStep {
  readonly kernel: string
  readonly params: Readonly<Record<string, number>>
  /** The numbers from element `from` of a binding on. */
  readonly view: (binding: string, from: number, length: number) => Float32Array
  /** The element-th number of a u32 binding. */
  readonly index: (binding: string, element: number) => number
}

const transposed = (kernel: string) => ({ transposeA: kernel.endsWith("TN"), transposeB: kernel.endsWith("NT") })

/** The prepared call, or undefined when the SIMD module should do it. */
export const prepareProduct = (library: OnnxProducts, step: ProductStep): (() => void) | undefined => {
  if (step.kernel.startsWith("grouped")) return step.kernel === "groupedMatmulTN" ? groupedGradient(library, step) : grouped(library, step)
  const { accumulate, alpha, batch, columns, inner, rows, strideA, strideB } = step.params as Record<"accumulate" | "alpha" | "batch" | "columns" | "inner" | "rows" | "strideA" | "strideB", number>
  if (2 * batch * rows * columns * inner < smallProduct) return undefined
  const { transposeA, transposeB } = transposed(step.kernel)
  const axesA = transposeA ? [inner, rows] : [rows, inner], axesB = transposeB ? [columns, inner] : [inner, columns]
  const gemm = (i: number, times: number): (() => void) => library.prepare({ operator: "Gemm", transposeA, transposeB, alpha, accumulate: accumulate === 1 },
    { data: step.view("a", i * strideA, times * rows * inner), axes: [axesA[0]! * times, axesA[1]!] },
    { data: step.view("b", i * strideB, columns * inner), axes: axesB },
    { data: step.view("out", i * rows * columns, times * rows * columns), axes: [rows * times, columns] })
  if (batch === 1) return gemm(0, 1)
  if (strideB === 0 && !transposeA && strideA === rows * inner) return gemm(0, batch)
  const whole = (stride: number) => stride === 0 ? 1 : batch
  if (accumulate === 0 && (strideA === 0 || strideA === rows * inner) && (strideB === 0 || strideB === columns * inner)) {
    return library.prepare({ operator: "FusedMatMul", transposeA, transposeB, alpha, accumulate: false },
      { data: step.view("a", 0, whole(strideA) * rows * inner), axes: [whole(strideA), ...axesA] },
      { data: step.view("b", 0, whole(strideB) * columns * inner), axes: [whole(strideB), ...axesB] },
      { data: step.view("out", 0, batch * rows * columns), axes: [batch, rows, columns] })
  }
  if (2 * rows * columns * inner < smallProduct) return undefined
  const calls = Array.from({ length: batch }, (_, i) => gemm(i, 1))
  return () => { for (const call of calls) call() }
}

/** Groups have as many rows as the data says: operands are cut anew at every call. */
const grouped = (library: OnnxProducts, { index, kernel, params, view }: ProductStep): (() => void) | undefined => {
  const { alpha, columns, groups, inner, rows } = params as Record<"alpha" | "columns" | "groups" | "inner" | "rows", number>
  if (2 * rows * columns * inner < smallProduct * groups) return undefined
  const { transposeB } = transposed(kernel)
  const weights = Array.from({ length: groups }, (_, group): Operand => ({ data: view("weight", group * columns * inner, columns * inner), axes: transposeB ? [columns, inner] : [inner, columns] }))
  return () => {
    for (let group = 0; group < groups; group++) {
      const begin = index("offsets", group), count = index("offsets", group + 1) - begin
      if (count > 0) library.prepare({ operator: "Gemm", transposeA: false, transposeB, alpha, accumulate: false },
        { data: view("x", begin * inner, count * inner), axes: [count, inner] }, weights[group]!, { data: view("out", begin * columns, count * columns), axes: [count, columns] })()
    }
  }
}

const groupedGradient = (library: OnnxProducts, { index, params, view }: ProductStep): (() => void) | undefined => {
  const { alpha, columns, groups, rows, total } = params as Record<"alpha" | "columns" | "groups" | "rows" | "total", number>
  if (2 * rows * columns * total < smallProduct * groups) return undefined
  const outs = Array.from({ length: groups }, (_, group): Operand => ({ data: view("out", group * rows * columns, rows * columns), axes: [rows, columns] }))
  return () => {
    for (let group = 0; group < groups; group++) {
      const begin = index("offsets", group), count = index("offsets", group + 1) - begin
      if (count === 0) outs[group]!.data.fill(0)
      else library.prepare({ operator: "Gemm", transposeA: true, transposeB: false, alpha, accumulate: false },
        { data: view("a", begin * rows, count * rows), axes: [count, rows] }, { data: view("b", begin * columns, count * columns), axes: [count, columns] }, outs[group]!)()
    }
  }
}
