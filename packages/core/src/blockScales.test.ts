import { describe, expect, test } from "@jest/globals"
import { Effect, Result } from "effect"
import fc from "fast-check"
import { cpSync, mkdtempSync, rmSync, writeFileSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { readBlock, withBlockScales } from "./blockScales.ts"
import * as Checkpoint from "./Checkpoint.ts"
import * as Dtype from "./Dtype.ts"
import * as Family from "./Family.ts"
import * as Tokenizer from "./Tokenizer.ts"
import * as Weights from "./Weights.ts"

const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
const fixture = fileURLToPath(new URL("./fixtures/float8", import.meta.url)), folder = join(fixture, "model")
const tokenizer = Tokenizer.bytes()
const inFolder = async (work: (folder: string) => Promise<void>) => {
  const at = mkdtempSync(join(tmpdir(), "float8-"))
  try { await work(at) } finally { rmSync(at, { recursive: true }) }
}

describe("a model in DeepSeek's layout", () => {
  test("every tensor equals what torch and transformers make of it, bit for bit; scales are no tensors, the config says nothing of them", async () => {
    const checkpoint = await run(Checkpoint.open(folder, { tokenizer })), expected = await run(Weights.fromFile(join(fixture, "expected.safetensors")))
    const family = Family.find("llama")!
    expect(checkpoint.weights.infos.size).toBe(expected.infos.size)
    for (const [name, { dtype, shape }] of checkpoint.weights.infos) {
      const inFile = Family.toFile(family, name)!, values = await run(expected.read(inFile))
      expect(await run(checkpoint.weights.read(name))).toEqual(values)
      expect([name, dtype]).toEqual([name, inFile.endsWith("proj.weight") ? "F32" : "BF16"])
      const row = shape[0]! - 1
      expect(await run(checkpoint.weights.read(name, { from: row, to: row + 1 }))).toEqual(values.slice(row * (shape[1] ?? 1)))
    }
    expect(JSON.stringify(checkpoint.model.extra)).not.toContain("quantization")
    await inFolder(async (at) => {
      await run(Checkpoint.write(checkpoint, join(at, "out")))
      expect(readFileSync(join(at, "out", "config.json"), "utf8")).not.toContain("quantization")
      expect((await run(Checkpoint.open(join(at, "out")))).header.parameters).toBe(checkpoint.header.parameters)
    })
  })
  test("without its settings the scales are named as unexpected tensors; another method stays with the config", () => inFolder(async (at) => {
    cpSync(folder, at, { recursive: true })
    const config = JSON.parse(readFileSync(join(at, "config.json"), "utf8")) as Record<string, unknown>
    const opened = async (settings: unknown) => {
      writeFileSync(join(at, "config.json"), JSON.stringify({ ...config, quantization_config: settings }))
      return Effect.runPromise(Effect.match(Checkpoint.open(at, { tokenizer }), { onSuccess: () => "opened", onFailure: (error) => `${error._tag}: ${error.message}` }))
    }
    expect(await opened(undefined)).toMatch(/TensorMismatch: .*7 unexpected: .*weight_scale_inv/)
    const settings = config["quantization_config"] as Record<string, unknown>
    expect(await opened({ ...settings, weight_block_size: [128, 128] })).toMatch(/WeightsError: .*proj.weight_scale_inv.*: its shape is \[\d, \d\] instead of \[1, 1\]/)
    expect(await opened({ ...settings, weight_block_size: [0, 16] })).toMatch(/ConfigError: .*quantization_config.weight_block_size.*not two positive numbers/)
    expect(await opened({ ...settings, fmt: "e5m2" })).toMatch(/ConfigError: .*quantization_config.fmt/)
    expect(await opened({ ...settings, zero_point: true })).toMatch(/ConfigError: .*quantization_config.zero_point.*not understood/)
    expect(await opened({ quant_method: "gptq", bits: 4 })).toMatch(/ConfigError: .*quantization_config.quant_method: "gptq" is not read.*Remedy: dequantise/)
    expect(await opened({ load_in_4bit: true })).toMatch(/ConfigError: .*quantization_config.quant_method: it is missing/)
    expect(Result.getOrThrow(readBlock("x", { quantization_config: null, a: 1 })).block).toBeUndefined()
  }))
})

test("blocks that the matrix does not fill, read by any rows: value times the scale of its block", () => fc.assert(fc.asyncProperty(
  fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 }), fc.nat(8), fc.nat(8), async (rows, columns, high, wide, a, b) => {
    const across = Math.ceil(columns / wide), blocks = Math.ceil(rows / high) * across
    const data = Float32Array.from({ length: rows * columns }, (_, i) => (i % 13 - 6) / 4), scales = Float32Array.from({ length: blocks }, (_, i) => 0.1 * (i + 1))
    const weights = await run(withBlockScales(Weights.fromMemory({ w: { shape: [rows, columns], data, dtype: "F8_E4M3" }, w_scale_inv: { shape: [blocks / across, across], data: scales } }), [high, wide]))
    const expected = data.map((value, i) => value * scales[Math.floor(Math.floor(i / columns) / high) * across + Math.floor(i % columns / wide)]!)
    const from = Math.min(a, b, rows), to = Math.min(Math.max(a, b), rows)
    expect(await run(weights.read("w", { from, to }))).toEqual(expected.slice(from * columns, to * columns))
  }), { seed: 2, numRuns: 100 }))

test("scales that belong to nothing, or to another format, are named", async () => {
  const refused = (tensors: Parameters<typeof Weights.fromMemory>[0]) => run(Effect.flip(withBlockScales(Weights.fromMemory(tensors), [2, 2])))
  const one = { shape: [1, 1], data: new Float32Array(1) }
  expect(await refused({ x_scale_inv: one })).toMatchObject({ tensor: "x_scale_inv", problem: "these scales belong to no tensor" })
  expect(await refused({ x: one, x_scale_inv: one })).toMatchObject({ problem: expect.stringContaining("F8_E4M3, not F32 and F32") })
})

test("a tensor in 8 bits without scales is written in our own layout as it is, in a family's as BF16, with the same values", () => inFolder(async (at) => {
  const checkpoint = await run(Checkpoint.open(folder, { tokenizer })), name = "layers.0.feedForward.up", { shape } = checkpoint.weights.infos.get(name)!
  const data = new Float32Array(shape[0]! * shape[1]!)
  Dtype.decode(Uint8Array.from({ length: data.length }, (_, i) => i % 0x7f), "F8_E4M3", data)
  const eight = Checkpoint.make({ ...checkpoint, weights: Weights.overlay(checkpoint.weights, Weights.fromMemory({ [name]: { shape, data, dtype: "F8_E4M3" } })) })
  for (const [family, dtype] of [["switchyard", "F8_E4M3"], ["llama", "BF16"]] as const) {
    await run(Checkpoint.write(eight, join(at, family), { family }))
    const back = await run(Checkpoint.open(join(at, family)))
    expect([back.weights.infos.get(name)!.dtype, await run(back.weights.read(name))]).toEqual([dtype, data])
  }
}))
