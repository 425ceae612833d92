import { describe, expect, test } from "@jest/globals"
import { Tokenizer } from "@switchyard/core"
import { encodePair, encoder } from "./encodePair.ts"

const bytes = Tokenizer.bytes(), plain = encoder(bytes, "tokenizer")
const codes = (text: string) => [...Buffer.from(text)]

/** "ab" is one token, all else letters: a merge that can cross the border. */
const merging: Tokenizer.Tokenizer = {
  ...bytes, bos: 1, eos: 2, encode: (text) => Uint32Array.from([...text.matchAll(/<s>|ab|./gsu)].map(([piece]) => piece === "<s>" ? 1 : piece === "ab" ? 300 : piece.codePointAt(0)!)),
  decode: (ids) => Array.from(ids, (id) => id === 1 ? "<s>" : id === 300 ? "ab" : String.fromCodePoint(id)).join("")
}
const template = (json: unknown) => ({ ...merging, files: { "tokenizer.json": new TextEncoder().encode(JSON.stringify({ post_processor: json })) } })
const adding = { type: "TemplateProcessing", single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }], special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } } }

describe("encodePair", () => {
  test("white space at the context's end goes to the continuation, by Python's idea of it", () => {
    expect(encodePair(plain, "a b \n", "c")).toEqual({ context: codes("a b"), continuation: codes(" \nc") })
    expect(encodePair(plain, "a\u0085", "c")).toEqual({ context: codes("a"), continuation: codes("\u0085c") })
    expect(encodePair(plain, "a\ufeff", "c")).toEqual({ context: codes("a\ufeff"), continuation: codes("c") })
  })
  test("a merge across the border: the context as it is alone, the continuation what the whole has beyond", () => {
    const encode = encoder(merging, "never")
    expect(encodePair(encode, "xa", "bc")).toEqual({ context: [120, 97], continuation: [99] }) // whole: x, ab, c
  })
  test("an empty context is the prefix; a continuation that begins with it gives it away", () => {
    const encode = encoder(template(adding), "tokenizer")
    expect(encodePair(encode, "", "c")).toEqual({ context: [1], continuation: [99] })
    expect(encodePair(encode, "", "<s>c")).toEqual({ context: [1], continuation: [99] })
  })
  test("the policy: the tokenizer's own template, never, always; a text that begins with the prefix gets none", () => {
    for (const processor of [adding, { type: "Sequence", processors: [{ type: "ByteLevel" }, adding] }]) expect(encoder(template(processor), "tokenizer").encode("c")).toEqual([1, 99])
    expect(encoder(template(null), "tokenizer").encode("c")).toEqual([99])
    expect(encoder(template(adding), "never").encode("c")).toEqual([99])
    expect(encoder(template(null), "always").encode("c")).toEqual([1, 99])
    expect(encoder(template(adding), "tokenizer").encode("<s>c")).toEqual([1, 99])
    expect(encodePair(encoder(template(adding), "tokenizer"), "c", "d")).toEqual({ context: [1, 99], continuation: [100] })
  })
  test("a tokenizer without bos or eos needs a prefix", () => {
    const { bos: _bos, eos: _eos, ...rest } = merging
    expect(() => encoder(rest, "never")).toThrow("give a prefix token")
    expect(encoder(rest, "never", { prefix: 7 }).prefix).toBe(7)
  })
})
