import { afterAll, beforeAll, describe, expect, test } from "@jest/globals"
import { Effect, Exit } from "effect"
import fc from "fast-check"
import { existsSync, readFileSync } from "node:fs"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import * as Gguf from "./Gguf.ts"
import * as Tokenizer from "./Tokenizer.ts"

const fixture = (path: string) => new URL(`./fixtures/${path}`, import.meta.url).pathname
const json = (path: string) => JSON.parse(readFileSync(path, "utf8"))
const open = (folder: string) => Effect.runPromise(Tokenizer.fromFolder(folder))
let folder: string
beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), "tokenizer-")) })
afterAll(() => rm(folder, { recursive: true, force: true }))

describe("Tokenizer.bytes", () => {
  const tokenizer = Tokenizer.bytes()
  const golden = json(fixture("byte-tokenizer/transformers.json"))
  test("gives the ids that transformers gives with its files", () => {
    expect([golden.length, golden.bos, golden.eos]).toEqual([tokenizer.vocabulary, tokenizer.bos, tokenizer.eos])
    for (const { text, ids, decoded } of golden.cases) {
      expect([...tokenizer.encode(text)]).toEqual(ids)
      expect(tokenizer.decode(ids)).toBe(decoded)
    }
  })
  test("decoding what was encoded gives the text back, whatever it is, special tokens included", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => tokenizer.decode(tokenizer.encode(text)) === text), { seed: 1, numRuns: 500 })
    const pieces = fc.array(fc.oneof(fc.string({ unit: "grapheme" }), fc.constantFrom("<|bos|>", "<|eos|>", "<|", "|>", "<|pad")), { maxLength: 8 })
    fc.assert(fc.property(pieces, (parts) => tokenizer.decode(tokenizer.encode(parts.join(""))) === parts.join("")), { seed: 2, numRuns: 500 })
  })
  test("an id behind the vocabulary, as a model's padding rows have, is no text, as transformers decodes these files; what is no id dies", () => {
    expect([tokenizer.decode([72, 300, 105]), tokenizer.decode([300]), tokenizer.decode([195, 260, 188])]).toEqual(["Hi", "", "ü"])
    for (const id of [-1, 1.5, NaN, 256.5]) expect(() => tokenizer.decode([72, id])).toThrow(`id ${id} at 1: ids are whole numbers from 0 on`)
  })
  test("is recognised from its files, and its files are kept byte for byte", async () => {
    for (const [name, content] of Object.entries(tokenizer.files)) await writeFile(join(folder, name), content)
    const read = await open(folder)
    expect(read.encode).toBe(tokenizer.encode)
    expect(Object.fromEntries(Object.entries(read.files).map(([name, content]) => [name, Buffer.from(content).toString()])))
      .toEqual(Object.fromEntries(Object.entries(tokenizer.files).map(([name, content]) => [name, Buffer.from(content).toString()])))
  })
  test("the general path gives the same ids as the native one", async () => {
    const files = { ...tokenizer.files, "tokenizer.json": new TextEncoder().encode(new TextDecoder().decode(tokenizer.files["tokenizer.json"]).replace("\"fuse_unk\": false", "\"fuse_unk\": true")) }
    const general = await Effect.runPromise(Tokenizer.fromFiles(files))
    expect(general.hash).not.toBe(tokenizer.hash)
    for (const { text, ids } of golden.cases) expect([...general.encode(text)]).toEqual(ids)
  })
})

describe("tokenizer.json", () => {
  test("stories260K: the encodings of its reference", async () => {
    const tokenizer = await open(fixture("stories260k"))
    expect([tokenizer.vocabulary, tokenizer.bos, tokenizer.eos]).toEqual([512, 1, 2])
    for (const { text, ids } of json(fixture("stories260k/encodings.json"))) {
      expect([tokenizer.bos, ...tokenizer.encode(text)]).toEqual(ids)
      expect(tokenizer.decode(ids.slice(1))).toBe(text)
    }
  })
  test("a folder without one, and one that is broken, fail by name", async () => {
    const error = async (content: string | undefined, name = "tokenizer.json") => {
      const at = await mkdtemp(join(folder, "broken-"))
      if (content !== undefined) await writeFile(join(at, name), content)
      const found = Exit.findErrorOption(await Effect.runPromiseExit(Tokenizer.fromFolder(at)))
      return found._tag === "Some" ? found.value.message : "no error"
    }
    expect(await error(undefined)).toMatch(/tokenizer\.json: there is none\. Remedy/)
    expect(await error("", "tokenizer.model")).toMatch(/there is none, only tokenizer\.model\. Remedy/)
    expect(await error("{")).toMatch(/it is not JSON/)
    expect(await error("[]")).toMatch(/it is not an object/)
    expect(await error("{\"model\":{\"type\":\"Nonsense\"}}")).toMatch(/it cannot be used/)
  })
})

const data = process.env["SWITCHYARD_DATA"]
const gpt2 = data === undefined ? undefined : join(data, "hf/gpt2")
;(gpt2 !== undefined && existsSync(gpt2) ? test : test.skip)("GPT-2: the expected encoding (needs SWITCHYARD_DATA: hf/gpt2)", async () => {
  const tokenizer = await open(gpt2!), expected = json(join(data!, "hf/tokenizer-expected/gpt2_encoded_tokens.json"))
  expect(tokenizer.vocabulary).toBe(50257)
  expect([...tokenizer.encode(expected.text)]).toEqual(expected.token_ids)
  expect(tokenizer.decode(expected.token_ids)).toBe(expected.text)
})

// Hugging Face's swift-transformers: what transformers' own tokenizers make of one French text; a beginning-of-text token first where the tokenizer adds one
describe("the expected encodings of Hugging Face (SWITCHYARD_DATA: hf/tokenizer-expected)", () => {
  for (const [file, of] of [["llama_encoded.json", "gguf/ggml-vocab-llama-spm.gguf"], ["llama_3.2_encoded.json", "hf/Llama-3.2-1B/tokenizer.json"], ["falcon_encoded.json", "gguf/ggml-vocab-falcon.gguf"]] as const) {
    const missing = [join("hf/tokenizer-expected", file), of].filter((path) => data === undefined || !existsSync(join(data, path)))
    ;(missing.length === 0 ? test : test.skip)(`${file}: every id${missing.length === 0 ? "" : `, left out without ${missing.join(" and ")}`}`, async () => {
      const path = join(data!, of), expected = json(join(data!, "hf/tokenizer-expected", file)) as { text: string; token_ids: ReadonlyArray<number>; decoded_text: string }
      const tokenizer = of.endsWith(".gguf") ? await Effect.runPromise(Effect.flatMap(Gguf.open(path), Gguf.tokenizer)) : await open(dirname(path))
      const begins = tokenizer.bos !== undefined && expected.token_ids[0] === tokenizer.bos
      expect([begins, ...begins ? [tokenizer.bos] : [], ...tokenizer.encode(expected.text)]).toEqual([file.startsWith("llama"), ...expected.token_ids])
      expect(tokenizer.decode(expected.token_ids)).toBe(expected.decoded_text)
    })
  }
})
