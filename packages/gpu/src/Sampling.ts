/**
 * Which token follows, from its logits: the likeliest, or a draw. The parts and their order are those of transformers: repetition penalty,
 * temperature, top-k, top-p, min-p.
 *
 * Draws are counter-based: token number i of prompt number r of a seed is the same however the generation was batched or cut. Papers: Keskar et al. 2019
 * (repetition penalty), Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p), Nguyen et al. 2024 (min-p).
 */
import { Random } from "@switchyard/core"

/**
 * Options: `temperature` 0 (the default) takes the likeliest, ties to the lowest id; above 0 draws from softmax(logits / temperature). Of these, `topK` keeps
 * the likeliest (all that tie with the last of them), `topP` the fewest whose probabilities reach it, `minP` those at least so likely as that share of
 * the likeliest. `repetitionPenalty` divides the positive logits of tokens seen before, prompt included, and multiplies the negative ones.
 */
export interface Options {
  readonly temperature?: number
  readonly topK?: number
  readonly topP?: number
  readonly minP?: number
  readonly repetitionPenalty?: number
  readonly seed?: number
}
/** Which draw: token number `index` of prompt number `row`, after the tokens `before`. */
export interface Draw { readonly row?: number; readonly index: number; readonly before?: Iterable<number> }

const range = (name: string, value: number, within: boolean, says: string): void => {
  if (!within) throw new Error(`Sampling: ${name} (${value}) must be ${says}`)
}
/** Dies when an option is out of range. */
export const check = ({ minP = 0, repetitionPenalty = 1, temperature = 0, topK = 1, topP = 1 }: Options): void => {
  range("temperature", temperature, temperature >= 0 && temperature < Infinity, "0 or more")
  range("topK", topK, Number.isInteger(topK) && topK >= 1, "a whole number from 1 on")
  range("topP", topP, topP > 0 && topP <= 1, "above 0, at most 1")
  range("minP", minP, minP >= 0 && minP <= 1, "from 0 to 1")
  range("repetitionPenalty", repetitionPenalty, repetitionPenalty > 0 && repetitionPenalty < Infinity, "above 0")
}

/** Logits with the penalty on each token seen before, once however often it was seen. */
export const penalized = (logits: Float32Array, before: Iterable<number>, penalty: number): Float32Array => {
  if (penalty === 1) return logits
  const out = logits.slice()
  for (const id of before) out[id] = logits[id]! < 0 ? logits[id]! * penalty : logits[id]! / penalty
  return out
}

const likeliest = (logits: Float32Array): number => {
  let best = 0
  for (let id = 0; id < logits.length; id++) {
    if (Number.isNaN(logits[id]!)) throw new Error(`Sampling: the logit of id ${id} is NaN: the model's numbers overflow, or its weights are damaged`)
    if (logits[id]! > logits[best]!) best = id
  }
  return best
}

/** The ids that may be drawn, lowest first, and their weights. */
export const candidates = (logits: Float32Array, options: Options): { readonly ids: ReadonlyArray<number>; readonly weights: ReadonlyArray<number> } => {
  const { minP = 0, temperature = 1, topK = logits.length, topP = 1 } = options, top = logits[likeliest(logits)]!
  const floor = topK < logits.length ? logits.slice().sort()[logits.length - topK]! : -Infinity
  let ids: Array<number> = []
  for (let id = 0; id < logits.length; id++) if (logits[id]! >= floor && logits[id]! > -Infinity) ids.push(id)
  const weight = (id: number) => Math.exp((logits[id]! - top) / temperature)
  if (topP < 1) {
    const needed = topP * ids.reduce((sum, id) => sum + weight(id), 0)
    // sorting all is slow where few are needed: first those near the top, then more
    for (let span = 4; ; span *= 4) {
      const near = ids.filter((id) => (top - logits[id]!) / temperature <= span).sort((a, b) => logits[b]! - logits[a]! || a - b)
      let mass = 0, count = 0
      while (count < near.length && mass < needed) mass += weight(near[count++]!)
      if (mass < needed && near.length < ids.length) continue
      ids = near.slice(0, count).sort((a, b) => a - b)
      break
    }
  }
  if (minP > 0) ids = ids.filter((id) => weight(id) >= minP)
  return { ids, weights: ids.map(weight) }
}

/** The token chosen. Fails: an option out of range, or a logit that is NaN, is a defect. */
export const choose = (logits: Float32Array, options: Options, draw: Draw): number => {
  check(options)
  const { before = [], index, row = 0 } = draw, { repetitionPenalty = 1, seed = 0, temperature = 0 } = options
  const scores = penalized(logits, before, repetitionPenalty)
  if (temperature === 0) return likeliest(scores)
  const { ids, weights } = candidates(scores, options)
  return ids[Random.categorical(Random.make(seed, `generate ${row}`), index, weights)]!
}
