/**
 * Alignment of experts. The inner channels of a gated feed-forward may be permuted freely (rows of gate and up, columns of down, all
 * by one permutation) without changing what it computes; before experts are averaged, each is permuted to match a reference
 * (Git Re-Basin, Ainsworth et al. 2023; used for experts by M-SMoE, Li et al. 2024).
 */
import { assignment } from "./assignment.ts"

/** A gated feed-forward's matrices. Shapes: gate, up [inner, hidden]; down [hidden, inner]. */
export interface FeedForward { readonly gate: Float32Array; readonly up: Float32Array; readonly down: Float32Array }

/** out[i, j] += Σ_k a[i, k] · b[j, k]: similarity of rows. */
const addRowProducts = (out: Float64Array, a: Float32Array, b: Float32Array, rows: number, columns: number): void => {
  for (let i = 0; i < rows; i++) for (let j = 0; j < rows; j++) {
    let sum = 0
    for (let k = 0, left = i * columns, right = j * columns; k < columns; k++) sum += a[left + k]! * b[right + k]!
    out[i * rows + j]! += sum
  }
}

const transposed = (x: Float32Array, rows: number, columns: number): Float32Array => {
  const out = new Float32Array(x.length)
  for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) out[column * rows + row] = x[row * columns + column]!
  return out
}

/** Which channel of `expert` takes each place so that it resembles `reference` most: the exact maximum of the summed inner products of all three matrices. */
export const match = (reference: FeedForward, expert: FeedForward, inner: number, hidden: number): Uint32Array => {
  const similarity = new Float64Array(inner * inner) // [inner, inner]
  addRowProducts(similarity, reference.gate, expert.gate, inner, hidden)
  addRowProducts(similarity, reference.up, expert.up, inner, hidden)
  addRowProducts(similarity, transposed(reference.down, hidden, inner), transposed(expert.down, hidden, inner), inner, hidden)
  return assignment(similarity, inner)
}

/** The expert with its inner channels reordered: channel i of the result is channel order[i] of the expert. Computes the same function. */
export const permute = (expert: FeedForward, order: Uint32Array, inner: number, hidden: number): FeedForward => {
  const rows = (x: Float32Array): Float32Array => {
    const out = new Float32Array(x.length)
    for (let i = 0; i < inner; i++) out.set(x.subarray(order[i]! * hidden, (order[i]! + 1) * hidden), i * hidden)
    return out
  }
  const down = new Float32Array(expert.down.length)
  for (let row = 0; row < hidden; row++) for (let i = 0; i < inner; i++) down[row * inner + i] = expert.down[row * inner + order[i]!]!
  return { gate: rows(expert.gate), up: rows(expert.up), down }
}

/** `expert` permuted to match `reference`. */
export const align = (reference: FeedForward, expert: FeedForward, inner: number, hidden: number): FeedForward => permute(expert, match(reference, expert, inner, hidden), inner, hidden)
