import type { Split } from "./Corpus.ts"

/** The side of each cluster (a cluster is named by its smallest document; `sizes` are bytes, `order` a random order of documents): large ones train while there is room (held-out text should be many documents); each other goes where most is missing. */
export const assignSplits = (sizes: ReadonlyMap<number, number>, order: Uint32Array, shares: Readonly<Record<Split, number>>): Map<number, Split> => {
  const total = [...sizes.values()].reduce((sum, size) => sum + size, 0)
  const wanted = (Object.keys(shares) as Array<Split>).filter((name) => shares[name] > 0)
  const held = wanted.filter((name) => name !== "train").map((name) => shares[name] * total)
  const have = { train: 0, choose: 0, report: 0 }
  const side = new Map<number, Split>()
  const put = (root: number, name: Split) => { side.set(root, name); have[name] += sizes.get(root)! }
  const shuffled = Array.from(order).filter((index) => sizes.has(index))
  for (const root of [...shuffled].sort((a, b) => sizes.get(b)! - sizes.get(a)!)) {
    const large = sizes.get(root)! > Math.min(...held) / 4
    if (large && wanted.includes("train") && have.train + sizes.get(root)! / 2 < shares.train * total) put(root, "train")
  }
  for (const root of shuffled) {
    if (side.has(root)) continue
    const missing = (name: Split) => 1 - have[name] / (shares[name] * total)
    put(root, wanted.reduce((best, name) => missing(name) > missing(best) ? name : best))
  }
  return side
}
