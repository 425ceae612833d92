import { describe, expect, test } from "@jest/globals"
import { Model, Random, Safetensors, Weights } from "@switchyard/core"
import { Effect, Exit } from "effect"
import * as fc from "fast-check"
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Adapter from "./Adapter.ts"
import { configFile, ownFile, weightsFile } from "./peft.ts"

const model: Model.Model = {
  family: "llama", vocabulary: 12, hidden: 6, layers: 2, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 16,
  normEpsilon: 1e-5, ropeTheta: 10000, tiedEmbeddings: true, feedForward: { kind: "dense", inner: 10 }, extra: {}
}
const filled = (tensors: ReadonlyArray<Model.TensorShape>, seed: number) => Weights.fromMemory(Object.fromEntries(tensors.map(({ name, shape }) =>
  [name, { shape, data: Random.fillNormal(Random.make(seed, name), new Float32Array(shape.reduce((a, b) => a * b, 1))) }])))
const example = (rank = 3, scale = 2): Adapter.Adapter => ({ kind: "adapter", header: { base: "key-of-base", rank, scale, domains: ["law"], model }, weights: filled(Adapter.tensors(model, rank), 7) })
const inFolder = async (work: (folder: string) => Promise<void>) => {
  const folder = await mkdtemp(join(tmpdir(), "adapter-"))
  try { await work(folder) } finally { await rm(folder, { recursive: true }) }
}
const failure = async <A>(effect: Effect.Effect<A, unknown>): Promise<{ readonly _tag: string; readonly message: string; readonly key: string }> => {
  const exit = await Effect.runPromiseExit(effect)
  const found = Exit.findErrorOption(exit)
  if (found._tag === "None") throw new Error("expected a failure")
  return found.value as never
}
/** Changes one file of a written adapter, then opens it. */
const changed = (file: string, change: (text: string) => string) => new Promise<Awaited<ReturnType<typeof failure>>>((resolve, reject) => {
  inFolder(async (folder) => {
    const at = join(folder, "x")
    await Effect.runPromise(Adapter.write(example(), at))
    await writeFile(join(at, file), change(await readFile(join(at, file), "utf8")))
    resolve(await failure(Adapter.open(at)))
  }).catch(reject)
})

