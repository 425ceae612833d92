import { describe, expect, test } from "@jest/globals"
import { Effect, Exit } from "effect"
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { preTokenizer } from "./preTokenizers.ts"
import * as Tokenizer from "./Tokenizer.ts"

const read = (path: string) => JSON.parse(readFileSync(new URL(`./fixtures/${path}`, import.meta.url), "utf8"))
const { alphabet, merges, unmerged } = read("gguf/cuts.json") as { alphabet: string; merges: ReadonlyArray<readonly [number, number]>; unmerged: ReadonlyArray<string> }
/** tools/fixtures/pre_tokenizers.py: Hugging Face's `tokenizers` on each pre-tokenizer as it stands. */
const { texts, cases } = read("pre_tokenizers.json") as { texts: ReadonlyArray<string>; cases: ReadonlyArray<{ node: Node; ids: ReadonlyArray<ReadonlyArray<number>> }> }
interface Node { readonly type: string; readonly pretokenizers?: ReadonlyArray<Node>; readonly [key: string]: unknown }

const tokens = [...alphabet]
const pairs = merges.map(([left, right]) => {
  tokens.push(tokens[left]! + tokens[right]!)
  return [tokens[left]!, tokens[right]!]
})
const model = { type: "BPE", unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, vocab: Object.fromEntries([...tokens, ...unmerged].map((token, id) => [token, id])), merges: pairs }
const json = (node: unknown) => ({ added_tokens: [], normalizer: null, pre_tokenizer: node, post_processor: null, decoder: { type: "ByteLevel" }, model })
const filesOf = (node: unknown) => ({ "tokenizer.json": new TextEncoder().encode(JSON.stringify(json(node))) })
const named = (node: Node): string => node.pretokenizers?.map(named).join(" → ") ?? [node.type, ...Object.entries(node).flatMap(([key, value]) => key === "type" || key === "trim_offsets" ? [] : [`${key} ${JSON.stringify(value)}`])].join(" ")

describe("every kind gives the ids of Hugging Face's tokenizers, and the file stays as it is", () => {
  test.each(cases.map(({ node, ids }) => [named(node), node, ids] as const))("%s", async (_, node, ids) => {
    const files = filesOf(node), before = files["tokenizer.json"].slice(), tokenizer = await Effect.runPromise(Tokenizer.fromFiles(files))
    expect(texts.map((text) => `${text}: ${tokenizer.encode(text).join(" ")}`)).toEqual(texts.map((text, i) => `${text}: ${ids[i]!.join(" ")}`))
    expect(Buffer.compare(tokenizer.files["tokenizer.json"]!, before)).toBe(0)
    expect(tokenizer.hash).toBe(createHash("sha256").update(JSON.stringify([null, node, model, [], { type: "ByteLevel" }])).digest("hex"))
  })
  test("the cases tell the kinds apart", () => {
    const distinct = new Set(cases.map(({ ids }) => JSON.stringify(ids)))
    expect(distinct.size).toBeGreaterThan(cases.length * 0.8)
  })
})

test("what is right already is left alone, twice is as once, and the given node is not written to", () => {
  for (const node of [null, undefined, { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false }, { type: "Unknown" }]) expect(preTokenizer(node)).toEqual(node)
  for (const { node } of cases) {
    const before = JSON.stringify(node), once = preTokenizer(node)
    expect(JSON.stringify(node)).toBe(before)
    if (!before.includes("Metaspace")) expect(preTokenizer(once)).toEqual(once)
  }
})

test("what cannot be had is refused by name", async () => {
  const message = async (node: unknown) => {
    const error = Exit.findErrorOption(await Effect.runPromiseExit(Tokenizer.fromFiles(filesOf({ type: "Sequence", pretokenizers: [node] }))))
    return error._tag === "Some" ? `${error.value._tag} ${error.value.message}` : "no error"
  }
  expect(await message({ type: "Punctuation", behavior: "Joined" })).toMatch(/^TokenizerError tokenizer\.json: it cannot be used \(its pre-tokenizer Punctuation: the behavior "Joined" is none of Removed, .*\. Remedy/)
  expect(await message({ type: "Split", behavior: "MergedWithNext", invert: false })).toMatch(/its pre-tokenizer Split: it has no pattern/)
  expect(await message({ type: "Split", pattern: { Regex: "(a)\\1" }, behavior: "MergedWithNext", invert: false })).toMatch(/pre-tokenizer Split: the behavior MergedWithNext of a pattern that refers to its own parts/)
  expect(await message({ type: "Split", pattern: { Regex: "(a)\\1" }, behavior: "Isolated", invert: false })).toBe("no error")
})
