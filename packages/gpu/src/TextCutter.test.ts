/** Laws: however tokens cut a text, the pieces join to what was decoded, up to the first stop string, and no piece ends in part of one. */
import { Tokenizer } from "@switchyard/core"
import { expect, test } from "@jest/globals"
import fc from "fast-check"
import * as TextCutter from "./TextCutter.ts"

const bytes = Tokenizer.bytes()
const cut = (text: string, stops: ReadonlyArray<string> = [], prompt = "p") => {
  const cutter = TextCutter.make(bytes, [...bytes.encode(prompt)], stops), pieces: Array<string> = []
  for (const id of bytes.encode(text)) {
    const { stopped, text: piece } = cutter.push(id)
    pieces.push(piece)
    if (stopped) return { pieces, stopped }
  }
  return { pieces: [...pieces, cutter.flush()], stopped: false }
}

test("a character comes with its last byte, whole", () => {
  expect(cut("aé🚂b").pieces).toEqual(["a", "", "é", "", "", "", "🚂", "b", ""])
})
test("bytes that spell nothing come at the end", () => {
  const cutter = TextCutter.make(bytes, [65])
  expect(cutter.push(0xc3)).toEqual({ text: "", stopped: false })
  expect(cutter.flush()).toBe("\ufffd")
})
test("a stop string that tokens cut is never given out in part", () => {
  expect(cut("one\n\ntwo", ["\n\n"])).toEqual({ pieces: ["o", "n", "e", "", ""], stopped: true })
  expect(cut("one\ntwo", ["\n\n"]).pieces.join("")).toBe("one\ntwo")
})
test("pieces join to the text before the first stop string", () => {
  const text = fc.array(fc.constantFrom("a", "b", "ab", "é", "🚂", "\n"), { maxLength: 12 }).map((parts) => parts.join("")), stops = fc.array(fc.constantFrom("ab", "ba", "aab", "é", "a🚂", "\n\n", ""), { maxLength: 3 })
  fc.assert(fc.property(text, stops, (given, wanted) => {
    const first = Math.min(...wanted.filter((stop) => stop !== "").map((stop) => given.indexOf(stop)).filter((at) => at >= 0))
    const { pieces, stopped } = cut(given, wanted), before = given.slice(0, first)
    expect(stopped).toBe(first < Infinity)
    expect(pieces.join("")).toBe(before)
    let so = ""
    for (const piece of pieces) expect(before.startsWith(so += piece)).toBe(true)
  }), { seed: 9, numRuns: 400 })
})
test("a prompt may end inside a character, which then comes whole", () => {
  const parts = (...all: ReadonlyArray<string>) => fc.array(fc.constantFrom(...all), { maxLength: 8 })
  fc.assert(fc.property(parts("a", "é", "🚂", "\ufffd"), parts("a", "é", "€", "🚂", "\n"), fc.nat(), (before, after, cut) => {
    const prompt = before.join(""), text = after.join(""), ids = Array.from(bytes.encode(text)), [first = ""] = Array.from(text), inside = ids.slice(0, cut % Math.max(1, bytes.encode(first).length)) // of the first character
    const cutter = TextCutter.make(bytes, [...bytes.encode(prompt), ...inside])
    expect(ids.slice(inside.length).map((id) => cutter.push(id).text).join("") + cutter.flush()).toBe(text)
  }), { seed: 3, numRuns: 400 })
})
test("a decoder that treats the beginning of a text in its own way gives every word its space", () => {
  const words = [" one", " two", " three"], decode = (ids: ArrayLike<number>) => Array.from(ids, (id) => words[id]!).join("").replace(/^ /, "")
  const cutter = TextCutter.make({ decode }, [0])
  expect([1, 2, 0].map((id) => cutter.push(id).text)).toEqual([" two", " three", " one"])
})
