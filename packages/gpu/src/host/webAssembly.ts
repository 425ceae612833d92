/** The part of WebAssembly's interface that the host uses: neither es2023's nor Node 20's types declare it, and the DOM's clash with WebGPU's. */
export interface Memory { readonly buffer: ArrayBuffer; readonly grow: (pages: number) => number }
export type Module = { readonly brand: unique symbol }
export type Exports = Readonly<Record<string, (...parameters: ReadonlyArray<number>) => number>>

export const { Instance, Memory, Module } = (globalThis as unknown as { readonly WebAssembly: {
  readonly Memory: new(size: { readonly initial: number; readonly maximum: number }) => Memory
  readonly Module: new(bytes: Uint8Array) => Module
  readonly Instance: new(module: Module, imports: { readonly env: { readonly memory: Memory } }) => { readonly exports: unknown }
} }).WebAssembly
