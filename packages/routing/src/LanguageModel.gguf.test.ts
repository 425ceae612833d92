/** GGUF files against the safetensors that they were made of, and against transformers: tools/fixtures/gguf_models.py and gguf_families.py wrote them with PyPI's gguf. */
import { expect, test } from "@jest/globals"
import { Checkpoint, type Dtype, type Model, Pipeline, Store } from "@switchyard/core"
import { Device, Op, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as LanguageModel from "./LanguageModel.ts"

const root = fileURLToPath(new URL("./fixtures", import.meta.url))
const file = (name: string) => Effect.runPromise(Checkpoint.open(join(root, "gguf", `${name}.gguf`)))

const logitsOf = ({ model, weights }: Checkpoint.Any, given: ReadonlyArray<number>) => Effect.runPromise(Effect.provideService(Effect.scoped(Effect.gen(function*() {
  const self = yield* LanguageModel.make(model, { batch: 1, tokens: given.length }), ids = Tensor.kept([given.length], { dtype: "u32" })
  const arena = yield* (yield* Device.Device).arena
  yield* LanguageModel.load(arena, self, weights)
  yield* arena.upload(ids, Uint32Array.from(given))
  const program = Recording.record(() => ({ logits: Op.keep(LanguageModel.forward(self, ids).logits) }))
  yield* arena.submit(program)
  return yield* arena.read(program.outputs.logits)
})), Device.Device, plainDevice()))

const worst = (found: ArrayLike<number>, expected: ArrayLike<number>): number => {
  expect(found.length).toBe(expected.length)
  return Math.max(...Array.from(found, (value, i) => Math.abs(value - expected[i]!)))
}
/** What a GGUF file can say: no window, and no keys that are only carried. */
const said = ({ attention, ...model }: Model.Model) => {
  const { window: _, ...others } = attention ?? {}
  return { ...model, ...Object.keys(others).length === 0 ? {} : { attention: others }, extra: {} }
}
const ids = [3, 1, 4, 15, 9, 2, 6, 5, 23, 8, 0, 17]

test.each(["llama", "llama-llama3", "llama-yarn", "mixtral", "olmoe", "phi3", "qwen2", "qwen2-moe", "qwen3", "qwen3-moe"])("%s: the model, every tensor bit for bit and the logits are those of the safetensors folder", async (name) => {
  const [gguf, folder] = [await file(name), await Effect.runPromise(Checkpoint.open(join(root, "families", name)))]
  expect(said(gguf.model)).toEqual(said(folder.model))
  expect([...gguf.weights.infos]).toEqual([...folder.weights.infos])
  for (const tensor of folder.weights.infos.keys()) expect(await Effect.runPromise(gguf.weights.read(tensor))).toEqual(await Effect.runPromise(folder.weights.read(tensor)))
  const logits = await logitsOf(gguf, ids)
  expect(worst(logits, await logitsOf({ ...folder, model: gguf.model }, ids))).toBeLessThan(1e-7)
  if (name !== "mixtral") expect(worst(logits, await logitsOf(folder, ids))).toBeLessThan(1e-7) // mixtral's folder has a window
})

test("a quantised Llama (Q8_0, Q5_0, Q5_1, Q4_0, Q4_1, BF16, F16, F32): transformers' logits on the values that gguf dequantises", async () => {
  const expected = JSON.parse(readFileSync(join(root, "gguf", "llama-quantised.json"), "utf8")) as { readonly ids: ReadonlyArray<number>; readonly logits: ReadonlyArray<number> }
  const difference = worst(await logitsOf(await file("llama-quantised"), expected.ids), expected.logits)
  if (process.env["SWITCHYARD_FIGURES"] !== undefined) process.stderr.write(`${difference}\n`)
  expect(difference).toBeLessThan(1e-5)
})

const later = ["gemma2", "gemma3", "deepseek-v2-lite", "deepseek-v2", "deepseek-v3", "gpt-oss"]
const expectedOf = (name: string) => JSON.parse(readFileSync(join(root, "gguf", `${name}.json`), "utf8")) as { readonly ids: ReadonlyArray<number>; readonly logits: ReadonlyArray<number> }

test.each(later)("%s: transformers' logits on the same weights", async (name) => {
  const expected = expectedOf(name), difference = worst(await logitsOf(await file(name), expected.ids), expected.logits)
  if (process.env["SWITCHYARD_FIGURES"] !== undefined) process.stderr.write(`${name} ${difference}\n`)
  expect(difference).toBeLessThan(1e-4)
})

test.each(later)("%s by a stage: kept in the store as its family's own files, and of the same logits when read from there", async (name) => {
  const folder = await mkdtemp(join(tmpdir(), "gguf-")), at = join(root, "gguf", `${name}.gguf`)
  try {
    const { seed } = await Effect.runPromise(Pipeline.run(Pipeline.make("gguf", () => ({ seed: name.startsWith("gemma") ? Checkpoint.load({ at }) : Checkpoint.loadMixture({ at }) }))).pipe(Effect.provide(Store.layer(folder))))
    const expected = expectedOf(name), { model } = await file(name)
    expect([seed.model.family, { ...seed.model, extra: {} }]).toEqual([model.family, { ...model, extra: {} }])
    expect(worst(await logitsOf(seed, expected.ids), expected.logits)).toBeLessThan(1e-4)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test("a matrix of keys and values that is stored in two may be read by any rows: those of the whole one", async () => {
  const { weights } = await file("deepseek-v3"), name = "layers.1.attention.keyValue"
  const all = await Effect.runPromise(weights.read(name)) // [2 · (6 + 8), 10]
  expect(all.length).toBe(280)
  for (const [from, to] of [[0, 1], [5, 7], [13, 15], [27, 28], [3, 25], [14, 14]] as const) expect(await Effect.runPromise(weights.read(name, { from, to }))).toEqual(all.slice(from * 10, to * 10))
})

test("rows of the permuted matrices may be asked for one by one, across heads, and in no order", async () => {
  const { weights } = await file("llama-quantised"), name = "layers.1.attention.query"
  const all = await Effect.runPromise(weights.read(name)) // [32, 32]
  for (const [from, to] of [[0, 1], [7, 9], [15, 17], [31, 32], [3, 30], [8, 8]] as const) {
    expect(await Effect.runPromise(weights.read(name, { from, to }))).toEqual(all.slice(from * 32, to * 32))
  }
})

test("written as safetensors and opened again, a GGUF model has the same values, quantised ones as F32", async () => {
  const gguf = await file("llama-quantised"), folder = await mkdtemp(join(tmpdir(), "gguf-"))
  try {
    await Effect.runPromise(Checkpoint.write(gguf, join(folder, "model")))
    const again = await Effect.runPromise(Checkpoint.open(join(folder, "model")))
    expect([again.model.family, again.tokenizer.hash, [...new Set([...again.weights.infos.values()].map(({ dtype }) => dtype))].sort()]).toEqual(["llama", gguf.tokenizer.hash, ["BF16", "F16", "F32"] satisfies ReadonlyArray<Dtype.Dtype>])
    for (const tensor of gguf.weights.infos.keys()) expect(await Effect.runPromise(again.weights.read(tensor))).toEqual(await Effect.runPromise(gguf.weights.read(tensor)))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test("SmolLM3: every tensor bit for bit; llama.cpp leaves out the rotation of every fourth layer, whatever the file was made of", async () => {
  const [gguf, folder] = [await file("smollm3"), await Effect.runPromise(Checkpoint.open(join(root, "families", "smollm3")))]
  expect([gguf.model.family, gguf.model.attention?.noRope]).toEqual(["smollm3", [3]])
  for (const tensor of folder.weights.infos.keys()) expect(await Effect.runPromise(gguf.weights.read(tensor))).toEqual(await Effect.runPromise(folder.weights.read(tensor)))
})

test("a model in three pieces, by the first one's path: the whole one's header and tensors", async () => {
  const [whole, split] = [await file("llama"), await file("split-00001-of-00003")]
  expect([split.header, [...split.weights.infos].sort()]).toEqual([whole.header, [...whole.weights.infos].sort()])
  for (const tensor of whole.weights.infos.keys()) expect(await Effect.runPromise(split.weights.read(tensor))).toEqual(await Effect.runPromise(whole.weights.read(tensor)))
})

test("experts' gate and up in one tensor: the same model as in two", async () => {
  const [fused, apart] = [await file("olmoe-fused"), await file("olmoe")]
  expect([fused.model, [...fused.weights.infos]]).toEqual([apart.model, [...apart.weights.infos]])
  for (const tensor of apart.weights.infos.keys()) expect(await Effect.runPromise(fused.weights.read(tensor))).toEqual(await Effect.runPromise(apart.weights.read(tensor)))
  expect(await Effect.runPromise(fused.weights.read("layers.0.experts.3.up", { from: 2, to: 5 }))).toEqual((await Effect.runPromise(apart.weights.read("layers.0.experts.3.up"))).slice(2 * 16, 5 * 16))
})
