/**
 * Writes small models in Hugging Face's layout, a random adapter for each as a peft folder, and the logits of the two folded together: what
 * load_adapter.py compares with transformers and peft. `plain`: feed-forwards of one rank; `ranks`: every matrix of a dense model, with ranks and scales
 * of their own; `experts`: attention and single experts of a Mixtral.
 *
 *     node --import tsx --conditions=@switchyard/source tools/parity/adapter.ts FOLDER && python3 tools/parity/load_adapter.py FOLDER
 */
import { Checkpoint, File, Model, Random, Tokenizer, Weights } from "@switchyard/core"
import { Op, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Adapter, LanguageModel, Router } from "@switchyard/routing"
import { Effect } from "effect"
import { join } from "node:path"

const folder = process.argv[2]
if (folder === undefined) throw new Error("say where: adapter.ts FOLDER")
const dense = {
  family: "llama", vocabulary: 260, hidden: 32, layers: 2, heads: 4, keyValueHeads: 2, headSize: 8, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 10000,
  tiedEmbeddings: true, feedForward: { kind: "dense" as const, inner: 48 }, extra: {}
} satisfies Model.Model
const router = Router.topK({ active: 2, weight: "renorm" })
const mixtral: Model.Model = { ...dense, family: "mixtral", feedForward: { kind: "mixture", inner: 48, experts: 4, active: 2, expert: { kind: "full" }, router: router as never, routerTensors: { weight: [4, 32] } } }
const tokens = 48
const newborn = (model: Model.Model) => Weights.fromMemory(Object.fromEntries(Model.tensors(model).map(({ name, shape }) => {
  const data = new Float32Array(shape.reduce((product, axis) => product * axis, 1))
  return [name, { shape, data: name.endsWith("norm") ? data.fill(1) : Random.fillNormal(Random.make(1, name), data, { deviation: 0.3 }) }]
})))
const named = (model: Model.Model, pattern: RegExp, low: (at: number) => Adapter.Low) => Object.fromEntries(Model.tensors(model).filter(({ name }) => pattern.test(name)).map(({ name }, at) => [name, low(at)]))
const cases: Readonly<Record<string, Omit<Adapter.Header, "base" | "domains">>> = {
  plain: { model: dense, rank: 4, scale: 1.5 },
  ranks: { model: dense, rank: 4, scale: 1.5, matrices: named(dense, /\.(attention\.(query|key|value|output)|feedForward\.(gate|up|down))$/, (at) => ({ rank: 1 + at % 3, scale: 0.5 + at % 4 })) },
  experts: { model: mixtral, rank: 2, scale: 1.5, matrices: named(mixtral, /\.attention\.(query|output)$|\.experts\.\d\.(gate|up|down)$/, () => ({ rank: 2, scale: 1.5 })) }
}

for (const [name, header] of Object.entries(cases)) await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const { model } = header, at = join(folder, name), seed = Checkpoint.make({ model, weights: newborn(model), tokenizer: Tokenizer.bytes() }), shapes = new Map(Model.tensors(model).map(({ name, shape }) => [name, shape]))
  const low = Weights.fromMemory(Object.fromEntries([...Adapter.matrices(header)].flatMap(([matrix, { rank }]) => (["a", "b"] as const).map((half) => {
    const [out, input] = shapes.get(matrix)!, shape = half === "a" ? [rank, input!] : [out!, rank]
    return [`${matrix}.${half}`, { shape, data: Random.fillNormal(Random.make(2, `${matrix}.${half}`), new Float32Array(shape[0]! * shape[1]!), { deviation: 0.2 }) }] as const
  }))))
  const adapter: Adapter.Adapter = { kind: "adapter", header: { base: "parity", domains: ["parity"], ...header }, weights: low }
  yield* Checkpoint.write(seed, join(at, "base"), { family: model.family })
  yield* Adapter.write(adapter, join(at, "adapter"), { baseName: "../base" })

  const self = yield* LanguageModel.make(model, { batch: 1, tokens }), arena = yield* plainDevice().arena
  yield* LanguageModel.load(arena, self, Adapter.fold(seed.weights, yield* Adapter.open(join(at, "adapter"))))
  const ids = Tensor.kept([tokens], { dtype: "u32", sharded: true, label: "ids" }), fed = Random.fillUnsigned(Random.make(3, "ids"), new Uint32Array(tokens)).map((word) => word % 256)
  const program = Recording.record(() => Op.keep(LanguageModel.forward(self, ids).logits, "logits"))
  yield* arena.upload(ids, fed)
  yield* arena.submit(program)
  yield* File.writeJson(join(at, "expected.json"), { ids: [...fed], logits: [...yield* arena.read(program.outputs)] })
})))
