import { describe, expect, test } from "@jest/globals"
import { Checkpoint, file, Pipeline, Safetensors, Store, Tokenizer } from "@switchyard/core"
import { Op, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Adapter from "./Adapter.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as MixLora from "./MixLora.ts"

const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
const fixtures = fileURLToPath(new URL("./fixtures", import.meta.url)), at = join(fixtures, "mixlora"), base = join(fixtures, "peft", "llama")
const llama = () => run(Checkpoint.open(base, { tokenizer: Tokenizer.bytes() }))
const logitsOf = () => run(Effect.flatMap(Safetensors.open(join(at, "expected.safetensors")), (found) => found.read("logits")))
const ids = new Uint32Array((await run(Effect.flatMap(Safetensors.open(join(fixtures, "peft", "expected.safetensors")), (found) => found.bytes("ids")))).slice().buffer)
const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)
const inFolder = async <A>(work: (folder: string) => Promise<A>): Promise<A> => {
  const folder = mkdtempSync(join(tmpdir(), "mixlora-"))
  try { return await work(folder) } finally { rmSync(folder, { recursive: true }) }
}

const logits = ({ model, weights }: Pick<Checkpoint.Any, "model" | "weights">) => run(Effect.scoped(Effect.gen(function*() {
  const self = yield* LanguageModel.make(model, { batch: 1, tokens: ids.length }), arena = yield* plainDevice().arena
  yield* LanguageModel.load(arena, self, weights)
  const input = Tensor.kept([ids.length], { dtype: "u32", sharded: true, label: "ids" }), program = Recording.record(() => Op.keep(LanguageModel.forward(self, input).logits, "logits"))
  yield* arena.upload(input, ids)
  yield* arena.submit(program)
  return Float32Array.from(yield* arena.read(program.outputs))
})))

describe("a folder of MixLoRA's", () => {
  test("is a mixture with the logits of MixLoRA's own code: attention folded, matrices that are no targets unchanged", async () => {
    const { model, settings, weights } = await run(MixLora.open(at, await llama())), expected = await logitsOf()
    expect(settings).toMatchObject({ experts: 3, active: 2, expert: { rank: 2, scale: 2.5 }, targets: ["q_proj", "v_proj", "gate_proj", "down_proj"] })
    expect(difference(await logits({ model, weights }), expected)).toBeLessThan(2e-5)
    expect((await run(weights.read("layers.1.experts.2.up.b"))).every((value) => value === 0)).toBe(true)
  })
  test("as a stage: kept in our own layout, planned from headers", () => inFolder(async (folder) => {
    await run(Checkpoint.write(await llama(), join(folder, "llama")))
    const made = Pipeline.make("mixlora", () => ({ mixture: MixLora.load(Checkpoint.load({ at: join(folder, "llama") }), { at: file(at) }) }))
    await run(Effect.provide(Effect.gen(function*() {
      const planned = (yield* Pipeline.plan(made)).at(-1)!, { mixture } = yield* Pipeline.run(made)
      expect(planned.header).toMatchObject({ form: "mixture", parameters: mixture.header.parameters })
      expect(yield* Effect.promise(() => logits(mixture))).toEqual(yield* Effect.promise(async () => logits(await run(MixLora.open(at, await llama())))))
    }), Store.layer(join(folder, "store"))))
  }))
  test.each<[string, unknown, RegExp]>([
    ["routing_strategy", "mixlora-dynamic", /routing_strategy: "mixlora-dynamic" is not supported/], ["top_k", 4, /top_k/], ["num_experts", 0, /num_experts/], ["use_dora", true, /use_dora: true is not supported/],
    ["act_fn", "gelu", /act_fn/], ["expert_lora", { r: 2, lora_alpha: 5, use_dora: true }, /expert_lora\.use_dora: true is not supported/], ["top_p", 0.8, /top_p/], ["target_modules", ["q_proj"], /mixlora\.layers\.0\.mlp\.down_proj\.experts\.0\.lora_A\.weight.*no target/], ["num_experts", 4, /experts\.3\.lora_A\.weight.*missing/],
    ["r", 3, /shape \[2, 16\] instead of \[3, 16\]/], ["peft_type", "LORA", /peft_type.*Adapter\.load/]
  ])("%s: %j is refused by name", (key, value, message) => inFolder(async (folder) => {
    cpSync(at, folder, { recursive: true })
    const path = join(folder, "adapter_config.json")
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")) as object, [key]: value }))
    expect((await run(Effect.flip(MixLora.open(folder, await llama())))).message).toMatch(message)
  }))
  test("the experts' activation is the base's own, said or not; another is refused", async () => {
    const { model, weights } = await llama(), gelu = { model: { ...model, activation: { kind: "geluTanh" as const } }, weights }
    expect((await run(Effect.flip(MixLora.open(at, gelu)))).message).toMatch(/act_fn: "silu" is not supported on this base, whose experts compute gelu_pytorch_tanh/)
    await inFolder(async (folder) => {
      cpSync(at, folder, { recursive: true })
      const path = join(folder, "adapter_config.json"), settings = JSON.parse(readFileSync(path, "utf8")) as object
      for (const act_fn of [null, "gelu_pytorch_tanh"]) {
        writeFileSync(path, JSON.stringify({ ...settings, act_fn }))
        expect((await run(MixLora.open(folder, gelu))).model.activation).toEqual({ kind: "geluTanh" })
      }
    })
  })
  test("a pickle is never opened: the error has the command that converts it; a plain reader says what to use", () => inFolder(async (folder) => {
    cpSync(at, folder, { recursive: true })
    renameSync(join(folder, "adapter_model.safetensors"), join(folder, "adapter_model.bin"))
    expect((await run(Effect.flip(MixLora.open(folder, await llama())))).message).toMatch(/it is a pickle, .*python3 -c "import torch.*weights_only=True/)
    const { model } = await llama()
    expect((await run(Effect.flip(Adapter.open(at, { base: "x", model })))).message).toMatch(/peft_type: "MIXLORA" is not supported\. Remedy: open it with MixLora\.load/)
  }))
})
