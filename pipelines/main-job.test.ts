import { describe, expect, test } from "@jest/globals"
import { Corpus, Pipeline, Store, Table } from "@switchyard/core"
import { Positions } from "@switchyard/eval"
import { Device } from "@switchyard/gpu"
import { Router } from "@switchyard/routing"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { mainJob, tune } from "./main-job.ts"
import { methods, sizes, sizesOf } from "./mainJob.ts"
import { bits, closed, type Found, gaps, lines, spread, tables, tuning } from "./mainJobTables.ts"
import { splice } from "./spliceTexts.ts"

const folder = mkdtempSync(join(tmpdir(), "switchyard-main-job-"))
const go = <A, E>(effect: Effect.Effect<A, E, Store.Store | Device.Device>) => Effect.runPromise(Effect.provide(effect, Device.plain()).pipe(Effect.provide(Store.layer(join(folder, "store")))) as Effect.Effect<A, E>)
const options = { small: true, seeds: 2, texts: join(folder, "texts") }

describe("the sweep", () => {
  test("every method has as many settings as the others, and the one chosen is among them", () => {
    for (const [name, { chosen, group, settings }] of Object.entries(methods)) {
      expect([name, settings.length]).toEqual([name, group === "controls" ? 1 : 2]) // chance has nothing to set
      expect(settings).toContain(chosen)
    }
  })
  test("the control sees as many tokens as experts and router together", () => {
    for (const { control, expert, router } of [...Object.values(sizes), sizesOf({ small: false, steps: 160 })]) expect(control).toBe(4 * expert + router)
    expect(sizesOf({ small: false, steps: 160 }).expert).toBe(160)
  })
  test("no method entered has more than two active experts; each is described for both kinds and every seed, from headers alone", async () => {
    const { outputs } = mainJob(options)
    const routers = Object.values(outputs.seeds).flatMap((variants) => Object.values(variants).flatMap((found) => Object.entries(found!.methods).map(([name, { positions }]) => {
      let call: any = positions.call
      while (!call.stage.name.startsWith("upcycle/")) call = (call.inputs.model ?? call.inputs.mixture ?? call.inputs.checkpoint).call
      return { name, router: call.options.router as Router.Router }
    })))
    expect(routers.length).toBe(2 * 2 * (Object.keys(methods).length + 1))
    for (const { name, router } of routers) if (name !== "all experts") expect([name, Router.active(router, 4)]).toEqual([name, name.includes("top 1") ? 1 : 2])
    const rows = await go(Pipeline.plan(mainJob(options) as never as Pipeline.Pipeline<never>))
    expect(new Set(rows.map(({ key }) => key)).size).toBe(rows.length)
    expect(rows.filter(({ stage }) => stage === "checkpoint/load").length).toBe(1) // once for all seeds
    expect(rows.filter(({ stage }) => stage === "finetune/lora").length).toBe(2 * 5)
  })
  test("what was tuned under seed 0 is not trained again for the comparison", async () => {
    const keys = async (pipeline: unknown) => new Set((await go(Pipeline.plan(pipeline as Pipeline.Pipeline<never>))).filter(({ stage }) => stage.startsWith("finetune/") || stage.startsWith("ngram/")).map(({ key }) => key))
    const tuned = await keys(tune(options)), compared = await keys(mainJob({ ...options, seeds: 1 }))
    expect([...tuned].filter((key) => compared.has(key)).length).toBeGreaterThanOrEqual(4 + 4 + 2 + Object.values(methods).filter(({ group }) => group === "by token" || group === "by prefix").length)
  })
})

