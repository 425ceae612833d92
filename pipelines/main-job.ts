/**
 * Which routing makes experts worth having: every method of mainJob.ts on the main job's domains, over several seeds, for low-rank and full experts, against one dense rival
 * trained on all domains for as many tokens, and an oracle that gives each document to its own domain's expert.
 *
 *     npx nx run eval:main-job                three seeds; most of an hour on two cores, resumable; plan, graph and verify as every pipeline
 *     npx nx run eval:main-job --gap          whether what methods are set against stands out of its spread: how steps, rank and the amount of text scored were fixed
 *     npx nx run eval:main-job --tune         every setting of every method on the choose split, seed 0: what mainJob.ts's `chosen` were taken from
 */
import { Checkpoint, Corpus, file, Pipeline } from "@switchyard/core"
import { Positions, Task } from "@switchyard/eval"
import { Device } from "@switchyard/gpu"
import { Upcycle } from "@switchyard/merge"
import { Adapter, Finetune, Trace } from "@switchyard/routing"
import { Console, Option } from "effect"
import { Flag } from "effect/cli"
import { fileURLToPath } from "node:url"
import { ceiling, english, type Kit, methods, type Mixture, rates, type Sizes, sizesOf, type Variant, ways } from "./mainJob.ts"
import { mainJobReport } from "./mainJobReport.ts"
import { gaps, tuning } from "./mainJobTables.ts"
import { splice } from "./spliceTexts.ts"
import { texts as textFiles } from "./texts.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const variants = ["lowRank", "full"] as const
/** Domains that follow each other inside one context, in the switch test. */
const switches = [["code", "fiction"], ["fiction", "law"], ["law", "speech"], ["speech", "code"]] as const

/** What all seeds share. */
const given = (options: Options) => {
  const text = options.small ? { maximumBytes: 200_000 } : {}
  return {
    seed: Checkpoint.load({ at: file(options.seed ?? here("../models/seed")) }),
    texts: Pipeline.each(textFiles(options.texts ?? "runs/texts"), (path, domain) => Corpus.load({ at: file(path), domain, ...text, ...options.everyLanguage === true ? {} : english[domain] }))
  }
}
type Given = ReturnType<typeof given>

/** Experts, oracle parts and control of one kind. The control's rate is chosen as the methods' settings are. */
const experts = ({ seed, texts }: Given, variant: Variant, size: Sizes) => {
  const at = { ...size.shape, warmup: 4 }, learningRate = rates[variant]
  const steps = { expert: { steps: size.expert, learningRate, ...at }, control: (share: number) => ({ steps: size.control, learningRate: share * learningRate, ...at }) }
  if (variant === "lowRank") {
    const adapters = Pipeline.each(texts, (text, domain) => Finetune.lora(seed, { [domain]: text }, { rank: 8, ...steps.expert }))
    return {
      alone: Pipeline.each(adapters, (adapter) => Adapter.apply(seed, adapter)), control: (share: number) => Adapter.apply(seed, Finetune.lora(seed, texts, { rank: 16, ...steps.control(share) })),
      mixture: ((router) => Upcycle.fromAdapters(seed, adapters, { router })) as Kit["mixture"]
    }
  }
  const models = Pipeline.each(texts, (text, domain) => Finetune.train(seed, { [domain]: text }, { trainable: "feedForward", ...steps.expert }))
  return {
    alone: models, control: (share: number) => Finetune.train(seed, texts, { trainable: "feedForward", ...steps.control(share) }),
    mixture: ((router) => Upcycle.fromModels(models, { router })) as Kit["mixture"]
  }
}
export const controls = { settings: [1, 0.5], chosen: { lowRank: 1, full: 1 } as Readonly<Record<Variant, number>> } as const

export interface Options { readonly small: boolean; readonly steps?: number; readonly everyLanguage?: boolean; readonly seeds?: number; readonly seed?: string; readonly texts?: string }
const seedsOf = ({ seeds = 3 }: Options) => Array.from({ length: seeds }, (_, seed) => seed)
const taskOf = (size: Sizes, part: "choose" | "report" | "switch") => Task.bitsPerByte({ split: part === "choose" ? part : "report", tokens: size.shape.tokens, documentBytes: size.documentBytes, maximumBytes: size[part] })

