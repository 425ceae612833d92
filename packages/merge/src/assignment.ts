/**
 * The linear assignment problem, solved exactly in O(n³) by shortest augmenting paths with potentials (Jonker & Volgenant 1987).
 */

/**
 * The permutation p that maximises Σ similarity[i, p[i]]; among equals, the one found by scanning columns from the lowest.
 *
 * Shapes: similarity [size, size] row major; the result has `size` entries. Units: none.
 */
export const assignment = (similarity: Float64Array, size: number): Uint32Array => {
  if (similarity.length !== size * size) throw new Error(`assignment: similarity expected ${size} × ${size} numbers, got ${similarity.length}`)
  const rowPotential = new Float64Array(size + 1), columnPotential = new Float64Array(size + 1)
  const rowOf = new Int32Array(size + 1), way = new Int32Array(size + 1) // row matched to a column, 1-based; 0 is none
  for (let row = 1; row <= size; row++) {
    rowOf[0] = row
    const least = new Float64Array(size + 1).fill(Infinity), used = new Uint8Array(size + 1)
    let column = 0
    do {
      used[column] = 1
      const from = rowOf[column]!
      let step = Infinity, next = 0
      for (let j = 1; j <= size; j++) {
        if (used[j]) continue
        const reduced = -similarity[(from - 1) * size + j - 1]! - rowPotential[from]! - columnPotential[j]!
        if (reduced < least[j]!) { least[j] = reduced; way[j] = column }
        if (least[j]! < step) { step = least[j]!; next = j }
      }
      if (!Number.isFinite(step)) throw new Error("assignment: the similarities must be finite numbers")
      for (let j = 0; j <= size; j++) {
        if (used[j]) { rowPotential[rowOf[j]!]! += step; columnPotential[j]! -= step } else least[j]! -= step
      }
      column = next
    } while (rowOf[column] !== 0)
    while (column !== 0) { const previous = way[column]!; rowOf[column] = rowOf[previous]!; column = previous }
  }
  const permutation = new Uint32Array(size)
  for (let j = 1; j <= size; j++) permutation[rowOf[j]! - 1] = j - 1
  return permutation
}
