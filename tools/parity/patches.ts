/**
 * Trainings of eval:patches for another program to repeat from the same numbers: samples, first values and orders, and the accuracy that we got.
 *
 *     node --import tsx --conditions=@switchyard/source tools/parity/patches.ts FILE.json
 *     python3 tools/parity/patches.py same FILE.json
 */
import { Pipeline, Store } from "@switchyard/core"
import { Patches } from "@switchyard/eval"
import { Device } from "@switchyard/gpu"
import { Effect } from "effect"
import { writeFileSync } from "node:fs"

const file = process.argv[2]
if (file === undefined) { console.error("usage: patches.ts FILE.json"); process.exit(1) }
const seeds = 3, sizes = { deviation: 0.01, experts: 8, filters: 5 }
const cases = [{ patches: 16, samples: 20 }, { patches: 64, samples: 50 }].flatMap((each) => (["convolution", "joint", "separate"] as const).map((method) => ({ ...each, method })))
const found = await Effect.runPromise(Pipeline.run(Pipeline.make("patches parity", () => Object.fromEntries(cases.map((each, at) => [String(at), Patches.train({ ...each, ...sizes, seed: 0, seeds })])))).pipe(
  Effect.provide(Device.byName("host")), Effect.provide(Store.temporary)))
const plain = (samples: ReturnType<typeof Patches.draw>) => ({ pattern: [...samples.pattern], sign: [...samples.sign], labels: [...samples.labels] })
writeFileSync(file, JSON.stringify(cases.flatMap(({ method, patches, samples }, at) => Array.from({ length: seeds }, (_, seed) => {
  const { filters, output, pair, router } = Patches.firstValues(sizes, seed)
  return {
    method, patches, seed, accuracy: found[String(at)]!.accuracies[seed], train: plain(Patches.draw(seed, "train", { patches, count: samples })), test: plain(Patches.draw(seed, "test", { patches, count: 1000 })),
    first: { filters: [...filters()], output: [...output()], router: [...router()], pair: [...pair()] }, orders: Array.from({ length: 150 }, (_, epoch) => [...Patches.orderOf(seed, epoch, samples)])
  }
}))))
console.log(`${cases.length * seeds} trainings written to ${file}`)
