/** The host's SIMD kernels: exports have a kernel's name, its bindings as pointers, then its parameters. Beside them causal forms of some, `storedDots` and `heapBase`. */
export * from "./cached"
export * from "./causal"
export * from "./elementwise"
export * from "./pool"
export { groupedMatmulNN, groupedMatmulNT, groupedMatmulTN, matmulNN, matmulNT, matmulTN } from "./products"
export * from "./rows"
export { causalSoftmax, crossEntropy, crossEntropyGradient, softmax, softmaxGradient } from "./softmax"
export * from "./stored"
export { storedDots } from "./storedDots"

/** Where static data ends: the arena begins above. */
export function heapBase(): usize {
  return __heap_base
}
