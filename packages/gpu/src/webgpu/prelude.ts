/**
 * What stands in front of a kernel's WGSL: its parameters as a uniform block `p`, its bindings as storage arrays under their own names,
 * and the small functions of prelude.wgsl and rows.wgsl; behind a matrix product stands its tile. The kernel's text itself is never changed.
 */
import { readFile } from "node:fs/promises"
import type { Any, Binding, DType } from "../Kernel.ts"
import { type Forms, sourcesOf, usesQuads } from "./forms.ts"

/** Names of our parameters that WGSL reserves: they get a trailing underscore, `p.active_`. */
const reserved: ReadonlySet<string> = new Set(["active", "filter", "final", "from", "get", "of", "self", "set", "target", "with"])
const spelled = (name: string): string => reserved.has(name) ? `${name}_` : name

/** The declarations of a kernel's parameters and bindings. */
export const declarations = (kernel: Any): string => {
  const members = Object.entries(kernel.params as Record<string, DType>).map(([name, dtype]) => `${spelled(name)}: ${dtype}`)
  const bindings = Object.entries(kernel.bindings as Record<string, Binding>).map(([name, { access, dtype }], at) =>
    `@group(0) @binding(${at + 1}) var<storage, ${access === "read" ? "read" : "read_write"}> ${spelled(name)}: array<${dtype}>;`)
  return [`struct Parameters { ${members.join(", ")} }`, "@group(0) @binding(0) var<uniform> p: Parameters;", ...bindings].join("\n")
}

/** The whole module of a kernel, as WebGPU gets it. Fails with the file system's error when a file is missing. */
export const moduleOf = async (kernel: Any, forms: Forms): Promise<string> => {
  const texts = await Promise.all(sourcesOf(kernel, forms).map((file) => readFile(file, "utf8")))
  // quads leave as a whole, which the analysis of uniformity cannot see
  const quads = usesQuads(kernel.name, forms) ? ["enable subgroups;", "diagnostic(off, subgroup_uniformity);"] : []
  return [...quads, declarations(kernel), ...texts].join("\n")
}

/** A step's parameters as the uniform block: four bytes each, in layout order. */
export const packParameters = (kernel: Any, values: ReadonlyArray<number>, into: DataView, offset: number): void => {
  Object.values(kernel.params as Record<string, DType>).forEach((dtype, at) => {
    if (dtype === "f32") into.setFloat32(offset + 4 * at, values[at]!, true)
    else into.setUint32(offset + 4 * at, values[at]!, true)
  })
}
/** Bytes of a kernel's uniform block. */
export const parameterBytes = (kernel: Any): number => Math.ceil(Object.keys(kernel.params).length / 4) * 16
