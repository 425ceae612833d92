/**
 * The angle by which each pair of a head's numbers turns from one position to the next: theta^(−2i / headSize), scaled as the model says.
 * Papers: Su et al. 2021; linear scaling, Chen et al. 2023; Llama 3.1's scaling by wavelength, Grattafiori et al. 2024.
 */
import type { Model } from "@switchyard/core"

/** Shapes: [headSize / 2]. Units: radians per position. */
export const rotaryFrequencies = ({ headSize, ropeScaling, ropeTheta }: Pick<Model.Model, "headSize" | "ropeScaling" | "ropeTheta">): Float64Array =>
  Float64Array.from({ length: headSize / 2 }, (_, i) => scaled(ropeTheta ** (-2 * i / headSize), ropeScaling))

const scaled = (frequency: number, scaling: Model.RopeScaling | undefined): number => {
  if (scaling === undefined) return frequency
  if (scaling.kind === "linear") return frequency / scaling.factor
  const { factor, highFrequency, lowFrequency, originalContext } = scaling
  const turns = originalContext * frequency / (2 * Math.PI) // full turns within the context that the model was first trained with
  const kept = Math.min(1, Math.max(0, (turns - lowFrequency) / (highFrequency - lowFrequency))) // 0 for long waves, 1 for short ones
  return (1 - kept) * frequency / factor + kept * frequency
}
