import { expect, test } from "@jest/globals"
import { Effect } from "effect"
import fc from "fast-check"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Checkpoint from "./Checkpoint.ts"
import * as Family from "./Family.ts"
import * as Model from "./Model.ts"
import { pack, packsOf, unpack } from "./packedTensors.ts"
import * as Tokenizer from "./Tokenizer.ts"
import * as Weights from "./Weights.ts"

const run = Effect.runPromise
const model: Model.Model = {
  family: "phi3", vocabulary: 8, hidden: 6, layers: 2, heads: 3, keyValueHeads: 1, headSize: 2, contextLength: 16, normEpsilon: 1e-5, ropeTheta: 1e4, tiedEmbeddings: true,
  feedForward: { kind: "dense", inner: 5 }, extra: {}
}
const weights = Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }, at) => [name, { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => 1000 * at + i) }])))
const plain = Family.find("phi3")!
/** The four ways in which a family may pack gate and up. */
const ways = [{}, { alternating: true }, { turned: true }, { alternating: true, turned: true }] as const
const family = (way: (typeof ways)[number]): Family.Family => ({ ...plain, packed: [{ ...plain.packed![1]!, ...way }] })

test("query, key and value are rows of one matrix, in order", async () => {
  const packs = packsOf(plain, model), found = packs.get("model.layers.1.self_attn.qkv_proj.weight")!
  expect([packs.size, found.shape]).toEqual([4, [10, 6]])
  const expected = await Promise.all(["query", "key", "value"].map((name) => run(weights.read(`layers.1.attention.${name}`))))
  expect([...await run(pack(weights, found))]).toEqual(expected.flatMap((each) => [...each]))
})

test.each(ways)("%j: where each number stands", async (way) => {
  const [gate, up] = await Promise.all(["gate", "up"].map((name) => run(weights.read(`layers.0.feedForward.${name}`)))) as [Float32Array, Float32Array]
  const found = packsOf(family(way), model).get("model.layers.0.mlp.gate_up_proj.weight")!, values = await run(pack(weights, found))
  expect(found.shape).toEqual("turned" in way ? [6, 10] : [10, 6])
  for (const [part, of] of [gate, up].entries()) for (let r = 0; r < 5; r++) for (let c = 0; c < 6; c++) {
    const row = "alternating" in way ? 2 * r + part : 5 * part + r
    expect(values["turned" in way ? c * 10 + row : row * 6 + c]).toBe(of[r * 6 + c])
  }
})

test("what is put together is taken apart again, by any rows", async () => {
  await fc.assert(fc.asyncProperty(fc.constantFrom(...ways), fc.constantFrom("gate", "up"), fc.tuple(fc.nat(5), fc.nat(5)), async (way, matrix, ends) => {
    const name = `layers.1.feedForward.${matrix}`, rows = { from: Math.min(...ends), to: Math.max(...ends) }
    const found = packsOf(family(way), model).get("model.layers.1.mlp.gate_up_proj.weight")!, stored = Weights.fromMemory({ [found.file]: { shape: found.shape, data: await run(pack(weights, found)) } })
    expect(await run(unpack(stored, found, name, rows))).toEqual(await run(weights.read(name, rows)))
  }))
})

test("a written pack keeps the bits of the widest tensor in it, whichever that is", async () => {
  const folder = mkdtempSync(join(tmpdir(), "packs-")), whole = { ...model, vocabulary: 260 }, wide = "layers.0.attention.value"
  // sevenths need more bits than bf16 has, whole numbers below 256 do not
  const mixed = Weights.fromMemory(new Map(Model.tensors(whole).map(({ name, shape }) => {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i % 200 / (name === wide ? 7 : 1))
    return [name, { shape, data, dtype: name === wide ? "F32" as const : "BF16" as const }]
  })))
  try {
    await run(Checkpoint.write(Checkpoint.make({ model: whole, weights: mixed, tokenizer: Tokenizer.bytes() }), join(folder, "model"), { family: "phi3" }))
    const { weights: read } = await run(Checkpoint.open(join(folder, "model")))
    for (const name of mixed.infos.keys()) expect([name, await run(read.read(name))]).toEqual([name, await run(mixed.read(name))])
    expect(["layers.0.attention.query", "layers.1.attention.query"].map((name) => read.infos.get(name)!.dtype)).toEqual(["F32", "BF16"])
  } finally { rmSync(folder, { recursive: true, force: true }) }
})
