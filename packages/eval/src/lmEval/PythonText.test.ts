import { describe, expect, test } from "@jest/globals"
import { readFileSync } from "node:fs"
import * as PythonText from "./PythonText.ts"

/** Made by tools/fixtures/lm_eval_python.py. */
const golden = JSON.parse(readFileSync(new URL("../fixtures/lm-eval/python.json", import.meta.url), "utf8")) as {
  readonly spaces: ReadonlyArray<number>
  readonly texts: ReadonlyArray<{ readonly text: string; readonly strip: string; readonly rstrip: string; readonly lstrip: string; readonly capitalize: string; readonly length: number; readonly bytes: number; readonly words: number; readonly sha256: string; readonly json: string }>
  readonly floats: ReadonlyArray<{ readonly value: number; readonly text: string }>
}

describe("PythonText", () => {
  test("the same characters are spaces, of all there are below U+10000", () => {
    const found = []
    for (let code = 0; code < 0x10000; code++) if (PythonText.isSpace(String.fromCharCode(code))) found.push(code)
    expect(found).toEqual(golden.spaces)
  })
  test.each(golden.texts)("strip, capitalize, lengths and words of $json", ({ bytes, capitalize, json, length, lstrip, rstrip, sha256, strip, text, words }) => {
    expect(PythonText.strip(text)).toBe(strip)
    expect(PythonText.stripRight(text)).toBe(rstrip)
    expect(PythonText.stripLeft(text)).toBe(lstrip)
    expect(PythonText.capitalize(text)).toBe(capitalize)
    expect([PythonText.length(text), PythonText.byteLength(text), PythonText.wordCount(text)]).toEqual([length, bytes, words])
    expect(PythonText.sha256(text)).toBe(sha256)
    expect(PythonText.dump(text)).toBe(json)
  })
  test("words count empty pieces at the ends", () => expect([" a b\n", "", "a", " "].map(PythonText.wordCount)).toEqual([4, 1, 1, 2]))
  test("floats as Python prints them", () => { for (const { text, value } of golden.floats) expect(PythonText.float(value)).toBe(text) })
  test("ends", () => expect([PythonText.endsWithSpace("a\u0085"), PythonText.endsWithSpace("a\ufeff"), PythonText.startsWithSpace("\u001ca"), PythonText.startsWithSpace("")]).toEqual([true, false, true, false]))
})
