/**
 * What evens the load of a token-level router on the main job's domains, and what it costs: nothing, Switch's loss, or corrections that move without a loss. Experts are
 * the main job's low-rank ones (`pipelines/mainJob.ts`, 60 steps each), routers are trained for 32 steps; load and bits per byte are of the choose split.
 *
 *   node --import tsx --conditions=@switchyard/source tools/bench/balance.ts [--store runs/balance] [--seeds 1] [--active 1,2] [--small]
 */
import { parseArgs } from "node:util"
import { fileURLToPath } from "node:url"
import { Checkpoint, Corpus, file, Pipeline, Store, Table } from "@switchyard/core"
import { Diagnostics, Positions, Task } from "@switchyard/eval"
import { Device } from "@switchyard/gpu"
import { Upcycle } from "@switchyard/merge"
import { Balance, Finetune, Router, Trace } from "@switchyard/routing"
import { Effect } from "effect"
import { english, rates, sizes } from "../../pipelines/mainJob.ts"
import { bits, spread } from "../../pipelines/mainJobTables.ts"
import { texts as textFiles } from "../../pipelines/texts.ts"

const { values } = parseArgs({ options: { store: { type: "string", default: "runs/balance" }, seeds: { type: "string", default: "1" }, active: { type: "string", default: "1,2" }, small: { type: "boolean", default: false } } })
const size = sizes[values.small ? "small" : "full"]

/** Weights p of the chosen: the routers that stay uneven under Switch's loss in docs/main-job.md. */
const routers = Object.fromEntries(values.active.split(",").map((active) => [`prob, top ${active}`, Router.topK({ active: Number(active), weight: "prob" })]))
const ways: Readonly<Record<string, ReadonlyArray<Balance.Balance>>> = {
  "nothing": [], "switchLoss 0.01": [Balance.switchLoss({ weight: 0.01 })],
  "lossFree 0.01": [Balance.lossFree({ rate: 0.01 })], "lossFree 0.03": [Balance.lossFree({ rate: 0.03 })]
}

const pipeline = Pipeline.make("balance", () => {
  const seed = Checkpoint.load({ at: file(fileURLToPath(new URL("../../models/seed", import.meta.url))) })
  const texts = Pipeline.each(textFiles("runs/texts"), (path, domain) => Corpus.load({ at: file(path), domain, ...values.small ? { maximumBytes: 200_000 } : {}, ...english[domain] }))
  const at = { ...size.shape, warmup: 4 }, task = Task.bitsPerByte({ split: "choose", tokens: size.shape.tokens, documentBytes: size.documentBytes, maximumBytes: size.choose })
  return Pipeline.repeat(Array.from({ length: Number(values.seeds) }, (_, seed) => seed), () => {
    const adapters = Pipeline.each(texts, (text, domain) => Finetune.lora(seed, { [domain]: text }, { rank: 8, steps: size.expert, learningRate: rates.lowRank, ...at }))
    return Pipeline.each(routers, (router) => Pipeline.each(ways, (balance) => {
      const born = Upcycle.fromAdapters(seed, adapters, { router: balance.every(Balance.isLoss) ? router : Router.corrected(router) })
      const mixture = Finetune.train(born, texts, { trainable: "routers", balance, steps: size.router, learningRate: 1e-2, ...at })
      return { trace: Trace.capture(mixture, texts, { split: "choose", tokens: values.small ? 128 : 8_192 }), positions: Positions.positions(mixture, texts, { task }) }
    }))
  })
})

const found = await Effect.runPromise(Pipeline.run(pipeline).pipe(Effect.provide(Device.host()), Effect.provide(Store.layer(values.store))))
const shown = (numbers: ReadonlyArray<number>, digits: number): string => {
  const { count, mean, spread: apart } = spread(numbers)
  return count === 1 ? mean.toFixed(digits) : `${mean.toFixed(digits)} ± ${apart.toFixed(digits)}`
}
console.log("| router | balanced by | busiest expert's load over the mean, mean of layers | worst layer | domain told by expert, bits | bits per byte |\n| --- | --- | --- | --- | --- | --- |")
for (const router of Object.keys(routers)) for (const way of Object.keys(ways)) {
  const seeds = Object.values(found).map((each) => each[router]![way]!), layers = seeds.map(({ trace }) => Diagnostics.layers(trace, { experts: 4 }))
  const busiest = layers.map((each) => each.map(({ load }) => Math.max(...load) * load.length)), mean = (numbers: ReadonlyArray<number>) => numbers.reduce((sum, each) => sum + each / numbers.length, 0)
  const told = layers.map((each) => mean(each.map(({ specialisation }) => specialisation)))
  console.log(`| ${router} | ${way} | ${shown(busiest.map(mean), 2)} | ${shown(busiest.map((each) => Math.max(...each)), 2)} | ${shown(told, 3)} | ${shown(seeds.map(({ positions }) => bits(Table.rows(positions))), 4)} |`)
}
