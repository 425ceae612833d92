import { afterAll, beforeAll, describe, expect, test } from "@jest/globals"
import { Effect } from "effect"
import fc from "fast-check"
import { existsSync, readFileSync } from "node:fs"
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Checkpoint from "./Checkpoint.ts"
import { file } from "./File.ts"
import * as Gguf from "./Gguf.ts"
import { blockTypes, decodeBlocks } from "./ggufBlocks.ts"
import { more, parse } from "./GgufHeader.ts"
import * as Pipeline from "./Pipeline.ts"
import * as Store from "./Store.ts"
import * as Tokenizer from "./Tokenizer.ts"

const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/gguf/${name}.gguf`, import.meta.url))
let folder: string, files = 0
beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), "gguf-")) })
afterAll(() => rm(folder, { recursive: true, force: true }))

// ---------------------------------------------------------------- a writer, for files that no tool would write
const text = (value: string) => { const bytes = Buffer.from(value); return Buffer.concat([u64(bytes.length), bytes]) }
const u32 = (value: number) => { const out = Buffer.alloc(4); out.writeUInt32LE(value); return out }
const u64 = (value: number | bigint) => { const out = Buffer.alloc(8); out.writeBigUInt64LE(BigInt(value)); return out }
const f32 = (value: number) => { const out = Buffer.alloc(4); out.writeFloatLE(value); return out }
const typed = {
  u32: (value: number) => Buffer.concat([u32(4), u32(value)]),
  f32: (value: number) => Buffer.concat([u32(6), f32(value)]),
  text: (value: string) => Buffer.concat([u32(8), text(value)]),
  texts: (values: ReadonlyArray<string>) => Buffer.concat([u32(9), u32(8), u64(values.length), ...values.map(text)]),
  u32s: (values: ReadonlyArray<number>) => Buffer.concat([u32(9), u32(4), u64(values.length), ...values.map(u32)])
}
type Keys = Readonly<Record<string, Buffer | undefined>>
type Shapes = Readonly<Record<string, ReadonlyArray<number> | undefined>>
/** A file of these keys and of F32 tensors of these shapes, outermost axis first; what is undefined is left out. */
const made = async (keys: Keys, shapes: Shapes, change: (bytes: Buffer) => Buffer = (bytes) => bytes): Promise<string> => {
  const tensors = Object.entries(shapes).filter((entry): entry is [string, ReadonlyArray<number>] => entry[1] !== undefined), given = Object.entries(keys).filter((entry): entry is [string, Buffer] => entry[1] !== undefined)
  let reached = 0
  const infos = tensors.map(([name, shape]) => {
    const at = reached
    reached += Math.ceil(shape.reduce((product, axis) => product * axis, 4) / 32) * 32
    return Buffer.concat([text(name), u32(shape.length), ...[...shape].reverse().map(u64), u32(0), u64(at)])
  })
  const header = Buffer.concat([Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(given.length), ...given.flatMap(([key, value]) => [text(key), value]), ...infos])
  const path = join(folder, `${files++}.gguf`)
  await writeFile(path, change(Buffer.concat([header, Buffer.alloc(Math.ceil(header.length / 32) * 32 - header.length + reached)])))
  return path
}
const keys: Keys = {
  "general.architecture": typed.text("llama"), "llama.context_length": typed.u32(64), "llama.embedding_length": typed.u32(8), "llama.block_count": typed.u32(1), "llama.feed_forward_length": typed.u32(12),
  "llama.attention.head_count": typed.u32(2), "llama.attention.head_count_kv": typed.u32s([1]), "llama.attention.layer_norm_rms_epsilon": typed.f32(1e-5), "llama.rope.dimension_count": typed.u32(4), "llama.vocab_size": typed.u32(4),
  "tokenizer.ggml.model": typed.text("gpt2"), "tokenizer.ggml.tokens": typed.texts(["a", "b", "ab", "1"]), "tokenizer.ggml.merges": typed.texts(["a b"])
}
const shapes: Shapes = {
  "token_embd.weight": [4, 8], "output_norm.weight": [8], "blk.0.attn_norm.weight": [8], "blk.0.ffn_norm.weight": [8], "blk.0.attn_q.weight": [8, 8], "blk.0.attn_k.weight": [4, 8], "blk.0.attn_v.weight": [4, 8],
  "blk.0.attn_output.weight": [8, 8], "blk.0.ffn_gate.weight": [12, 8], "blk.0.ffn_up.weight": [12, 8], "blk.0.ffn_down.weight": [8, 12]
}
const problemOf = (path: string) => Effect.runPromise(Effect.match(Checkpoint.open(path), { onSuccess: () => "opened", onFailure: (error) => { expect(error.message).toMatch(/Remedy: /); expect(error.message).toContain(path); return `${error._tag}: ${error.message.slice(path.length + 2)}` } }))

describe("blocks, against PyPI's gguf", () => {
  const inLattices = ["MXFP4", "NVFP4", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"]
  test.each([...blockTypes.flatMap(({ name }) => name === "NVFP4" || /^IQ[123]/.test(name) ? [] : [["blocks", name]]), ...inLattices.map((name) => ["lattices", name])])("%s: %s: every value bit for bit, and any rows of them", async (of, name) => {
    const { weights } = await run(Gguf.open(fixture(of))), [found, expected] = [await run(weights.read(name)), await run(weights.read(`${name}.values`))]
    expect(found.length).toBe(3 * 512)
    expect(new Uint32Array(found.buffer, found.byteOffset, found.length)).toEqual(new Uint32Array(expected.buffer, expected.byteOffset, expected.length))
    expect(found.some((value) => value !== 0)).toBe(true)
    for (const [from, to] of [[0, 1], [1, 3], [2, 2]] as const) expect(await run(weights.read(name, { from, to }))).toEqual(expected.slice(from * 512, to * 512))
  })
  test("bytes that are no whole blocks die by name", () => {
    expect(() => decodeBlocks(blockTypes.find(({ name }) => name === "Q4_0")!, new Uint8Array(18), new Float32Array(33))).toThrow(/axis blocks: 33 values of Q4_0/)
  })
})

describe("a file as a checkpoint", () => {
  test("the model: sizes, what missing keys mean, numbers as they were meant", async () => {
    const { model, tokenizer, weights } = await run(Checkpoint.open(await made(keys, shapes)))
    expect(model).toEqual({
      family: "llama", vocabulary: 4, hidden: 8, layers: 1, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true,
      feedForward: { kind: "dense", inner: 12 }, extra: {}
    })
    expect([weights.infos.size, [...tokenizer.encode("ab1ba")]]).toEqual([11, [2, 3, 1, 0]])
  })
  test("checkpoint/load takes a file, keeps it in the store and reads it back from there", async () => {
    const path = await made(keys, shapes), pipeline = Pipeline.make("gguf", () => ({ seed: Checkpoint.load({ at: file(path) }) }))
    const { seed } = await run(Pipeline.run(pipeline).pipe(Effect.provide(Store.layer(join(folder, "store")))))
    expect([seed.header.form, seed.lineage.at(-1)?.stage, [...seed.tokenizer.encode("ab")]]).toEqual(["dense", "checkpoint/load", [2]])
    await rm(path)
    expect((await run(seed.weights.read("layers.0.feedForward.up"))).length).toBe(96)
  })
  test("linear rotary scaling is read", async () => {
    const { model } = await run(Checkpoint.open(await made({ ...keys, "llama.rope.scaling.type": typed.text("linear"), "llama.rope.scaling.factor": typed.f32(2) }, shapes)))
    expect(model.ropeScaling).toEqual({ kind: "linear", factor: 2 })
  })
  test("a tokenizer may be passed instead of one that cannot be read", async () => {
    const path = await made({ ...keys, "tokenizer.ggml.model": typed.text("t5") }, { ...shapes })
    expect(await problemOf(path)).toMatch(/^GgufError: tokenizer.ggml.model: a tokenizer of kind "t5" cannot be read yet/)
    const own = await run(Checkpoint.open(await made(keys, shapes)))
    expect((await run(Checkpoint.open(path, { tokenizer: own.tokenizer }))).tokenizer).toBe(own.tokenizer)
  })
  test.each<[string, Keys, Shapes, RegExp]>([
    ["an unknown architecture", { "general.architecture": typed.text("lama") }, {}, /GgufError: general.architecture: "lama" is not known; the nearest is llama/],
    ["no architecture", { "general.architecture": undefined }, {}, /general.architecture: it is missing/],
    ["a missing size", { "llama.block_count": undefined }, {}, /llama.block_count: .*not a positive number/],
    ["layers that differ", { "llama.attention.head_count_kv": typed.u32s([1, 2]) }, {}, /head_count_kv: it differs from layer to layer/],
    ["an unknown key of the architecture", { "llama.logit_scale": typed.f32(2) }, {}, /llama.logit_scale: it is not understood/],
    ["scaling that is not computed", { "llama.rope.scaling.type": typed.text("longrope") }, {}, /llama.rope.scaling.type: "longrope" is not read from such files/],
    ["a vocabulary that contradicts the embedding", { "llama.vocab_size": typed.u32(5) }, {}, /llama.vocab_size: 5 contradicts 4/],
    ["partly rotated heads", { "llama.rope.dimension_count": typed.u32(2) }, {}, /llama.rope.dimension_count: 2 contradicts 4/],
    ["a billion layers", { "llama.block_count": typed.u32(4e9) }, {}, /GgufError: llama.block_count: 4000000000 layers. Remedy: no such model exists/],
    ["a piece of a split file", { "split.count": typed.u32(3) }, {}, /split.count: it is a piece of 3, and its name does not end in -00001-of-0000N.gguf/],
    ["a vocabulary only", {}, Object.fromEntries(Object.keys(shapes).map((name) => [name, undefined])), /holds a vocabulary only/],
    ["a missing tensor", {}, { "blk.0.ffn_up.weight": undefined }, /GgufError: tensors: 1 missing: blk.0.ffn_up.weight/],
    ["a tensor too many", {}, { "blk.0.attn_q.bias": [8] }, /GgufError: tensors: 1 unexpected: blk.0.attn_q.bias/],
    ["divisors of rotary frequencies that are no scaling of ours", {}, { "rope_freqs.weight": [2] }, /GgufError: tensor "rope_freqs.weight": no scaling that our decoder computes/],
    ["divisors for another head size", {}, { "rope_freqs.weight": [3] }, /tensor "rope_freqs.weight": its shape is \[3\] instead of \[2\]/],
    ["a misshapen tensor", {}, { "blk.0.attn_k.weight": [8, 8] }, /GgufError: tensors: .*blk.0.attn_k.weight \[8, 8\] instead of \[4, 8\]/],
    ["an unknown way of cutting text", { "tokenizer.ggml.pre": typed.text("qwen3") }, {}, /tokenizer.ggml.pre: "qwen3" is not known; the nearest is qwen2/],
    ["no merges", { "tokenizer.ggml.merges": undefined }, {}, /tokenizer.ggml.merges: it is missing/],
    ["a merge of nothing", { "tokenizer.ggml.merges": typed.texts(["a c"]) }, {}, /merge 0, "a c", is not two tokens/],
    ["pieces without scores", { "tokenizer.ggml.model": typed.text("llama") }, {}, /tokenizer.ggml.scores: it is not a list of 4 numbers/],
    ["a token twice", { "tokenizer.ggml.tokens": typed.texts(["a", "b", "ab", "a"]) }, {}, /tokenizer.ggml.tokens: 1 tokens stand twice/],
    ["an end beyond the vocabulary", { "tokenizer.ggml.eos_token_id": typed.u32(4) }, {}, /eos_token_id: 4 is not an id below 4/],
    ["more tokens than rows", { "tokenizer.ggml.tokens": typed.texts(["a", "b", "ab", "1", "2"]) }, {}, /TokenizerError: .*it has 5 ids, the embedding only 4 rows/]
  ])("%s is refused by name", async (_, otherKeys, otherShapes, expected) => {
    expect(await problemOf(await made({ ...keys, ...otherKeys }, { ...shapes, ...otherShapes }))).toMatch(expected)
  })
})

describe("damage and attacks", () => {
  const at = (position: number, value: Buffer) => (bytes: Buffer) => Buffer.concat([bytes.subarray(0, position), value, bytes.subarray(position + value.length)])
  test.each<[string, (bytes: Buffer) => Buffer, RegExp]>([
    ["another magic", at(0, Buffer.from("GGML")), /it does not begin with GGUF/],
    ["version 1", at(4, u32(1)), /version 1.*convert the model again/],
    ["big-endian", at(4, Buffer.from([0, 0, 0, 3])), /it is big-endian/],
    ["2⁶⁴ − 1 tensors", at(8, u64(2n ** 64n - 1n)), /18446744073709551615 tensors are announced/],
    ["2⁶⁰ keys", at(16, u64(2n ** 60n)), /keys are announced/],
    ["a key of 2⁵⁰ bytes", at(24, u64(2n ** 50n)), /key 0: 1125899906842624 bytes of a key are announced/],
    ["an empty file", () => Buffer.alloc(0), /it ends at byte 0/],
    ["a type without values of its own", (bytes) => at(bytes.indexOf("output_norm.weight") + 30, u32(41))(bytes), /tensor "output_norm.weight": type Q1_0 is not read. Remedy: quantise it to one of F32, .*NVFP4, IQ1_S, .*, IQ3_S\./],
    ["a type that does not exist", (bytes) => at(bytes.indexOf("output_norm.weight") + 30, u32(99))(bytes), /type 99 is not read. Remedy: quantise it to one of F32/],
    ["a cut header", (bytes) => bytes.subarray(0, 300), /the file was cut off or damaged/],
    ["cut data", (bytes) => bytes.subarray(0, -64), /its data ends at byte \d+, the file at \d+/]
  ])("%s", async (_, change, expected) => {
    expect(await problemOf(await made(keys, shapes, change))).toMatch(expected)
  })
  test("keys and tensors that stand twice, arrays of arrays, odd alignments, holes", async () => {
    const twice = Buffer.concat([typed.u32(64), text("llama.block_count"), typed.u32(1)])
    const more = (bytes: Buffer) => at(16, u64(Object.keys(keys).length + 1))(bytes)
    expect(await problemOf(await made({ ...keys, "llama.context_length": twice }, shapes, more))).toMatch(/"llama.block_count": it stands twice/)
    expect(await problemOf(await made({ ...keys, "general.tags": Buffer.concat([u32(9), u32(9), u64(1)]) }, shapes))).toMatch(/"general.tags": it is an array of arrays/)
    expect(await problemOf(await made({ ...keys, "general.alignment": typed.u32(24) }, shapes))).toMatch(/general.alignment: 24 is not a power of two/)
    expect(await problemOf(await made({ ...keys, "general.alignment": typed.u32(64) }, shapes))).toMatch(/not on a multiple of 64|after a hole/)
    expect(await problemOf(await made({ ...keys, "general.odd": Buffer.concat([u32(9), u32(5), u64(2n ** 61n)]) }, shapes))).toMatch(/"general.odd": 2305843009213693952 elements are announced/)
    const path = await made(keys, shapes), file = await run(Gguf.open(path))
    await truncate(path, file.header.tensors.get("output_norm.weight")!.begin)
    expect(await Effect.runPromise(Effect.match(file.weights.read("output_norm.weight"), { onSuccess: () => "read", onFailure: (error) => error.message }))).toMatch(/it changed after it was opened/)
  })

  const cases = Number(process.env["SWITCHYARD_FUZZ"] ?? 3000)
  test(`${cases} mutated headers: read, or refused with a remedy; never more in memory than the file has`, async () => {
    const original = readFileSync(await made({ ...keys, "general.numbers": typed.u32s([1, 2, 3]) }, shapes)), header = 1100
    const extreme = fc.constantFrom(0n, 1n, 255n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 40n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n)
    const mutation = fc.oneof(
      fc.record({ at: fc.nat(header), byte: fc.nat(255) }),
      fc.record({ at: fc.nat(header), word: extreme }),
      fc.record({ at: fc.nat(original.length), cut: fc.constant(true) })
    )
    let refused = 0, longest = 0
    fc.assert(fc.property(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => {
      let bytes: Buffer = Buffer.from(original)
      for (const one of mutations) {
        if ("byte" in one && one.at < bytes.length) bytes[one.at] = one.byte
        if ("word" in one && one.at + 8 <= bytes.length) bytes.writeBigUInt64LE(one.word, one.at)
        if ("cut" in one) bytes = bytes.subarray(0, one.at)
      }
      const begun = process.cpuUsage() // not the clock: others may have the processor
      try {
        const found = parse("file", bytes, bytes.length)
        expect(found).not.toBe(more) // the whole file was given
        if (found === more) return
        for (const value of found.metadata.values()) expect(ArrayBuffer.isView(value) ? value.byteLength : Array.isArray(value) ? 8 * value.length : 0).toBeLessThanOrEqual(bytes.length)
        for (const { begin, length } of found.tensors.values()) expect(begin + length).toBeLessThanOrEqual(bytes.length)
      } catch (error) {
        if (!(error instanceof Gguf.GgufError)) throw error
        refused++
      }
      const { system, user } = process.cpuUsage(begun)
      longest = Math.max(longest, (user + system) / 1000)
    }), { numRuns: cases, seed: 3 })
    if (process.env["SWITCHYARD_FIGURES"] !== undefined) process.stderr.write(`${refused} of ${cases} refused, longest ${longest.toFixed(1)} ms\n`)
    expect(refused).toBeGreaterThan(cases / 4)
    expect(longest).toBeLessThan(1000)
  })
  test("a header of any first bytes asks for more until it is whole", async () => {
    const bytes = readFileSync(await made(keys, shapes)), whole = parse("file", bytes, bytes.length)
    let asked = 0
    for (let length = 0; length < 1200; length += 7) {
      const found = parse("file", bytes.subarray(0, length), bytes.length)
      if (found === more) asked++
      else expect(found).toEqual(whole)
    }
    expect(asked).toBeGreaterThan(100)
  })
})

const data = process.env["SWITCHYARD_DATA"]
// llama.cpp's `models`: the ids are those of Hugging Face's tokenizer of each model
describe("vocabularies of llama.cpp (SWITCHYARD_DATA: gguf)", () => {
  for (const [name, vocabulary, bos, eos] of [
    ["command-r", 256000, 5, 255001], ["deepseek-coder", 32256, 32013, 32014], ["deepseek-llm", 102400, 100000, 100001], ["falcon", 65024, 11, 11], ["gpt-2", 50257, 50256, 50256], ["llama-bpe", 128256, 128000, 128001],
    ["llama-spm", 32000, 1, 2], ["mpt", 50432, 0, 0], ["phi-3", 32064, 1, 32000], ["qwen2", 151936, 151643, 151643], ["refact", 49216, 0, 0], ["starcoder", 49152, 0, 0]
  ] as const) {
    const file = `gguf/ggml-vocab-${name}.gguf`, present = data !== undefined && [file, `${file}.inp`, `${file}.out`].every((one) => existsSync(join(data, one)))
    ;(present ? test : test.skip)(`${name}: every expected encoding${present ? "" : `, left out without ${file}`}`, async () => {
      const at = join(data!, file), tokenizer = await run(Effect.flatMap(Gguf.open(at), Gguf.tokenizer))
      const inputs = readFileSync(`${at}.inp`, "utf8").split("\n__ggml_vocab_test__\n"), outputs = readFileSync(`${at}.out`, "utf8").split("\n")
      expect(inputs.length).toBeGreaterThan(40)
      inputs.forEach((input, i) => expect([input, [...tokenizer.encode(input)]]).toEqual([input, outputs[i]!.split(" ").filter((id) => id !== "").map(Number)]))
      for (const input of inputs) expect(tokenizer.decode(tokenizer.encode(input))).toBe(input)
      expect([tokenizer.vocabulary, tokenizer.bos, tokenizer.eos, (await run(Tokenizer.fromFiles(tokenizer.files))).hash]).toEqual([vocabulary, bos, eos, tokenizer.hash])
    })
  }
})
