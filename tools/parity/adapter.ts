/**
 * Writes a small dense model in Hugging Face's layout, a random adapter as a peft folder, and the logits of the two folded together:
 * what load_adapter.py compares with transformers and peft.
 *
 *     node --import tsx --conditions=@switchyard/source tools/parity/adapter.ts FOLDER && python3 tools/parity/load_adapter.py FOLDER
 */
import { Checkpoint, File, Model, Random, Tokenizer, Weights } from "@switchyard/core"
import { Op, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Adapter, LanguageModel, Newborn } from "@switchyard/routing"
import { Effect } from "effect"
import { join } from "node:path"

const folder = process.argv[2]
if (folder === undefined) throw new Error("say where: adapter.ts FOLDER")
const model = {
  family: "llama", vocabulary: 260, hidden: 32, layers: 2, heads: 4, keyValueHeads: 2, headSize: 8, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 10000,
  tiedEmbeddings: true, feedForward: { kind: "dense" as const, inner: 48 }, extra: {}
} satisfies Model.Model
const tokens = 48

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const seed = Checkpoint.make({ model, weights: Newborn.weights(model, 1), tokenizer: Tokenizer.bytes() })
  const low = Weights.fromMemory(Object.fromEntries(Adapter.tensors(model, 4).map(({ name, shape }) =>
    [name, { shape, data: Random.fillNormal(Random.make(2, name), new Float32Array(shape[0]! * shape[1]!), { deviation: 0.2 }) }])))
  const adapter: Adapter.Adapter = { kind: "adapter", header: { base: "parity", rank: 4, scale: 1.5, domains: ["parity"], model }, weights: low }
  yield* Checkpoint.write(seed, join(folder, "base"), { family: "llama" })
  yield* Adapter.write(adapter, join(folder, "adapter"), { baseName: "../base" })

  const self = yield* LanguageModel.make(model, { batch: 1, tokens }), arena = yield* plainDevice().arena
  yield* LanguageModel.load(arena, self, Adapter.fold(seed.weights, yield* Adapter.open(join(folder, "adapter"))))
  const ids = Tensor.kept([tokens], { dtype: "u32", sharded: true, label: "ids" }), fed = Random.fillUnsigned(Random.make(3, "ids"), new Uint32Array(tokens)).map((word) => word % 256)
  const program = Recording.record(() => Op.keep(LanguageModel.forward(self, ids).logits, "logits"))
  yield* arena.upload(ids, fed)
  yield* arena.submit(program)
  yield* File.writeJson(join(folder, "expected.json"), { ids: [...fed], logits: [...yield* arena.read(program.outputs)] })
})))
