import { describe, expect, test } from "@jest/globals"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { aliases, cuts } from "./ggufCuts.ts"
import type { Header, Value } from "./GgufHeader.ts"
import { ggufTokenizer } from "./ggufTokenizer.ts"

/** tools/fixtures/gguf_cuts.py: Hugging Face's `tokenizers` on every cut as its tokenizer.json publishes it. Tokens are the alphabet, the merges in order, and some that no merge makes. */
const golden = JSON.parse(readFileSync(new URL("./fixtures/gguf/cuts.json", import.meta.url), "utf8")) as {
  readonly alphabet: string; readonly merges: ReadonlyArray<readonly [number, number]>; readonly unmerged: ReadonlyArray<string>
  readonly texts: ReadonlyArray<string>; readonly ids: Readonly<Record<string, ReadonlyArray<ReadonlyArray<number>>>>
}
const tokens = [...golden.alphabet]
const merges = golden.merges.map(([left, right]) => {
  tokens.push(tokens[left]! + tokens[right]!)
  return `${tokens[left]!} ${tokens[right]!}`
})
tokens.push(...golden.unmerged)
const read = (pre: string) => {
  const metadata = new Map<string, Value>([["tokenizer.ggml.model", "gpt2"], ["tokenizer.ggml.pre", pre], ["tokenizer.ggml.tokens", tokens], ["tokenizer.ggml.merges", merges]])
  return Effect.runPromise(ggufTokenizer("cuts.gguf", { metadata, tensors: new Map() } satisfies Header))
}

describe("every cut gives the ids of Hugging Face's tokenizers", () => {
  test.each(Object.keys(golden.ids))("%s", async (pre) => {
    const tokenizer = await read(pre), normalized = cuts[aliases[pre] ?? pre]!.normalizer !== undefined
    expect(golden.texts.map((text) => [text, [...tokenizer.encode(text)]])).toEqual(golden.texts.map((text, i) => [text, golden.ids[pre]![i]]))
    expect(golden.ids[pre]!.map((ids) => tokenizer.decode(ids))).toEqual(golden.texts.map((text) => normalized ? text.normalize("NFC") : text))
  })
  test("no row is left out, and each row's ids are its own, but for two that differ where it does not matter", () => {
    expect(Object.keys(cuts).filter((name) => !(name in golden.ids))).toEqual([])
    const distinct = new Set(Object.keys(cuts).map((name) => JSON.stringify(golden.ids[name])))
    expect(distinct.size).toBe(Object.keys(cuts).length - 1)
    expect(golden.ids["bailingmoe"]).toEqual(golden.ids["grok-2"])
  })
  test("an alias is another name of a row; a cut that is not known is an error with the nearest name", async () => {
    expect(Object.entries(aliases).filter(([alias, name]) => Object.hasOwn(cuts, alias) || !Object.hasOwn(cuts, name))).toEqual([])
    const renamed = await read("falcon3")
    expect(golden.texts.map((text) => [...renamed.encode(text)])).toEqual(golden.ids["llama-bpe"])
    await expect(read("starcoder3")).rejects.toThrow(/tokenizer.ggml.pre: "starcoder3" is not known; the nearest is starcoder\. Remedy/)
    await expect(read("toString")).rejects.toThrow(/"toString" is not known/)
  })
})
