/**
 * The angle by which each pair of a head's rotated numbers turns from one position to the next: theta^(−2i / rotated), scaled as the model says.
 * Papers: Su et al. 2021; linear scaling, Chen et al. 2023; Llama 3.1's by wavelength, Grattafiori et al. 2024; YaRN, Peng et al. 2023; LongRoPE, Ding et al. 2024.
 */
import type { Model } from "@switchyard/core"

type Positions = Pick<Model.Model, "headSize" | "ropeScaling" | "ropeTheta"> & Partial<Pick<Model.Model, "attention" | "contextLength">>
/** How many numbers of each head rotate. */
export const rotatedSize = ({ attention, headSize }: Pick<Positions, "attention" | "headSize">): number => attention?.rotated ?? headSize

/** Shapes: [rotated / 2]. Units: radians per position. Options: `positions`, how many the decoder is made for, which decides between longrope's factors; `local`: of the layers with a window. */
export const rotaryFrequencies = (model: Positions, options: { readonly positions?: number; readonly local?: boolean } = {}): Float64Array => {
  const size = rotatedSize(model), { attention, ropeScaling: scaling, ropeTheta } = model, local = options.local === true && attention?.localTheta !== undefined
  const plain = Float64Array.from({ length: size / 2 }, (_, i) => (local ? attention.localTheta : ropeTheta) ** (-2 * i / size))
  if (scaling === undefined || local) return plain
  switch (scaling.kind) {
    case "linear": return plain.map((frequency) => frequency / scaling.factor)
    case "llama3": return plain.map((frequency) => {
      const turns = scaling.originalContext * frequency / (2 * Math.PI) // full turns within the context that the model was first trained with
      const kept = between(turns, scaling.lowFrequency, scaling.highFrequency) // 0 for long waves, 1 for short ones
      return (1 - kept) * frequency / scaling.factor + kept * frequency
    })
    case "yarn": {
      // the place among the frequencies of the one that turns so many times within the original context
      const place = (turns: number) => size * Math.log(scaling.originalContext / (turns * 2 * Math.PI)) / (2 * Math.log(ropeTheta))
      const [low, high] = scaling.whole ? [Math.floor(place(scaling.fast)), Math.ceil(place(scaling.slow))] : [place(scaling.fast), place(scaling.slow)]
      const begin = Math.max(low, 0), end = Math.min(high, size - 1)
      return plain.map((frequency, i) => {
        const divided = between(i, begin, begin === end ? end + 0.001 : end)
        return divided * frequency / scaling.factor + (1 - divided) * frequency
      })
    }
    case "longrope": {
      const factors = (options.positions ?? model.contextLength ?? 0) > scaling.originalContext ? scaling.long : scaling.short
      return plain.map((frequency, i) => frequency / factors[i]!)
    }
  }
}
/** 0 at `low`, 1 at `high`, in proportion between them. */
const between = (value: number, low: number, high: number): number => Math.min(1, Math.max(0, (value - low) / (high - low)))

/** YaRN's magnitude for a factor, with a weight of its logarithm. */
export const yarnMagnitude = (factor: number, weight = 1): number => factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1

/** What cosines and sines are multiplied by: one, but for yarn and longrope. */
export const rotaryMagnitude = ({ contextLength = 0, ropeScaling: scaling }: Pick<Positions, "contextLength" | "ropeScaling">): number => {
  if (scaling?.kind === "yarn") return scaling.magnitude ?? (scaling.weight !== undefined && scaling.weightAll !== undefined
    ? yarnMagnitude(scaling.factor, scaling.weight) / yarnMagnitude(scaling.factor, scaling.weightAll) : yarnMagnitude(scaling.factor))
  if (scaling?.kind !== "longrope") return 1
  const factor = scaling.factor ?? contextLength / scaling.originalContext
  return scaling.magnitude ?? (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(scaling.originalContext)))
}
