/**
 * What a stage is expected to cost, what it did cost, and the comparison of the two.
 */

/** Units: floating-point operations; bytes. Memory is the peak. What is left out is not known, which is not zero. */
export interface Cost {
  readonly flops?: number
  readonly hostBytes?: number
  readonly deviceBytes?: number
  readonly bytesRead?: number
  readonly bytesWritten?: number
  readonly largestBuffer?: number
}
export const quantities = ["flops", "hostBytes", "deviceBytes", "bytesRead", "bytesWritten", "largestBuffer"] as const

export interface Difference {
  readonly quantity: keyof Cost
  readonly planned: number
  readonly actual: number
  /** (actual − planned) / planned */
  readonly relative: number
  /** True where the plan was further off than the tolerance. */
  readonly flagged: boolean
}

/** The quantities that both sides know, side by side; flagged where the actual one differs by more than `tolerance` of the planned one. */
export const compare = (planned: Cost, actual: Cost, tolerance = 0.2): ReadonlyArray<Difference> => quantities.flatMap((quantity) => {
  const before = planned[quantity], after = actual[quantity]
  if (before === undefined || after === undefined) return []
  const relative = before === after ? 0 : (after - before) / before
  return [{ quantity, planned: before, actual: after, relative, flagged: !(Math.abs(relative) <= tolerance) }]
})
