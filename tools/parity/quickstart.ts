/**
 * What Switchyard makes of a quickstart's exported folders: logits of seed, mixture, compressed and of the seed with each expert, on the
 * same tokens. quickstart.py compares them with transformers and peft.
 *
 *     node --import tsx --conditions=@switchyard/source tools/parity/quickstart.ts OUT EXPECTED.json && python3 tools/parity/quickstart.py OUT EXPECTED.json
 */
import { Checkpoint, File, Model, Weights } from "@switchyard/core"
import { Device, Op, Recording, Tensor } from "@switchyard/gpu"
import { Adapter, LanguageModel } from "@switchyard/routing"
import { Effect } from "effect"
import { readdirSync } from "node:fs"
import { join } from "node:path"

const [folder, file] = process.argv.slice(2)
if (folder === undefined || file === undefined) throw new Error("say which folder and where to write: quickstart.ts OUT EXPECTED.json")
const text = "Call me Ishmael. Some years ago, never mind how long precisely, Permission is hereby granted, free of charge; declare function parse(text: string): number | undefined;\n"

/** Logits of one sequence. Shapes: ids [tokens] → [tokens, vocabulary]. */
const logitsOf = (model: Model.Model, weights: Weights.Weights, fed: Uint32Array) => Effect.scoped(Effect.gen(function*() {
  const device = yield* Device.Device, arena = yield* device.arena
  const self = yield* LanguageModel.make(model, { batch: 1, tokens: fed.length })
  const ids = Tensor.kept([fed.length], { dtype: "u32", sharded: true, label: "ids" })
  const program = Recording.record(() => Op.keep(LanguageModel.forward(self, ids).logits, "logits"))
  yield* LanguageModel.load(arena, self, weights)
  yield* arena.upload(ids, fed)
  yield* arena.submit(program)
  return [...yield* arena.read(program.outputs)]
}))

await Effect.runPromise(Effect.gen(function*() {
  const seed = yield* Checkpoint.open(join(folder, "seed"))
  const encoded = seed.tokenizer.encode(text), ids = Uint32Array.from([seed.tokenizer.bos!, ...encoded].slice(0, seed.model.contextLength))
  const models: Record<string, ReadonlyArray<number>> = {}, experts: Record<string, ReadonlyArray<number>> = {}
  for (const name of ["seed", "mixture", "compressed"]) {
    const { model, weights } = yield* Checkpoint.open(join(folder, name))
    models[name] = yield* logitsOf(model, weights, ids)
  }
  for (const domain of readdirSync(join(folder, "experts")).sort()) {
    experts[domain] = yield* logitsOf(seed.model, Adapter.fold(seed.weights, yield* Adapter.open(join(folder, "experts", domain))), ids)
  }
  yield* File.writeJson(file, { ids: [...ids], text, models, experts })
}).pipe(Effect.provide(Device.plain())))
