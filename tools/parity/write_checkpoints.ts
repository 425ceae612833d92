/**
 * Writes tiny checkpoints with seeded weights for tools/parity/load_checkpoint.py: llama (tied, f32), mixtral (f32), mixtral sharded in bf16.
 *
 *   node --import tsx --conditions=@switchyard/source tools/parity/write_checkpoints.ts FOLDER
 */
import { Checkpoint, Model, Random, Tokenizer, Weights } from "@switchyard/core"
import { Effect } from "effect"
import { join } from "node:path"

const folder = process.argv[2]
if (folder === undefined) throw new Error("usage: write_checkpoints.ts FOLDER")

const decoder = { vocabulary: 264, hidden: 8, layers: 2, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 20_000, extra: { bos_token_id: 256, eos_token_id: 257 } } as const
const llama: Model.Model = { ...decoder, family: "llama", tiedEmbeddings: true, feedForward: { kind: "dense", inner: 12 } }
const mixtral: Model.Model = {
  ...decoder, family: "mixtral", tiedEmbeddings: false, feedForward: {
    kind: "mixture", inner: 12, experts: 3, active: 2, expert: { kind: "full" }, routerTensors: { weight: [3, 8] },
    router: { unit: { of: "token" }, score: { by: "linear" }, select: { keep: "top", active: 2 }, weight: "softmaxKept" }
  }
}
const made = (model: Model.Model) => Checkpoint.make({
  model, tokenizer: Tokenizer.bytes(),
  weights: Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }) =>
    [name, { shape, data: Random.fillNormal(Random.make(1, name), new Float32Array(shape.reduce((a, b) => a * b, 1)), { mean: name.endsWith("norm") ? 1 : 0, deviation: 0.2 }) }])))
})
await Effect.runPromise(Checkpoint.write(made(llama), join(folder, "llama")))
await Effect.runPromise(Checkpoint.write(made(mixtral), join(folder, "mixtral")))
await Effect.runPromise(Checkpoint.write(made(mixtral), join(folder, "mixtral-sharded"), { dtype: "BF16", shardBytes: 6000 }))
