import { describe, expect, test } from "@jest/globals"
import * as fc from "fast-check"
import { clusters, shingles, shingleSet } from "./nearDuplicates.ts"

// an independent reading of the definition: shingles as strings, every pair compared, components by repeated relabelling
const words = (text: string) => text.toLowerCase().match(/[\p{L}\p{N}\p{M}]+/gu) ?? []
const naive = (text: string) => {
  const found = words(text)
  return found.length === 0 ? [] : Array.from({ length: Math.max(1, found.length - 11) }, (_, at) => found.slice(at, at + 12).join(" "))
}
const naiveClusters = (texts: ReadonlyArray<string>, share: number) => {
  const sets = texts.map((text) => new Set(naive(text)))
  const label = texts.map((_, index) => index)
  for (let changed = true; changed;) {
    changed = false
    for (let a = 0; a < texts.length; a++) {
      for (let b = 0; b < a; b++) {
        const both = [...sets[a]!].filter((shingle) => sets[b]!.has(shingle)).length
        const lowest = Math.min(label[a]!, label[b]!)
        if (both > share * Math.min(sets[a]!.size, sets[b]!.size) && label[a] !== label[b]) { label[a] = label[b] = lowest; changed = true }
      }
    }
  }
  return label
}
// few words and pasted passages, so that shingles do repeat
const passage = fc.array(fc.constantFrom("the", "Licence", "shall", "not", "über", "x1", "be,", "used."), { minLength: 0, maxLength: 40 }).map((list) => list.join(" "))
const library = fc.array(passage, { minLength: 2, maxLength: 6 }).chain((parts) =>
  fc.array(fc.array(fc.constantFrom(...parts), { minLength: 1, maxLength: 4 }).map((chosen) => chosen.join("\n")), { minLength: 1, maxLength: 8 }))

describe("near-duplicates", () => {
  test("a text has as many different shingles as the definition says, whatever its commas, lines and case", () => {
    fc.assert(fc.property(passage, passage, (a, b) => {
      const hashes = shingles(`${a} ${b}`)
      const distinct = new Set(Array.from({ length: hashes.length / 2 }, (_, index) => `${hashes[2 * index]} ${hashes[2 * index + 1]}`))
      expect(hashes.length / 2).toBe(naive(`${a} ${b}`).length)
      expect(distinct.size).toBe(new Set(naive(`${a} ${b}`)).size)
      expect(shingles(`${a},\n ${b.toUpperCase().replaceAll("Ü", "ü")}!`)).toEqual(hashes)
    }))
  })
  test("clusters are the connected components of the naive comparison of all pairs", () => {
    fc.assert(fc.property(library, fc.constantFrom(0, 0.05, 0.3, 0.9), (texts, share) => {
      expect([...clusters(texts.map(shingles), { share })]).toEqual(naiveClusters(texts, share))
    }), { numRuns: 300 })
  })
  test("overlap is the part of the held-out shingles that stand in the set", () => {
    fc.assert(fc.property(library, library, (held, train) => {
      const known = new Set(train.flatMap(naive)), all = held.flatMap(naive)
      const set = shingleSet(train.reduce((sum, text) => sum + shingles(text).length / 2, 0))
      for (const text of train) set.add(shingles(text))
      expect(set.overlap(held.map(shingles))).toBeCloseTo(all.length === 0 ? 0 : all.filter((shingle) => known.has(shingle)).length / all.length, 12)
    }))
  })
  test("a thousand copies of one template cluster in seconds", () => {
    const template = Array.from({ length: 600 }, (_, index) => `word${index}`).join(" ")
    const documents = Array.from({ length: 1000 }, (_, index) => shingles(`${template} name${index}`))
    const begun = process.cpuUsage()
    expect(new Set(clusters(documents, { share: 0.05 }))).toEqual(new Set([0]))
    const { system, user } = process.cpuUsage(begun) // of this process alone, whatever else the machine does
    expect((system + user) / 1e6).toBeLessThan(10)
  })
})
