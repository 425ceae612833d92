/**
 * Clusters of near-duplicate documents, and how much of one set of documents stands verbatim in another.
 *
 * Two documents are near-duplicates when they share more than a given part of the distinct 12-word shingles of the shorter one; clusters are
 * the connected components. Nothing is sampled: every shingle counts (as a 64-bit hash; at four million shingles the chance that any two
 * different ones agree is below one in a million). Words are runs of letters and digits, case ignored, so that a changed line break or comma hides nothing.
 * Cost: time in the number of shingles plus, for texts that repeat, the pairs of documents that share them (12 MB: a few seconds).
 *
 * Why: Lee et al., "Deduplicating training data makes language models better", ACL 2022.
 */

const { imul, min } = Math // looked up once: in a VM context (a test) every look-up of a global costs as much as a hundred products

/** Words in one shingle. */
export const shingleWords = 12

/** The hashes of a document's shingles, in order: pairs (high, low). A text of fewer than 12 words is one shingle; one without words has none. */
export const shingles = (text: string): Uint32Array => {
  const words: Array<number> = [] // (high, low) of each word
  let high = 0, low = 0, inside = false
  for (let at = 0; at <= text.length; at++) {
    let code = at < text.length ? text.charCodeAt(at) : 32
    if (code >= 65 && code <= 90) code += 32
    else if (code >= 128) code = lowered(code)
    if ((code >= 97 && code <= 122) || (code >= 48 && code <= 57) || code >= 128) {
      if (!inside) { high = 0x9747b28c; low = 0x811c9dc5; inside = true }
      high = imul(high ^ code, 0x5bd1e995); high ^= high >>> 15
      low = imul(low ^ code, 0x01000193)
    } else if (inside) { words.push(high >>> 0, low >>> 0); inside = false }
  }
  const count = words.length >> 1
  const width = Math.min(count, shingleWords)
  const found = count === 0 ? 0 : count - width + 1
  const out = new Uint32Array(2 * found)
  for (let shingle = 0; shingle < found; shingle++) {
    let a = 0x2c1b3c6d, b = 0x297a2d39
    for (let word = shingle; word < shingle + width; word++) {
      a = imul(a ^ words[2 * word]!, 0xcc9e2d51); a ^= a >>> 13
      b = imul(b ^ words[2 * word + 1]!, 0x1b873593); b ^= b >>> 16
    }
    out[2 * shingle] = a
    out[2 * shingle + 1] = b
  }
  return out
}

/** Characters beyond ASCII: letters and digits in lower case, white space and punctuation as a space. */
const lowered = (code: number): number => {
  const character = String.fromCharCode(code)
  return /[\p{L}\p{N}\p{M}\p{Cs}]/u.test(character) ? character.toLowerCase().charCodeAt(0) : 32
}

/** An open-addressing table from 64-bit hashes to small numbers. */
class Hashes {
  readonly mask: number
  readonly keys: Uint32Array
  readonly values: Int32Array
  constructor(capacity: number) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(4, capacity * 2)))
    this.mask = size - 1
    this.keys = new Uint32Array(2 * size)
    this.values = new Int32Array(size).fill(-1) // -1: free
  }
  /** The place of a hash, taken or free. */
  place(high: number, low: number): number {
    let at = (high ^ imul(low, 0x9e3779b1)) & this.mask
    while (this.values[at] !== -1 && (this.keys[2 * at] !== high || this.keys[2 * at + 1] !== low)) at = (at + 1) & this.mask
    return at
  }
  take(at: number, high: number, low: number, value: number): void {
    this.keys[2 * at] = high
    this.keys[2 * at + 1] = low
    this.values[at] = value
  }
}

/** For each document the number of its cluster: the smallest document index in it. Options: `share`, above which two documents belong together. */
export const clusters = (documents: ReadonlyArray<Uint32Array>, options: { readonly share: number }): Uint32Array => {
  const total = documents.reduce((sum, hashes) => sum + hashes.length / 2, 0)
  const parent = Uint32Array.from({ length: documents.length }, (_, index) => index)
  const root = (index: number): number => {
    while (parent[index] !== index) index = parent[index] = parent[parent[index]!]!
    return index
  }
  const table = new Hashes(total)
  const next = new Int32Array(total).fill(-1) // postings of a shingle: a list of the documents that have it, newest first
  const owner = new Uint32Array(total)
  const uniform = new Uint8Array(total) // this posting and all older ones of its shingle are of one cluster: nothing to count for a member of it
  const distinct = new Uint32Array(documents.length)
  const shared = new Uint32Array(documents.length) // with the current document
  const places: Array<number> = []
  let postings = 0
  documents.forEach((hashes, document) => {
    places.length = 0
    for (let at = 0; at < hashes.length; at += 2) {
      const place = table.place(hashes[at]!, hashes[at + 1]!)
      const newest = table.values[place]!
      if (newest >= 0 && owner[newest] === document) continue // again in this document
      owner[postings] = document
      next[postings] = newest
      table.take(place, hashes[at]!, hashes[at + 1]!, postings++)
      places.push(place)
    }
    distinct[document] = places.length
    const touched: Array<number> = []
    for (const place of places) {
      for (let posting = next[table.values[place]!]!; posting >= 0; posting = next[posting]!) {
        const other = owner[posting]!
        const a = root(document), b = root(other)
        if (a === b) {
          if (uniform[posting] === 1) break
          continue
        }
        const count = ++shared[other]!
        if (count === 1) touched.push(other)
        if (count > options.share * min(distinct[document]!, distinct[other]!)) parent[Math.max(a, b)] = min(a, b)
      }
    }
    for (const place of places) {
      const newest = table.values[place]!, older = next[newest]!
      uniform[newest] = older < 0 || (uniform[older] === 1 && root(owner[older]!) === root(document)) ? 1 : 0
    }
    for (const other of touched) shared[other] = 0
  })
  return parent.map((_, index) => root(index))
}

/** The shingles of a growing set of documents. */
export interface ShingleSet {
  readonly add: (hashes: Uint32Array) => void
  /** The part of these documents' shingles (repetitions counted) that stand in the set, 0 to 1. */
  readonly overlap: (documents: ReadonlyArray<Uint32Array>) => number
}

/** An empty set with room for so many shingles. */
export const shingleSet = (capacity: number): ShingleSet => {
  const table = new Hashes(capacity)
  return {
    add: (hashes) => {
      for (let at = 0; at < hashes.length; at += 2) table.take(table.place(hashes[at]!, hashes[at + 1]!), hashes[at]!, hashes[at + 1]!, 1)
    },
    overlap: (documents) => {
      let found = 0, all = 0
      for (const hashes of documents) {
        for (let at = 0; at < hashes.length; at += 2) {
          all++
          if (table.values[table.place(hashes[at]!, hashes[at + 1]!)] === 1) found++
        }
      }
      return all === 0 ? 0 : found / all
    }
  }
}
