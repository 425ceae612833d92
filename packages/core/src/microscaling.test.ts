/** MXFP4 as transformers dequantises it: tools/fixtures/mxfp4.py made the folders. */
import { expect, test } from "@jest/globals"
import { Effect, Exit } from "effect"
import { fileURLToPath } from "node:url"
import * as Checkpoint from "./Checkpoint.ts"
import type { Dtype } from "./Dtype.ts"
import { withMicroscaling } from "./microscaling.ts"
import * as Tokenizer from "./Tokenizer.ts"
import * as Weights from "./Weights.ts"

const run = Effect.runPromise
const folder = (name: string) => fileURLToPath(new URL(`./fixtures/mxfp4/${name}`, import.meta.url))
/** The models have eight ids: no tokenizer of text fits. */
const tokenizer: Tokenizer.Tokenizer = { ...Tokenizer.bytes(), vocabulary: 8 }

test("a gpt-oss in MXFP4: the numbers that transformers makes of it, bit for bit, and no trace of quantisation in what is written", async () => {
  const [packed, plain] = await Promise.all(["packed", "plain"].map((name) => run(Checkpoint.open(folder(name), { tokenizer }))))
  expect(packed!.model).toEqual(plain!.model)
  expect(packed!.model.extra).not.toHaveProperty("quantization_config")
  expect([...packed!.weights.infos.keys()]).toEqual([...plain!.weights.infos.keys()])
  for (const name of plain!.weights.infos.keys()) expect(await run(packed!.weights.read(name))).toEqual(await run(plain!.weights.read(name)))
})

test("single experts, and rows of them", async () => {
  const [packed, plain] = [await run(Effect.flatMap(Weights.fromFolder(folder("packed")), withMicroscaling)), await run(Weights.fromFolder(folder("plain")))]
  const name = "model.layers.0.mlp.experts.down_proj"
  expect(packed.infos.get(name)).toEqual({ dtype: "F32", shape: [2, 64, 32] })
  for (const rows of [{ from: 1, to: 2 }, { from: 0, to: 0 }]) expect(await run(packed.read(name, rows))).toEqual(await run(plain.read(name, rows)))
})

const tensors = (shapes: Readonly<Record<string, ReadonlyArray<number>>>, dtype: Dtype = "U8") =>
  Weights.fromMemory(new Map(Object.entries(shapes).map(([name, shape]) => [name, { shape, dtype, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) }])))
test.each<readonly [string, Weights.Weights, RegExp]>([
  ["blocks without scales", tensors({ x_blocks: [1, 2, 1, 16] }), /x_blocks.*there are no scales of it/],
  ["scales without blocks", tensors({ x_scales: [1, 2, 1] }), /x_scales.*there are no blocks of it/],
  ["scales of other groups", tensors({ x_blocks: [1, 2, 3, 16], x_scales: [1, 2, 1] }), /its shape is \[1, 2, 3, 16\], its scales' \[1, 2, 1\]/],
  ["blocks of another length", tensors({ x_blocks: [1, 2, 1, 8], x_scales: [1, 2, 1] }), /\[experts, rows, groups, 16\]/],
  ["blocks that are no bytes", tensors({ x_blocks: [1, 2, 1, 16], x_scales: [1, 2, 1] }, "F32"), /its dtype is F32 instead of U8/],
  ["the tensor itself beside them", tensors({ x: [1], x_blocks: [1, 2, 1, 16], x_scales: [1, 2, 1] }), /x stands beside it/]
])("%s: refused by name", async (_, stored, message) => {
  const error = Exit.findErrorOption(await Effect.runPromiseExit(withMicroscaling(stored)))
  expect(error._tag === "Some" ? error.value.message : "no error").toMatch(message)
})
