/**
 * The project's seed model: a byte-level decoder of 0.9 M weights, trained from nothing on the train text of four domains in turn. The
 * quickstart begins with the folder this writes, models/seed; the text held out here is the text held out there.
 *
 *     npm run pipeline -- pipelines/seed.ts run        eight minutes on two busy cores; killed, it goes on where it was
 */
import { Checkpoint, Corpus, Export, file, Pipeline, Table } from "@switchyard/core"
import { Evaluate, Task } from "@switchyard/eval"
import { Device } from "@switchyard/gpu"
import { Finetune, Newborn } from "@switchyard/routing"
import { Console, Effect } from "effect"
import { fileURLToPath } from "node:url"
import { texts as textFiles } from "./texts.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/**
 * 400 steps of 16 × 256 tokens: 1.6 M tokens, few on purpose. A seed trained to the end of what its size can learn from these domains leaves the
 * quickstart's 0.64 M tokens nothing to show: after 1,500 steps the experts of the quickstart gained 0.009 bits per byte on their own domains.
 */
export const seed = () => Pipeline.make("seed", () => {
  const texts = Pipeline.each(textFiles(here("../runs/texts")), (path, domain) => Corpus.load({ at: file(path), domain }))
  const newborn = Newborn.dense({ hidden: 128, layers: 4, heads: 8, inner: 384, contextLength: 256 })
  const trained = Finetune.train(newborn, texts, {
    trainable: "all", steps: 400, batch: 16, tokens: 256, learningRate: 3e-3, schedule: "cosine", finalRate: 0.05, warmup: 40, weightDecay: 0.1, saveEvery: 50
  })
  const model = Export.dense(trained, { dtype: "BF16" })
  const report = Evaluate.compare({ seed: model }, texts, { title: "Seed model", task: Task.bitsPerByte({ documentBytes: 1_024, maximumBytes: 24_576 }) })
  return { model, report, log: trained.log }
})

Pipeline.main(() => seed(), ({ device }) => Device.byName(device), import.meta, {
  name: "seed",
  description: "makes models/seed",
  after: ({ log, model, report }) => Effect.gen(function*() {
    yield* Checkpoint.write(model, here("../models/seed"))
    const last = Table.column(log, "loss").subarray(-50)
    yield* Console.log(`bits per byte, train text, last 50 steps: ${(last.reduce((sum, loss) => sum + loss, 0) / last.length / Math.LN2).toFixed(3)}`)
    for (const { metric, standardError, task, value } of report.values) {
      if (metric === "bitsPerByte") yield* Console.log(`bits per byte, held-out text, ${task}: ${value.toFixed(3)} ± ${standardError?.toFixed(3)}`)
    }
  })
})