/** Everything measured on the report split, by seed, variant and model; the switch test and the traces without the experts trained on. */
export const mainJob = (options: Options) => Pipeline.make("main-job", () => {
  const size = sizesOf(options), shared = given(options), task = taskOf(size, "report"), across = taskOf(size, "switch")
  const spliced = Object.fromEntries(switches.map(([from, to]) => [`${from} → ${to}`, splice(shared.texts[from], shared.texts[to], { bytes: size.shape.tokens / 2, domain: `${from} → ${to}` })]))
  const last = Object.fromEntries(switches.map(([from, to]) => [`${from} → ${to}`, Object.keys(shared.texts).sort().indexOf(to)]))
  const first = experts(shared, "lowRank", size), kit: Kit = { variant: "lowRank", sizes: size, texts: shared.texts, mixture: first.mixture }
  return {
    traces: Pipeline.each(ways, (_, name) => Trace.capture(methods[name]!.build(kit, methods[name]!.chosen), shared.texts, { split: "report", tokens: options.small ? 128 : 8_192 })),
    seed: Positions.positions(shared.seed, shared.texts, { task }),
    seeds: Pipeline.repeat(seedsOf(options), () => Object.fromEntries(variants.map((variant) => {
      const parts = experts(shared, variant, size), kit: Kit = { variant, sizes: size, texts: shared.texts, mixture: parts.mixture }
      const models: Readonly<Record<string, Mixture>> = { ...Pipeline.each(methods, ({ build, chosen }) => build(kit, chosen)), "all experts": ceiling.build(kit) }
      const control = parts.control(controls.chosen[variant])
      return [variant, {
        control: Positions.positions(control, shared.texts, { task }),
        experts: Pipeline.each(parts.alone, (model) => Positions.positions(model, shared.texts, { task })),
        methods: Pipeline.each(models, (model) => { const found = Positions.positions(model, shared.texts, { task }); return { positions: found, size: found.size } }),
        switch: { control: Positions.positions(control, spliced, { task: across }), ...Pipeline.each(ways, (_, name) => Positions.positions(models[name]!, spliced, { task: across, labels: last })) }
      }]
    })))
  }
})

/** Controls and experts alone, of both kinds and all seeds, on the choose split: whether steps, rank and the amount of text scored make a gap that stands out of its spread. */
export const gap = (options: Options) => Pipeline.make("main-job-gap", () => {
  const size = sizesOf(options), shared = given(options), task = taskOf(size, "choose")
  return {
    seeds: Pipeline.repeat(seedsOf(options), () => Object.fromEntries(variants.map((variant) => {
      const { alone, control } = experts(shared, variant, size)
      return [variant, { control: Positions.positions(control(controls.chosen[variant]), shared.texts, { task }), experts: Pipeline.each(alone, (model) => Positions.positions(model, shared.texts, { task })) }]
    })))
  }
})

/** Every setting of every method on the choose split, with low-rank experts, whose choices full ones take over; the controls' of both kinds. */
export const tune = (options: Options) => Pipeline.make("main-job-tune", () => {
  const size = sizesOf(options), shared = given(options), task = taskOf(size, "choose")
  const lowRank = experts(shared, "lowRank", size), full = experts(shared, "full", size), kit: Kit = { variant: "lowRank", sizes: size, texts: shared.texts, mixture: lowRank.mixture }
  const score = (model: Mixture | ReturnType<typeof lowRank.control> | ReturnType<typeof full.control>) => Positions.positions(model as never, shared.texts, { task })
  const each = (control: (share: number) => unknown) => Object.fromEntries(controls.settings.map((share) => [String(share), score(control(share) as never)]))
  return {
    "control, low-rank": each(lowRank.control), "control, full": each(full.control),
    ...Pipeline.each(methods, ({ build, settings }) => Object.fromEntries(settings.map((setting) => [String(setting), score(build(kit, setting))])))
  }
})

const flags = {
  small: Flag.Boolean("small").pipe(Flag.withDefault(false), Flag.withDescription("a few steps on little text: shows that everything runs, not which is best")),
  seeds: Flag.Int("seeds").pipe(Flag.withDefault(3), Flag.withDescription("how many seeds to repeat everything under")),
  steps: Flag.optional(Flag.Int("steps").pipe(Flag.withDescription("training steps of each expert, 60 unless given; the control's grow with them"))),
  everyLanguage: Flag.Boolean("every-language").pipe(Flag.withDefault(false), Flag.withDescription("keep the licences in other languages too")),
  gap: Flag.Boolean("gap").pipe(Flag.withDefault(false), Flag.withDescription("only what methods are set against, on the choose split: does the gap stand out of its spread over seeds?")),
  tune: Flag.Boolean("tune").pipe(Flag.withDefault(false), Flag.withDescription("every setting on the choose split, in place of the comparison")),
  model: Flag.Path("model", { pathType: "directory", mustExist: true }).pipe(Flag.withDefault(here("../models/seed")), Flag.withDescription("the folder of the dense model that all begins with"))
}
Pipeline.main(({ everyLanguage, gap: gapAlone, model, seeds, small, steps, tune: tuned }) => (gapAlone ? gap : tuned ? tune : mainJob)({ small, seeds, everyLanguage, seed: model, ...Option.isSome(steps) ? { steps: steps.value } : {} }) as Pipeline.Pipeline<any>, ({ device }) => Device.byName(device), import.meta, {
  name: "main-job", description: "which routing makes experts worth having: methods, seeds, two kinds of experts", flags,
  after: (values: any, { flags, out }) => flags.gap ? Console.log(gaps(values.seeds)) : flags.tune ? Console.log(tuning(values)) : mainJobReport(values, out)
})