describe("the tables", () => {
  const table = (nats: Readonly<Record<string, number>>) => Table.make(Positions.Positions, {
    domain: Object.keys(nats).flatMap((name) => [name, name]), position: Uint32Array.from(Object.keys(nats).flatMap(() => [0, 1])), tokens: Uint32Array.from(Object.keys(nats).flatMap(() => [1, 3])),
    nats: Object.values(nats).flatMap((value) => [value * Math.LN2, 3 * value * Math.LN2]), weight: Object.keys(nats).flatMap(() => [0, 3]), chosen: Object.keys(nats).flatMap(() => [0, 3])
  })
  const found = (method: number): Found => ({
    control: table({ a: 3, b: 5 }), experts: { a: table({ a: 2, b: 9 }), b: table({ a: 9, b: 4 }) },
    methods: {
      "n-grams": { positions: table({ a: method, b: method + 2 }), size: { parameters: 10, activeParameters: 6, flopsPerToken: 20 } },
      "n-grams + experts": { positions: table({ a: method + 0.5, b: method + 2.5 }), size: { parameters: 10, activeParameters: 6, flopsPerToken: 20 } }
    }, switch: { control: table({ "a → b": 4 }), "n-grams": table({ "a → b": 4.5 }) }
  })

  test("bits per byte are the mean over domains; the oracle gives each domain to its own expert", () => {
    const { control, gap, methods: [line], oracle } = lines([found(2.5), found(2.25)])
    expect([control.mean, oracle.mean, gap.mean]).toEqual([4, 3, 1])
    expect(bits(Table.rows(found(2.5).control))).toBeCloseTo(4, 12)
    expect(line!.bits.mean).toBeCloseTo(3.375, 12)
    expect(line!.closed.mean).toBeCloseTo(0.625, 12) // a half and three quarters
    expect(line!.closed.spread).toBeCloseTo(Math.hypot(0.125, 0.125), 12)
  })
  test("0 at the control, 1 at the oracle; one seed has no spread", () => {
    expect([closed(4, 4, 3), closed(3, 4, 3), closed(5, 4, 3)]).toEqual([0, 1, -1])
    expect(spread([2])).toEqual({ mean: 2, spread: 0, count: 1 })
  })
  test("the gap over its spread", () => {
    const one = (expert: number) => ({ control: table({ a: 3, b: 5 }), experts: { a: table({ a: expert, b: 9 }), b: table({ a: 9, b: 4 }) } })
    const seeds = Object.fromEntries([1.8, 2, 2.2].map((expert, seed) => [seed, { lowRank: one(expert), full: one(expert) }]))
    expect(gaps(seeds).split("\n")).toEqual(["low-rank", "full"].map((kind) => `**${kind} experts**, 3 seeds: control 4.0000 ± 0.0000, oracle 3.0000 ± 0.1000, gap 1.0000 ± 0.1000 bits per byte, 10.0 times its spread`))
  })
  test("settings as Markdown, the best one bold; where there is nothing to set, its figure", () => {
    expect(tuning({ "n-grams": { 2: table({ a: 3 }), 8: table({ a: 4 }) }, "hash": { 0: table({ a: 5 }) } }).split("\n").slice(2)).toEqual(["| n-grams | **2: 3.0000** | 8: 4.0000 |", "| hash | 0: 5.0000 |  |"])
  })
  test("as Markdown: a row for each way, with its gap, by itself and with its experts trained on", () => {
    expect(tables({ seed: table({ a: 4, b: 6 }), traces: {}, seeds: { 0: { lowRank: found(2.5), full: found(2.25) } } })).toContain("| n-grams | posterior of the text so far under hashed n-grams of up to 3 bytes, counted in each expert's text | 3.5000 ± 0.0000 | 50 ± 0 % | 4.0000 ± 0.0000 | 0 ± 0 % | +0.500 ± 0.000 | 6 |")
  })
})

describe("the switch test's texts", () => {
  test("half of one domain, half of another, whole characters; documents too short are left out", async () => {
    const corpus = (domain: string, texts: ReadonlyArray<string>): Corpus.Corpus => ({ kind: "corpus", domain, header: { domain }, documents: texts.map((text, at) => ({ id: `${at}`, text, split: "report" as const })) })
    const run = splice.definition.run({ first: corpus("a", ["aaaaéa", "a", "aa😀😀"]), second: corpus("b", ["bb", "bbbbbbbb", "b😀b"]) }, { bytes: 5, domain: "a → b" }, {} as never) as Effect.Effect<Corpus.Corpus>
    const made = await Effect.runPromise(run)
    expect(made.documents).toEqual([{ id: "0 → 1", split: "report", text: "aaaabbbbb" }, { id: "2 → 2", split: "report", text: "aab😀" }])
    expect(made.header).toMatchObject({ domain: "a → b", documents: 2, bytes: 9 + 7 })
  })
})

test("nx shows the pipeline's flags", () => {
  const here = fileURLToPath(new URL("main-job.ts", import.meta.url))
  const { stdout } = spawnSync(process.execPath, ["--import", "tsx", "--conditions=@switchyard/source", here, "run", "--help"], { encoding: "utf8" })
  const flags = [.../FLAGS([^]*?)GLOBAL FLAGS/.exec(stdout)![1]!.matchAll(/--([a-z-]+)/g)].map(([, flag]) => flag!)
  const { properties } = JSON.parse(readFileSync(new URL("../packages/eval/nx/main-job.json", import.meta.url), "utf8")) as { properties: Record<string, unknown> }
  expect(Object.keys(properties).filter((key) => key !== "__unparsed__").sort()).toEqual([...new Set(flags)].sort())
})
