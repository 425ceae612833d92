/**
 * What a trace tells of routing: who carries the load, how decided the router is, which experts work together, and which domain asks whom.
 * Pure functions of the Trace table.
 */
import { Table, type Tables } from "@switchyard/core"

type Trace = Table.Table<Tables.Trace>

/** One layer's routing. Units: shares are of the layer's slots (token, rank); entropies in bits. */
export interface Layer {
  readonly layer: number
  readonly slots: number
  /** Share of slots that each expert took; sums to one. [experts] */
  readonly load: ReadonlyArray<number>
  /** The same by summed combine weight. [experts] */
  readonly weight: ReadonlyArray<number>
  /** Entropy of `load`: log₂ experts when even, 0 when one expert does everything. */
  readonly loadEntropy: number
  /** Mean over tokens of the entropy of a token's own combine weights: 0 when one expert has all the say. */
  readonly tokenEntropy: number
  /** coActivation[a][b]: share of tokens that asked both. The diagonal is the share that asked a. [experts, experts] */
  readonly coActivation: ReadonlyArray<ReadonlyArray<number>>
  /** byDomain[domain][expert]: share of the domain's slots; rows sum to one. */
  readonly byDomain: Readonly<Record<string, ReadonlyArray<number>>>
  /** Mutual information of domain and expert, in bits: 0 when routing ignores the domain. */
  readonly specialisation: number
}

const zeros = (length: number): Array<number> => Array.from({ length }, () => 0)
const entropy = (shares: ReadonlyArray<number>): number => shares.reduce((sum, share) => share > 0 ? sum - share * Math.log2(share) : sum, 0)
const shares = (counts: ReadonlyArray<number>): ReadonlyArray<number> => { const total = counts.reduce((sum, count) => sum + count, 0); return counts.map((count) => total === 0 ? 0 : count / total) }

/** Every layer's diagnostics, in order of layers. `experts` widens the lists when the trace never saw the last ones. */
export const layers = (trace: Trace, options: { readonly experts?: number } = {}): ReadonlyArray<Layer> => {
  const layer = Table.column(trace, "layer"), expert = Table.column(trace, "expert"), rank = Table.column(trace, "rank"), weight = Table.column(trace, "weight")
  const domain = Table.column(trace, "domain"), dropped = Table.column(trace, "dropped")
  const rows = layer.length
  let experts = options.experts ?? 0
  for (let row = 0; row < rows; row++) experts = Math.max(experts, expert[row]! + 1)
  const places = [...new Set(layer)].sort((a, b) => a - b)
  return places.map((place): Layer => {
    const count = zeros(experts), mass = zeros(experts)
    const together = Array.from({ length: experts }, () => zeros(experts))
    const domains: Record<string, Array<number>> = {}
    let tokens = 0, tokenEntropy = 0, slots = 0
    let chosen: Array<number> = [], weights: Array<number> = []
    const close = () => {
      if (chosen.length === 0) return
      tokens++
      tokenEntropy += entropy(shares(weights))
      for (const a of new Set(chosen)) for (const b of new Set(chosen)) together[a]![b]!++
      chosen = []; weights = []
    }
    for (let row = 0; row < rows; row++) {
      if (layer[row] !== place) continue
      if (rank[row] === 0) close() // the rows of a token stand together, rank 0 first
      if (dropped[row]) continue
      const e = expert[row]!
      slots++
      count[e]!++
      mass[e]! += weight[row]!
      ;(domains[domain.names[domain.indices[row]!]!] ??= zeros(experts))[e]!++
      chosen.push(e)
      weights.push(weight[row]!)
    }
    close()
    const load = shares(count), byDomain = Object.fromEntries(Object.entries(domains).map(([name, counts]) => [name, shares(counts)]))
    const inDomain = Object.values(domains).reduce((sum, counts) => sum + counts.reduce((a, b) => a + b, 0) / Math.max(1, slots) * entropy(shares(counts)), 0)
    return {
      layer: place, slots, load, weight: shares(mass), loadEntropy: entropy(load), tokenEntropy: tokens === 0 ? 0 : tokenEntropy / tokens,
      coActivation: together.map((line) => line.map((value) => tokens === 0 ? 0 : value / tokens)), byDomain, specialisation: Math.max(0, entropy(load) - inDomain)
    }
  })
}
