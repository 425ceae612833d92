/**
 * One training of eval:theory for another program to repeat from the same numbers: data, first filters, noise of every step, and the loss and
 * dispatch entropy that we got.
 *
 *     node --import tsx --conditions=@switchyard/source tools/parity/theory.ts FOLDER [SEED] [cubic|linear] [softmax|released]
 *     python3 tools/parity/theory.py same FOLDER
 */
import { Pipeline, Store } from "@switchyard/core"
import { Theory } from "@switchyard/eval"
import { Device } from "@switchyard/gpu"
import { Effect } from "effect"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const [folder, seedText = "0", activation = "cubic", gate = "released"] = process.argv.slice(2)
if (folder === undefined || activation !== "cubic" && activation !== "linear" || gate !== "softmax" && gate !== "released") { console.error("usage: theory.ts FOLDER [SEED] [cubic|linear] [softmax|released]"); process.exit(1) }
const seed = Number(seedText), examples = 4000, steps = 151
const options = { setting: "S1", form: "mixture", activation, gate, experts: 8, filters: 8, seed, examples, steps } as const
const { run } = await Effect.runPromise(Pipeline.run(Pipeline.make("theory parity", () => ({ run: Theory.train(options) }))).pipe(Effect.provide(Device.byName("host")), Effect.provide(Store.layer(join(folder, ".store")))))
const { train } = Theory.draw(seed, { setting: "S1", examples })
mkdirSync(folder, { recursive: true })
const put = (name: string, data: NodeJS.ArrayBufferView | string) => { writeFileSync(join(folder, name), data) }
put("patches", train.patches)
put("labels", train.labels)
put("clusters", train.clusters)
put("filters", Theory.firstFilters(options))
for (let step = 0; step < steps; step++) put(`noise-${step}`, Theory.noiseAt(seed, step, examples * options.experts))
put("run.json", JSON.stringify({ ...options, curve: run.curve }))
console.log(`${run.curve.length} points written to ${folder}`)
