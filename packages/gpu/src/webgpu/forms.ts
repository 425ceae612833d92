/** Which form of a kernel an adapter gets, by what it says of itself and what it was seen to do: whether lanes can hand values round in fours, and whether it runs on the processor. */
import { type Any, type Binding, groups, type Workgroups } from "../Kernel.ts"

export interface Forms {
  /** Products by quads of lanes: products.quad.wgsl in place of products.wgsl. */
  readonly products: boolean
  /** Rows by quads of lanes: rows.quad.wgsl in place of rows.wgsl. */
  readonly rows: boolean
}
/** `quads`: it has subgroups, and their quads are neighbours (quads.ts). */
export const formsOf = (quads: boolean, software: boolean): Forms => ({ products: quads, rows: quads && software })

/** Matrix products: they say what is multiplied, the tile is shared. */
const products: ReadonlySet<string> = new Set([
  "matmulNN", "matmulNT", "matmulTN", "groupedMatmulNN", "groupedMatmulNT", "groupedMatmulTN",
  "storedMatmulNN", "storedMatmulNT", "storedGroupedMatmulNN", "storedGroupedMatmulNT"
])
/** Kernels whose workgroup is a row of rows.wgsl. */
const rows: ReadonlySet<string> = new Set([
  "cachedSoftmax", "causalSoftmax", "clipFactor", "combineWeightGradient", "crossEntropy", "dotRows", "placedSoftmax", "rmsNorm", "rmsNormGradient", "sinkShare", "softmax", "softmaxGradient", "sumColumns"
])
const rowsOfQuads = 16
/** Whether a kernel widens a stored tensor, its binding `weight`. */
const widens = (bindings: Readonly<Record<string, Binding>>): boolean => Object.values(bindings).some(({ stored }) => stored === true)

/** Every kernel that has a second form. */
export const inQuads: ReadonlySet<string> = new Set([...products, ...rows])

export const usesQuads = (kernel: string, forms: Forms): boolean => forms.products && products.has(kernel) || forms.rows && rows.has(kernel)
/** The files behind a kernel's declarations, in order: what its functions rest on, the kernel, and the tile when it is a matrix product. */
export const sourcesOf = (kernel: Any, forms: Forms): ReadonlyArray<URL> => {
  const shared = (name: string, quads: boolean) => new URL(`./${name}${quads ? ".quad" : ""}.wgsl`, import.meta.url)
  return [shared("prelude", false), ...widens(kernel.bindings) ? [shared("stored", false)] : [], ...rows.has(kernel.name) ? [shared("rows", forms.rows)] : [], kernel.source, ...products.has(kernel.name) ? [shared("products", forms.products)] : []]
}
/** The workgroups of a kernel's form, from those of its first form. */
export const workgroupsOf = (kernel: string, [x, y, z]: Workgroups, forms: Forms): Workgroups =>
  forms.rows && rows.has(kernel) ? groups(Math.ceil(x * y / rowsOfQuads)) : [x, y, z]
