/**
 * How much of the cluster an expert's examples still leave open, in nats: the entropy of the clusters among the examples that each expert gets,
 * averaged with the experts' loads. 0: every expert sees one cluster; ln(clusters): routing knows nothing.
 *
 * Shapes: counts [experts, clusters].
 */
export const dispatchEntropy = (counts: ReadonlyArray<ReadonlyArray<number>>): number => {
  const total = counts.flat().reduce((sum, count) => sum + count, 0)
  return counts.reduce((sum, row) => {
    const load = row.reduce((sum, count) => sum + count, 0)
    return sum - row.reduce((inner, count) => count === 0 ? inner : inner + count / total * Math.log(count / load), 0)
  }, 0)
}

/** How many examples of each cluster each expert got. Shapes: experts and clusters [examples] → [experts, clusters]. */
export const countDispatch = (experts: ArrayLike<number>, clusters: ArrayLike<number>, sizes: { readonly experts: number; readonly clusters: number }): ReadonlyArray<ReadonlyArray<number>> => {
  const counts = Array.from({ length: sizes.experts }, () => new Array<number>(sizes.clusters).fill(0))
  for (let example = 0; example < clusters.length; example++) counts[experts[example]!]![clusters[example]!]!++
  return counts
}
