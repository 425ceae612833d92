/**
 * Samples of the patches problem: n patches, each one of 200 patterns at right angles to each other, one of them the class's own, the others
 * patterns that both classes share, with random signs. In the patterns' own axes a patch is a pattern's number and a sign, and its product with
 * a filter a look-up of the filter's weight.
 *
 * Paper: Chowdhury, Zhang, Wang, Liu, Chen, "Patch-level routing in mixture-of-experts is provably sample-efficient for convolutional neural networks", ICML 2023.
 */
import { Random } from "@switchyard/core"

/** Patterns 0 and 1 are those of the classes. */
export const patterns = 200

export interface Samples {
  readonly patches: number
  /** [samples, patches] */
  readonly pattern: Uint32Array
  /** 1 or −1. [samples, patches] */
  readonly sign: Float32Array
  /** 1 for the class of pattern 0, 0 for that of pattern 1, in turn. */
  readonly labels: Uint32Array
  /** Which patch is the class's own. */
  readonly places: Uint32Array
}

/** The first `count` samples of this seed and split: fewer are the beginning of more. */
export const draw = (seed: number, split: "train" | "test", options: { readonly patches: number; readonly count: number }): Samples => {
  const { count, patches } = options, source = Random.make(seed, `patches/${split}/${patches}`)
  const drawn = Random.fillUnsigned(source, new Uint32Array(count * (patches + 1))), pattern = new Uint32Array(count * patches), sign = new Float32Array(count * patches), labels = new Uint32Array(count), places = new Uint32Array(count)
  for (let sample = 0; sample < count; sample++) {
    labels[sample] = 1 - sample % 2
    places[sample] = drawn[sample * (patches + 1) + patches]! % patches
    for (let patch = 0; patch < patches; patch++) {
      const at = sample * patches + patch, word = drawn[sample * (patches + 1) + patch]!, own = patch === places[sample]
      pattern[at] = own ? 1 - labels[sample]! : 2 + (word >>> 1) % (patterns - 2)
      sign[at] = own || word % 2 === 0 ? 1 : -1
    }
  }
  return { patches, pattern, sign, labels, places }
}
