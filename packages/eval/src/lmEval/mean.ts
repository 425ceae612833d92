/** Σ x / n, added in order. */
export const mean = (values: ArrayLike<number>): number => {
  let sum = 0
  for (let at = 0; at < values.length; at++) sum += values[at]!
  return sum / values.length
}

/** √(Σ (x − mean)² / (n − 1)). */
export const sampleDeviation = (values: ArrayLike<number>): number => {
  const middle = mean(values)
  let sum = 0
  for (let at = 0; at < values.length; at++) sum += (values[at]! - middle) ** 2
  return Math.sqrt(sum / (values.length - 1))
}
