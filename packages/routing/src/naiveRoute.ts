/**
 * The oracle of routing, written apart from it: one token after another in f64, sorting instead of kernels. For tests.
 */
import { ngramBucket } from "@switchyard/gpu"
import type { Router, Select } from "./Router.ts"

export interface NaiveInput {
  readonly x: ArrayLike<number>
  readonly batch: number
  readonly tokens: number
  readonly hidden: number
  readonly experts: number
  readonly tensors: Readonly<Record<string, ArrayLike<number>>>
  readonly scores?: ArrayLike<number>
  /** The token of each row, for tables by token. */
  readonly ids?: ArrayLike<number>
}
export interface NaiveDecision { readonly logits: Array<number>; readonly probabilities: Array<number>; readonly experts: Array<number>; readonly weights: Array<number>; readonly dropped: Array<number> }

/** One decision per row, in order. */
export const naiveRoute = (router: Router, input: NaiveInput): Array<NaiveDecision> => {
  const { batch, experts, hidden, ids, scores, tensors, tokens, x } = input
  const decisions: Array<NaiveDecision> = []
  let taken: Array<number> = [], witnessed: Array<number> = []
  for (let sequence = 0; sequence < batch; sequence++) for (let token = 0; token < tokens; token++) {
    const row = sequence * tokens + token
    if (row === 0 || (token === 0 && router.capacity?.scope === "sequence")) taken = Array.from({ length: experts }, () => 0)
    const pooled = (of: (distance: number) => number) => {
      const sum = Array.from({ length: hidden }, () => 0)
      let total = 0
      for (let s = 0; s <= token; s++) {
        total += of(token - s)
        for (let c = 0; c < hidden; c++) sum[c]! += of(token - s) * x[(sequence * tokens + s) * hidden + c]!
      }
      return sum.map((each) => each / total)
    }
    const { unit } = router
    const pools = unit.of === "token" || unit.pool === "evidence" ? [pooled((distance) => distance === 0 ? 1 : 0)] : unit.pool === "bank" ? unit.decays.map((decay) => pooled((distance) => decay ** distance))
      : [pooled((distance) => unit.pool === "mean" ? 1 : unit.decay ** distance)]
    const normal = unit.of === "token" ? undefined : unit.normalize
    const seen = normal === "rms" ? pools.flatMap((each) => each.map((value) => value / Math.sqrt(each.reduce((sum, other) => sum + other * other, 0) / hidden + 1e-6)))
      : normal === "whitened" ? pools.flat().map((value, i) => (value - tensors["pool.mean"]![i]!) / tensors["pool.deviation"]![i]!) : pools.flat()
    const alone = Array.from({ length: experts }, (_, e) => {
      if (scores !== undefined) return scores[row * experts + e]!
      const of = (name: string, row = e, columns = seen.length) => Array.from({ length: columns }, (_, c) => tensors[name]![name === "deviation" ? c : row * columns + c]!)
      if (router.score.by === "linear") return of("weight").reduce((sum, w, c) => sum + w * seen[c]!, router.score.bias === true ? tensors["bias"]![e]! : 0)
      if (router.score.by === "mlp") {
        const unitsOf = Array.from({ length: router.score.inner }, (_, i) => of("inner.weight", i).reduce((sum, w, c) => sum + w * seen[c]!, tensors["inner.bias"]![i]!))
        return unitsOf.reduce((sum, z, i) => sum + tensors["weight"]![e * unitsOf.length + i]! * z / (1 + Math.exp(-z)), tensors["bias"]![e]!)
      }
      if (router.score.by === "magnitude") return Math.abs(of("directions").reduce((sum, w, c) => sum + w * seen[c]!, 0)) / router.score.temperature
      if (router.score.by === "standardized") {
        const gate = standard(of("gates"))
        return standard(seen).reduce((sum, value, c) => sum + value * gate[c]!, 0) / Math.sqrt(seen.length)
      }
      if (router.score.by === "generated") {
        const { embedding, inner } = router.score, centred = of("embeddings", e, embedding).map((value, i) => value - tensors["embeddings.mean"]![i]!)
        const described = centred.map((value) => value / Math.sqrt((centred.reduce((sum, other) => sum + other * other, 0) + 1e-12) / embedding)), dot = (name: string, row: number) => of(name, row, embedding).reduce((sum, w, c) => sum + w * described[c]!, 0)
        const within = Array.from({ length: inner }, (_, i) => { const gate = dot("inner.gate", i); return gate / (1 + Math.exp(-gate)) * dot("inner.up", i) })
        return seen.reduce((sum, value, c) => sum + value * of("column", c, inner).reduce((at, w, i) => at + w * within[i]!, 0), 0)
      }
      if (router.score.by === "lookup") { const { length } = tensors["table"]!; return tensors["table"]![e * length / experts + (router.score.key === "token" ? ids![row]! : token)]! }
      if (router.score.by === "ngram") {
        const { buckets, orders } = router.score, table = tensors["table"]!
        return Array.from({ length: Math.min(orders, token + 1) }, (_, o) => table[e * orders * buckets + ngramBucket(ids!, row, o + 1, buckets)]!).reduce((sum, each) => sum + each)
      }
      if (router.score.by === "likelihood") throw new Error("give scores")
      const centroid = of("centroids")
      if (router.score.metric === "cosine") return centroid.reduce((sum, w, c) => sum + w * seen[c]!, 0) / Math.hypot(...centroid) / Math.hypot(...seen) / router.score.temperature
      const spread = router.score.metric === "whitened" ? of("deviation") : centroid.map(() => 1)
      return -centroid.reduce((sum, w, c) => sum + ((seen[c]! - w) / spread[c]!) ** 2, 0) / router.score.temperature
    })
    if (token === 0) witnessed = alone.map(() => 0)
    const logits = unit.of === "prefix" && unit.pool === "evidence" ? alone.map((score, e) => (witnessed[e] = unit.decay * witnessed[e]! + score) / unit.temperature) : alone
    const norm = (values: ReadonlyArray<number>) => values.map((value) => value / values.reduce((a, b) => a + b))
    const exponents = logits.map((logit) => Math.exp(logit - Math.max(...logits)))
    const raw = router.activation === "sigmoid" ? logits.map((logit) => 1 / (1 + Math.exp(-logit))) : norm(exponents), probabilities = norm(raw)
    // what is chosen by: the logits' order is that of the probabilities, unless something is added to these
    let ranks = router.correction === true ? raw.map((value, e) => value + tensors["correction"]![e]!) : router.groups === undefined ? logits : raw
    if (router.groups !== undefined) {
      const { by, count, keep } = router.groups, each = experts / count
      const worth = Array.from({ length: count }, (_, g) => ranks.slice(g * each, (g + 1) * each).sort((a, b) => b - a).slice(0, by === "max" ? 1 : 2).reduce((a, b) => a + b))
      const open = worth.map((_, g) => g).sort((a, b) => worth[b]! - worth[a]! || a - b).slice(0, keep)
      ranks = ranks.map((value, e) => open.includes(Math.floor(e / each)) ? value : -Infinity)
    }
    const chosen = [...fixedOf(router.select), ...bestOf(router.select, ranks)]
    const weights = chosen.map((e) => raw[e]!), kept = chosen.map((e) => Math.exp(logits[e]! - Math.max(...chosen.map((other) => logits[other]!))))
    const weighed = (router.weight === "prob" ? weights : router.weight === "renorm" ? norm(weights) : norm(kept)).map((weight) => weight * (router.scale ?? 1))
    // a queue at each expert's door: who comes when its room is taken goes away
    const room = router.capacity === undefined ? Infinity : router.capacity.perExpert * chosen.length * tokens * (router.capacity.scope === "batch" ? batch : 1) / experts
    const dropped = chosen.map((e) => taken[e]!++ < room ? 0 : 1)
    decisions.push({ logits, probabilities, experts: chosen, weights: weighed.map((weight, rank) => dropped[rank] === 1 ? 0 : weight), dropped })
  }
  return decisions
}
const standard = (values: ReadonlyArray<number>): Array<number> => {
  const mean = values.reduce((a, b) => a + b) / values.length, variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
  return values.map((value) => (value - mean) / Math.sqrt(variance + 1e-6))
}
const members = (select: Select): ReadonlyArray<Select> => "union" in select ? select.union.flatMap(members) : [select]
const fixedOf = (select: Select): Array<number> => [...new Set(members(select).flatMap((each) => "fixed" in each ? each.fixed : []))]
const bestOf = (select: Select, logits: ReadonlyArray<number>): Array<number> => {
  const others = logits.map((_, e) => e).filter((e) => !fixedOf(select).includes(e)).sort((a, b) => logits[b]! - logits[a]! || a - b)
  return others.slice(0, members(select).reduce((count, each) => count + ("keep" in each ? each.keep === "all" ? Infinity : each.active : 0), 0))
}
