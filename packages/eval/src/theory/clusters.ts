/**
 * Examples of the mixture-classification problem: four clusters, four patches each. The label is the sign of the own cluster's feature; another
 * cluster's feature stands beside it with a sign that means nothing, and only the centre says which of the two counts.
 *
 * Paper: Chen, Deng, Wu, Gu, Li, "Towards understanding the mixture-of-experts layer in deep learning", NeurIPS 2022, section 3 and appendix A.
 */
import { Random } from "@switchyard/core"

export const clusters = 4, patches = 4, width = 50
/** The published settings: deviation of the noise patch times √width, and the largest strength of the misleading feature. */
export const settings = { S1: { noise: 1, strongest: 3 }, S2: { noise: 2, strongest: 3 }, S3: { noise: 1, strongest: 2 }, S4: { noise: 2, strongest: 2 } } as const
/** The released code multiplies all examples by it. */
const magnification = 10

export interface Examples {
  /** [examples, patches, width] */
  readonly patches: Float32Array
  /** 1 where the sign is positive, else 0. [examples] */
  readonly labels: Uint32Array
  readonly clusters: Uint8Array
}
/** Directions are rows of length one, at right angles to each other. [clusters, width] */
export interface Clusters { readonly features: Float32Array; readonly centres: Float32Array; readonly train: Examples; readonly test: Examples }

/** So many rows of length one at right angles to each other (Gram and Schmidt, in f64). Shapes: [count, width]. */
export const orthonormal = (source: Random.Source, count: number, width: number): Float32Array => {
  const rows = Float64Array.from(Random.fillNormal(source, new Float32Array(count * width)))
  for (let row = 0; row < count; row++) {
    const own = rows.subarray(row * width, (row + 1) * width)
    for (let before = 0; before < row; before++) {
      const other = rows.subarray(before * width, (before + 1) * width), overlap = own.reduce((sum, x, i) => sum + x * other[i]!, 0)
      for (let i = 0; i < width; i++) own[i]! -= overlap * other[i]!
    }
    const length = Math.sqrt(own.reduce((sum, x) => sum + x * x, 0))
    for (let i = 0; i < width; i++) own[i]! /= length
  }
  return Float32Array.from(rows)
}

/** The problem of this seed: directions, and as many examples to train as to test with. */
export const draw = (seed: number, options: { readonly setting: keyof typeof settings; readonly examples: number }): Clusters => {
  const directions = orthonormal(Random.make(seed, "theory/directions"), 2 * clusters, width)
  const features = directions.subarray(0, clusters * width), centres = directions.subarray(clusters * width)
  const split = (name: string) => drawExamples(seed, name, options.examples, settings[options.setting], features, centres)
  return { features, centres, train: split("train"), test: split("test") }
}

const drawExamples = (seed: number, split: string, count: number, setting: { readonly noise: number; readonly strongest: number }, features: Float32Array, centres: Float32Array): Examples => {
  const choices = Random.make(seed, `theory/${split}/choices`), noise = Random.fillNormal(Random.make(seed, `theory/${split}/noise`), new Float32Array(count * width), { deviation: setting.noise / Math.sqrt(width) })
  const all = new Float32Array(count * patches * width), labels = new Uint32Array(count), own = new Uint8Array(count)
  const drawn = Random.fillUniform(choices, new Float32Array(count * 11))
  for (let example = 0; example < count; example++) {
    const at = (index: number) => drawn[example * 11 + index]!
    const below = (index: number, bound: number) => Math.floor(at(index) * bound)
    const between = (index: number, low: number, high: number) => low + (high - low) * at(index)
    const label = below(0, 2), cluster = below(1, clusters), other = (cluster + 1 + below(2, clusters - 1)) % clusters, sign = 2 * below(3, 2) - 1
    labels[example] = label
    own[example] = cluster
    const order = [0, 1, 2, 3]
    for (let i = 3; i > 0; i--) { const j = below(7 + i, i + 1); [order[i], order[j]] = [order[j]!, order[i]!] }
    const put = (patch: number, from: Float32Array, row: number, strength: number) => {
      const to = (example * patches + order[patch]!) * width
      for (let i = 0; i < width; i++) all[to + i] = magnification * strength * from[row * width + i]!
    }
    put(0, features, cluster, (2 * label - 1) * between(4, 0.5, 2))
    put(1, centres, cluster, between(5, 1, 2))
    put(2, features, other, sign * between(6, 0.5, setting.strongest))
    put(3, noise, example, 1)
  }
  return { patches: all, labels, clusters: own }
}

/** A column of ones after each row's numbers, for biases; with `summed` the patches of an example are added up first. Shapes: [examples · patches, width + 1], or [examples, width + 1]. */
export const withOnes = (examples: Examples, options: { readonly summed: boolean }): Float32Array => {
  const count = examples.labels.length, rows = options.summed ? count : count * patches, out = new Float32Array(rows * (width + 1))
  for (let patch = 0; patch < count * patches; patch++) {
    const to = (options.summed ? Math.floor(patch / patches) : patch) * (width + 1)
    for (let i = 0; i < width; i++) out[to + i]! += examples.patches[patch * width + i]!
    out[to + width]! += 1
  }
  return out
}
