/**
 * The direction along which a linear map is strongest: its top right singular vector, by power iteration in f64 on v ↦ MᵀM v, so that MᵀM is
 * never formed. Of either sign; this one has its largest coordinate positive. A map that is zero has none: zeros.
 */
import { Random } from "@switchyard/core"

/** More than enough where the first singular value stands out; where it does not, any direction of the strongest will do. */
const mostSteps = 1000

export const topDirection = (dimension: number, apply: (v: Float64Array) => Float64Array): Float64Array => {
  let v = unit(Float64Array.from(Random.fillNormal(Random.make(0, "topDirection"), new Float32Array(dimension), { deviation: 1 })))
  for (let step = 0; step < mostSteps; step++) {
    const next = unit(apply(v))
    let change = 0
    for (let i = 0; i < dimension; i++) change += (next[i]! - v[i]!) ** 2
    v = next
    if (change < 1e-24) break
  }
  const largest = v.reduce((most, value) => Math.abs(value) > Math.abs(most) ? value : most, 0)
  return largest < 0 ? v.map((value) => -value) : v
}
const unit = (v: Float64Array): Float64Array => {
  const length = Math.sqrt(v.reduce((sum, value) => sum + value * value, 0))
  return length === 0 ? v : v.map((value) => value / length)
}

/** Rows of a matrix times a vector. Shapes: m [rows, columns], v [columns] → [rows]. */
export const times = (m: ArrayLike<number>, v: Float64Array): Float64Array => {
  const columns = v.length, out = new Float64Array(m.length / columns)
  for (let row = 0; row < out.length; row++) for (let column = 0; column < columns; column++) out[row]! += m[row * columns + column]! * v[column]!
  return out
}
/** The same matrix, transposed, times a vector. Shapes: m [rows, columns], v [rows] → [columns]. */
export const timesTransposed = (m: ArrayLike<number>, v: Float64Array): Float64Array => {
  const columns = m.length / v.length, out = new Float64Array(columns)
  for (let row = 0; row < v.length; row++) for (let column = 0; column < columns; column++) out[column]! += m[row * columns + column]! * v[row]!
  return out
}
