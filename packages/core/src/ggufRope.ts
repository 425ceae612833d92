/**
 * How rotary positions are scaled, of the divisors of the frequencies that a GGUF file holds instead (`rope_freqs.weight`).
 *
 * Llama 3.1's scaling is told by four numbers, of which the divisors determine three up to what gives the same divisors: the numbers that Meta
 * uses are tried first, then the line on which the interpolated frequencies lie. What is found is only taken when it gives the divisors again.
 */
import type * as Model from "./Model.ts"

type Wavelengths = Extract<Model.RopeScaling, { readonly kind: "llama3" }>

/** The divisor of a frequency: 1 for short waves, `factor` for long ones. */
const divisor = (frequency: number, { factor, highFrequency, lowFrequency, originalContext }: Wavelengths): number => {
  const kept = Math.min(1, Math.max(0, (originalContext * frequency / (2 * Math.PI) - lowFrequency) / (highFrequency - lowFrequency)))
  return 1 / ((1 - kept) / factor + kept)
}

/** The scaling that gives these divisors; "none" for ones, undefined when no scaling of ours does. Shapes: divisors [headSize / 2]. */
export const ropeScalingOf = (divisors: ArrayLike<number>, ropeTheta: number, contextLength: number): Model.RopeScaling | "none" | undefined => {
  const all = Array.from(divisors), factor = Math.round(Math.max(...all) * 1e4) / 1e4, frequencies = all.map((_, i) => ropeTheta ** (-i / all.length))
  if (!all.every((value) => value >= 1 && value < Infinity)) return undefined
  if (all.every((value) => value === 1)) return "none"
  if (all.every((value) => value === all[0])) return { kind: "linear", factor }
  const kept = all.map((value) => (1 / value - 1 / factor) / (1 - 1 / factor)), between = kept.flatMap((share, i) => share > 1e-3 && share < 1 - 1e-3 ? [i] : [])
  const usual = between.slice(0, 1).map((i) => Math.round((1 + 3 * kept[i]!) * 2 * Math.PI / frequencies[i]!)) // the context for which Meta's 1 and 4 give this point
  const candidates: Array<Wavelengths> = [8192, ...usual, contextLength].map((originalContext) => ({ kind: "llama3", factor, lowFrequency: 1, highFrequency: 4, originalContext }))
  if (between.length > 1) { // kept = slope · frequency − offset, where slope = context / 2π(high − low) and offset = low / (high − low)
    const first = between[0]!, last = between.at(-1)!, slope = (kept[first]! - kept[last]!) / (frequencies[first]! - frequencies[last]!), offset = slope * frequencies[first]! - kept[first]!
    const highFrequency = Math.round((1 + 1 / offset) * 1e3) / 1e3
    candidates.push({ kind: "llama3", factor, lowFrequency: 1, highFrequency, originalContext: Math.round(slope * 2 * Math.PI * (highFrequency - 1)) })
  }
  return candidates.find((one) => one.highFrequency > 1 && one.originalContext > 0 && all.every((value, i) => Math.abs(divisor(frequencies[i]!, one) / value - 1) < 1e-4))
}
