/** The host's SIMD kernels: every export but `heapBase` has a kernel's name, its bindings as pointers, then its parameters. */
export * from "./elementwise"
export * from "./products"
export * from "./rows"
export * from "./softmax"

/** Where static data ends: the arena begins above. */
export function heapBase(): usize {
  return __heap_base
}