describe("Adapter", () => {
  test("what is written is a peft folder, and is read back to the bit", () => inFolder(async (folder) => {
    const adapter = example(), at = join(folder, "law")
    await Effect.runPromise(Adapter.write(adapter, at, { baseName: "models/seed" }))
    expect((await readdir(at)).sort()).toEqual(["README.md", configFile, weightsFile, ownFile])
    const config = JSON.parse(await readFile(join(at, configFile), "utf8"))
    expect(config).toMatchObject({ peft_type: "LORA", task_type: "CAUSAL_LM", r: 3, lora_alpha: 6, use_rslora: false, base_model_name_or_path: "models/seed", target_modules: ["gate_proj", "up_proj", "down_proj"] })
    const file = await Effect.runPromise(Safetensors.open(join(at, weightsFile)))
    expect(file.infos.get("base_model.model.model.layers.1.mlp.down_proj.lora_B.weight")).toEqual({ dtype: "F32", shape: [6, 3] })
    expect(file.infos.size).toBe(12)
    const back = await Effect.runPromise(Adapter.open(at))
    expect(back.header).toEqual(adapter.header)
    for (const { name } of Adapter.tensors(model, 3)) expect(await Effect.runPromise(back.weights.read(name))).toEqual(await Effect.runPromise(adapter.weights.read(name)))
  }))

  test("folded weights are W + scale · b·a, whole and by rows; the rest is untouched", () => fc.assert(fc.asyncProperty(
    fc.integer({ min: 1, max: 5 }), fc.double({ min: -4, max: 4, noNaN: true }), fc.nat(1), fc.constantFrom("gate", "up", "down"), fc.integer({ min: 0, max: 5 }), async (rank, scale, layer, matrix, from) => {
      const base = filled(Model.tensors(model), 1), adapter = example(rank, scale), folded = Adapter.fold(base, adapter)
      const name = `layers.${layer}.feedForward.${matrix}`, [out, input] = base.infos.get(name)!.shape as [number, number]
      const [w, a, b] = await Effect.runPromise(Effect.all([base.read(name), adapter.weights.read(`${name}.a`), adapter.weights.read(`${name}.b`)]))
      const expected = Array.from({ length: out * input }, (_, at) => {
        let sum = w[at]!
        for (let r = 0; r < rank; r++) sum += scale * b[Math.floor(at / input) * rank + r]! * a[r * input + at % input]!
        return sum
      })
      const whole = await Effect.runPromise(folded.read(name))
      expect(Math.max(...expected.map((value, at) => Math.abs(value - whole[at]!)))).toBeLessThan(2e-5)
      expect(await Effect.runPromise(folded.read(name, { from, to: 6 }))).toEqual(whole.slice(from * input, 6 * input))
      expect(await Effect.runPromise(folded.read("embedding"))).toEqual(await Effect.runPromise(base.read("embedding")))
    }), { numRuns: 20 }))

  test("an unknown key, a missing key and a wrong rank are named", () => inFolder(async (folder) => {
    const at = join(folder, "x"), list = Adapter.tensors(model, 3)
    const rewrite = async (names: ReadonlyArray<string>, rank = 3) => {
      await rm(at, { recursive: true, force: true })
      await Effect.runPromise(Adapter.write(example(), at))
      await rm(join(at, weightsFile))
      await Effect.runPromise(Safetensors.write(join(at, weightsFile), names.map((name) => ({ name, dtype: "F32" as const, shape: name.includes("lora_A") ? [rank, name.includes("down") ? 10 : 6] : [name.includes("down") ? 6 : 10, rank] })),
        (name) => Effect.succeed(new Float32Array(name.includes("lora_A") === name.includes("down") ? 10 * rank : 6 * rank))))
      return failure(Adapter.open(at))
    }
    const keys = list.map(({ name }) => `base_model.model.model.${name.replace("feedForward.", "mlp.").replace(/\.(gate|up|down)\.(a|b)$/, (_, matrix: string, half: string) => `.${matrix}_proj.lora_${half.toUpperCase()}.weight`)}`)
    const attention = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    expect(await rewrite([...keys, attention])).toMatchObject({ _tag: "AdapterError", key: attention })
    expect(await rewrite(keys.slice(1))).toMatchObject({ _tag: "AdapterError", key: keys[0], problem: "missing" })
    expect((await rewrite(keys, 2)).message).toContain("[2, 6] instead of [3, 6]")
  }))

  test("a setting that would change the sum is refused by name", async () => {
    expect(await changed(configFile, (text) => text.replace(`"use_dora": false`, `"use_dora": true`))).toMatchObject({ _tag: "AdapterError", key: "use_dora" })
    expect(await changed(configFile, (text) => text.replace(`"rank_pattern": {}`, `"rank_pattern": { "gate_proj": 4 }`))).toMatchObject({ key: "base_model.model.model.layers.0.mlp.gate_proj.lora_A.weight", problem: "shape [3, 6] instead of [4, 6]" })
    expect(await changed(configFile, (text) => text.replace(`"r": 3`, `"r": 0`))).toMatchObject({ key: "r" })
    expect(await changed(ownFile, () => "{}")).toMatchObject({ _tag: "AdapterError", key: "contents" })
  })

  test("an adapter of another base is refused with both keys", async () => {
    await Effect.runPromise(Adapter.requireBase("law", example().header, "key-of-base"))
    expect((await failure(Adapter.requireBase("law", example().header, "other"))).message).toMatch(/adapter law.*key-of-base.*other/)
  })

  test("rank-stabilised adapters have the scale alpha / √rank", () => inFolder(async (folder) => {
    const at = join(folder, "x")
    await Effect.runPromise(Adapter.write(example(4, 2), at))
    await writeFile(join(at, configFile), (await readFile(join(at, configFile), "utf8")).replace(`"use_rslora": false`, `"use_rslora": true`))
    expect((await Effect.runPromise(Adapter.open(at))).header.scale).toBe(4)
  }))
})
