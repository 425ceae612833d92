/**
 * A kernel is the narrow waist between ops and devices: one value that says what a device must be able to do.
 *
 * `run` is the plain reference on typed arrays and works in f32 and f64 (gradient checks run it in f64); the `.wgsl` file beside it is
 * the WebGPU form; an export of the same name in the SIMD module replaces `run` on the host. All three take the same bindings
 * and parameters in the same order, and one suite tests them with the same numbers.
 */

/** Real numbers as a device keeps them: f32, or f64 where gradients are checked. */
export type Reals = Float32Array | Float64Array
export type DType = "f32" | "u32"
/** `write` means every element is written; `update` means what was there matters or remains in part. */
export type Access = "read" | "write" | "update"
/** `stored`: the words of a tensor of weights in one of the formats of Storage.ts. */
export interface Binding { readonly dtype: DType; readonly access: Access; readonly stored?: true }

export const reads = { dtype: "f32", access: "read" } as const
export const writes = { dtype: "f32", access: "write" } as const
export const updates = { dtype: "f32", access: "update" } as const
export const readsStored = { dtype: "u32", access: "read", stored: true } as const
export const readsIndex = { dtype: "u32", access: "read" } as const
export const writesIndex = { dtype: "u32", access: "write" } as const
export const updatesIndex = { dtype: "u32", access: "update" } as const

export type Parameters = Readonly<Record<string, "u32" | "f32">>
export type Values<P extends Parameters> = { readonly [K in keyof P]: number }
export type Buffers<B extends Readonly<Record<string, Binding>>> = { readonly [K in keyof B]: B[K]["dtype"] extends "u32" ? Uint32Array : Reals }
export type Workgroups = readonly [x: number, y: number, z: number]

export interface Kernel<B extends Readonly<Record<string, Binding>> = Readonly<Record<string, Binding>>, P extends Parameters = Parameters> {
  readonly name: string
  /** In binding order: binding 0 of group 0 is the uniform block of `params`, the first of these is binding 1. */
  readonly bindings: B
  /** In layout order: each takes four bytes of the uniform block. */
  readonly params: P
  /** Floating-point operations of one step (a multiply-add counts two). */
  readonly flops: (params: Values<P>) => number
  readonly run: (buffers: Buffers<B>, params: Values<P>) => void
  readonly dispatch: (params: Values<P>) => Workgroups
  /** Where the WGSL lies. */
  readonly source: URL
}
// oxlint-disable-next-line typescript/no-explicit-any
export type Any = Kernel<any, any>

export const make = <const B extends Readonly<Record<string, Binding>>, const P extends Parameters>(name: string, spec: Omit<Kernel<B, P>, "name">): Kernel<B, P> => ({ name, ...spec })

/** Threads in a workgroup of every kernel that gives one thread to an element, or one workgroup to a row. */
export const workgroupSize = 64
/** WebGPU's guaranteed number of workgroups along one axis. */
export const maximumWorkgroups = 65535

/** As many workgroups as needed, folded into x and y: WGSL recovers the flat index with `flatWorkgroup`. */
export const groups = (count: number): Workgroups => {
  const x = Math.min(Math.max(count, 1), maximumWorkgroups)
  return [x, Math.max(1, Math.ceil(count / x)), 1]
}
/** One thread to an element. */
export const perElement = (count: number): Workgroups => groups(Math.ceil(count / workgroupSize))
/** One workgroup to a row. */
export const perRow = (rows: number): Workgroups => groups(rows)
