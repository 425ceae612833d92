/**
 * The main job: one small language model becomes a mixture of four domain experts, which is then routed, compressed and measured
 * against its honest rivals. Runs anywhere the five packages, onnxruntime-node and the packages of texts.ts are installed.
 *
 *     npm run quickstart                      about a minute and a half on two cores, no GPU needed
 *     npm run quickstart -- --help            plan, graph, verify; --device, --seed, --store, --out, --small, --model
 */
import { Checkpoint, Corpus, Export, file, Pipeline, Table } from "@switchyard/core"
import { Evaluate, Report, Task } from "@switchyard/eval"
import { Device } from "@switchyard/gpu"
import { Compress, Upcycle } from "@switchyard/merge"
import { Adapter, Balance, Finetune, Ngram, Router, Trace } from "@switchyard/routing"
import { Effect } from "effect"
import { Flag } from "effect/cli"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { domains, texts as textFiles } from "./texts.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Training tokens, in rows of 8 · 256: experts 4 · 32 steps, a router 28, the control as many as both together: 0.64 M in all; n-grams are counted in the experts' own text. */
const full = {
  expert: { steps: 32, batch: 8, tokens: 256, learningRate: 4e-3, warmup: 4 },
  router: { steps: 28, batch: 8, tokens: 256, learningRate: 1e-2, warmup: 4 },
  ngrams: { tokens: 32 * 8 * 256, window: 256 },
  control: { steps: 156, batch: 8, tokens: 256, learningRate: 4e-3, warmup: 4 },
  trace: { tokens: 8_000 },
  task: Task.bitsPerByte({ tokens: 256, documentBytes: 1_024, maximumBytes: 24_576 }),
  text: {}
}
/** Seconds instead of minutes: for tests and for software adapters. */
const small: typeof full = {
  expert: { ...full.expert, steps: 2, batch: 2, tokens: 32 },
  router: { ...full.router, steps: 2, batch: 2, tokens: 32 },
  ngrams: { tokens: 2 * 2 * 32, window: 32 },
  control: { ...full.control, steps: 10, batch: 2, tokens: 32 },
  trace: { tokens: 128 },
  task: Task.bitsPerByte({ tokens: 64, documentBytes: 128, maximumBytes: 512 }),
  text: { maximumBytes: 200_000 }
}

export const quickstart = (options: { readonly small: boolean; readonly seed?: string; readonly texts?: string }) => Pipeline.make("quickstart", () => {
  const size = options.small ? small : full
  const paths = textFiles(options.texts ?? "runs/texts")

  // load
  const seed = Checkpoint.load({ at: file(options.seed ?? here("../models/seed")) })
  const texts = Pipeline.each(paths, (path, domain) => Corpus.load({ at: file(path), domain, ...size.text }))

  // one low-rank expert for each domain, and the rival: one adapter of the mixture's active size, trained on the mix for as many tokens
  const experts = Pipeline.each(texts, (text, domain) => Finetune.lora(seed, { [domain]: text }, { rank: 8, ...size.expert }))
  const control = Finetune.lora(seed, texts, { rank: 16, ...size.control })

  // upcycle; then routers: by token, trained as Mixtral does it, and by what n-grams of each expert's text say of the text so far, counted
  const newborn = Upcycle.fromAdapters(seed, experts, { router: Router.topK({ active: 2 }) })
  const mixture = Finetune.train(newborn, texts, { trainable: "routers", balance: [Balance.switchLoss({ weight: 0.01 })], ...size.router })
  const routed = Ngram.fit(Upcycle.fromAdapters(seed, experts, { router: Router.ngram({ active: 2, temperature: 4, decay: 0.98 }) }), texts, size.ngrams)

  // compress
  const folded = Compress.fold(mixture)
  const trace = Trace.capture(mixture, texts, { split: "choose", ...size.trace })
  const routes = Trace.capture(routed, texts, { split: "choose", ...size.trace })
  const compressed = Compress.mergeExperts(folded, trace, { keep: 2 })

  // evaluate what is handed out: the folders as read back
  const exported = {
    seed: Export.dense(seed, { dtype: "F32" }), mixture: Export.mixture(folded, { dtype: "F32" }), compressed: Export.mixture(compressed, { dtype: "F32" }), routed: Export.mixture(routed)
  }
  const rivals = { control: Adapter.apply(seed, control), ...Object.fromEntries(Object.entries(experts).map(([domain, expert]) => [`expert ${domain}`, Adapter.apply(seed, expert)])) }
  const report = Evaluate.compare({ ...exported, ...rivals }, texts, {
    title: "Domain experts", banner: "One seed, short budget: read the standard errors, and no more into the numbers than they hold.",
    task: size.task, baselines: ["control", "seed"], oracle: Object.fromEntries(domains.map((domain) => [domain, `expert ${domain}`])),
    logs: { ...Object.fromEntries(Object.entries(experts).map(([domain, expert]) => [`expert ${domain}`, expert.log])), control: control.log, mixture: mixture.log },
    trace: routes,
    notes: [
      "control: one adapter of rank 16, the mixture's active size, trained on all domains for as many tokens as experts and a router saw together.",
      "oracle: each document by its own domain's expert; no router of these experts can be expected to do better.",
      "mixture: routed token by token as in Mixtral; routed: by the posterior of the text so far under n-grams counted in each expert's training text, the best router of docs/main-job.md, in a layout of our own; plots of routing show it."
    ]
  })
  return { ...exported, experts, report, trace, routes }
})

Pipeline.main(({ model, small }) => quickstart({ small, seed: model }), ({ device }) => Device.byName(device), import.meta, {
  name: "quickstart",
  description: "one small model becomes a routed, compressed and measured mixture of domain experts",
  flags: {
    small: Flag.Boolean("small").pipe(Flag.withDefault(false), Flag.withDescription("seconds instead of minutes: a few steps on little text")),
    model: Flag.Path("model", { pathType: "directory", mustExist: true }).pipe(Flag.withDefault(here("../models/seed")), Flag.withDescription("the folder of the dense model that all begins with"))
  },
  after: ({ compressed, experts, mixture, report, routed, seed, trace }, { out, rows }) => Effect.gen(function*() {
    for (const [name, checkpoint] of Object.entries({ seed, mixture, compressed, routed })) yield* Checkpoint.write(checkpoint, join(out, name))
    for (const [domain, adapter] of Object.entries(experts)) yield* Adapter.write(adapter, join(out, "experts", domain), { baseName: "../../seed" })
    yield* Table.write(trace, join(out, "trace.arrow"))
    const [plan, actual] = [rows.map(({ cost, stage }) => ({ stage, ...cost })), rows.map(({ actual, stage }) => ({ stage, ...actual }))]
    yield* Report.write(Report.extend(report, { plan: plan as never, actual: actual as never }), out)
  })
})
