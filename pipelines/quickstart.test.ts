import { afterAll, beforeAll, describe, expect, test } from "@jest/globals"
import { Export, type Family, Pipeline, Random, Store } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { tableFromIPC } from "apache-arrow"
import { Effect, Exit } from "effect"
import { spawnSync } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, dirname, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { type Ended, hashes, leftovers, start, type Started, writeTiny, nobody, readable } from "./journey.ts"
import { quickstart } from "./quickstart.ts"
import { domains } from "./texts.ts"

const place = mkdtempSync(join(tmpdir(), "switchyard-journey-")), model = join(place, "model")
const running = new Set<Started>()
const command = (verb: string, name: string, more: ReadonlyArray<string> = []): Started => {
  const started = start(verb, ["--device", "host", "--model", model, "--store", join(place, name), "--out", join(place, `${name}-out`), ...more])
  running.add(started)
  void started.ended.then(() => running.delete(started))
  return started
}
const done = async (started: Started): Promise<Ended> => {
  const ended = await started.ended
  expect([ended.code, ended.code === 0 ? "" : ended.err]).toEqual([0, ""])
  return ended
}
const startedStages = ({ err }: { readonly err: string }) => [...err.matchAll(/^(\S+) [0-9a-f]{8} started$/gm)].map(([, stage]) => stage)
/** What the runs of a killed and of an undisturbed pipeline must have in common to the bit: every tensor handed out, and the tables. */
const exportedBytes = (name: string) => hashes(join(place, `${name}-out`), (path) => /\.(safetensors|arrow)$/.test(path) && !path.includes(".tmp"))
const resultOf = (stage: string, at = 0) => {
  const root = join(place, "whole", "results")
  const made = readdirSync(root).filter((key) => (JSON.parse(readFileSync(join(root, key, "provenance.json"), "utf8")) as { stage: string }).stage === stage).sort()
  return join(root, made[at]!)
}

let first: Ended, original: Readonly<Record<string, string>>, stages: number
beforeAll(async () => {
  await writeTiny(model)
  first = await done(command("run", "whole"))
  stages = startedStages(first).length
  original = exportedBytes("whole")
}, 120_000)
afterAll(async () => {
  for (const { child } of running) child.kill("SIGKILL")
  await Promise.all([...running].map(({ ended }) => ended))
  rmSync(place, { recursive: true, force: true })
})

test("everything that was promised is in the folder, and no plan was more than a fifth off", () => {
  expect(Object.keys(original)).toEqual(["compressed/model.safetensors", ...[...domains].sort().map((domain) => `experts/${domain}/adapter_model.safetensors`),
    "mixture/model.safetensors", "results.arrow", "routed/model.safetensors", "seed/model.safetensors", "trace.arrow"])
  for (const file of ["report.json", "report.md", "report.html"]) expect(existsSync(join(place, "whole-out", file))).toBe(true)
  expect(first.err).not.toContain("planned wrongly")
  expect([...leftovers(join(place, "whole")), ...leftovers(join(place, "whole-out"))]).toEqual([])
})

test("the second run starts no stage; verify finds every file intact", async () => {
  const again = await done(command("run", "whole"))
  expect(startedStages(again)).toEqual([])
  expect(again.out).toContain(`quickstart: 0 stages run, ${stages} kept`)
  expect(exportedBytes("whole")).toEqual(original)
  const { out } = await done(command("verify", "whole"))
  expect(out.trim().split("\n").filter((line) => line.startsWith("intact")).length).toBe(stages)
}, 120_000)

test("one artefact deleted: exactly its stage runs again, and its bytes are the same", async () => {
  const whole = resultOf("compress/mergeExperts"), part = resultOf("upcycle/fromAdapters")
  const before = { whole: hashes(join(whole, "main")), part: hashes(join(part, "main")) }
  rmSync(whole, { recursive: true })
  rmSync(join(part, "main", "model.safetensors"))
  const again = await done(command("run", "whole"))
  expect(startedStages(again).sort()).toEqual(["compress/mergeExperts", "upcycle/fromAdapters"])
  expect({ whole: hashes(join(whole, "main")), part: hashes(join(part, "main")) }).toEqual(before)
  expect(exportedBytes("whole")).toEqual(original)
}, 120_000)

test("an expert made again has the same tensors; its log has other times, which verify tells and does not count as damage", async () => {
  const expert = resultOf("finetune/lora"), before = hashes(join(expert, "main"))
  rmSync(expert, { recursive: true })
  expect(startedStages(await done(command("run", "whole")))).toEqual(["finetune/lora"])
  expect(hashes(join(expert, "main"))).toEqual(before)
  const { out } = await done(command("verify", "whole"))
  expect(out.match(/^(?!intact|  ).*/gm)).toEqual([expect.stringMatching(/^outdated [0-9a-f]{8} {2}evaluate\/report/), ""])
  expect(out).toMatch(/^ +changed inputs\.logs\./m)
  // made again in its turn, the report is of these logs
  rmSync(resultOf("evaluate/report"), { recursive: true })
  expect(startedStages(await done(command("run", "whole")))).toEqual(["evaluate/report"])
}, 120_000)

test("verify detects one flipped byte of one tensor, and names the file", async () => {
  const path = join(resultOf("compress/fold"), "main", "model.safetensors"), bytes = readFileSync(path)
  writeFileSync(path, bytes.map((byte, at) => at === bytes.length - 1 ? byte ^ 1 : byte))
  const { code, err, out } = await command("verify", "whole").ended
  writeFileSync(path, bytes)
  expect(code).toBe(1)
  expect(out).toMatch(/^changed {2}[0-9a-f]{8} {2}compress\/fold/m)
  expect(out).toContain("changed main/model.safetensors")
  expect(out.match(/^changed/gm)!.length).toBe(1)
  expect(err).toContain("1 kept results have changed")
}, 120_000)

test("killed at three random moments and once more while it exports, then continued: the same tensor bytes", async () => {
  const chance = Random.make(7, "journey/kill"), lost: Array<string> = [], kept = join(place, "killed", "results"), out = join(place, "killed-out")
  for (let kill = 0; kill < 4; kill++) {
    const run = command("run", "killed"), reached = kill < 3 ? 2 + Random.below(chance, 2 * kill, 10) : Infinity
    while (run.child.exitCode === null && startedStages({ err: run.err() }).length < reached && !/^evaluate\/report \w+ finished/m.test(run.err())) await sleep(5)
    await sleep(Random.below(chance, 2 * kill + 1, 250))
    run.child.kill("SIGKILL")
    const { code } = await run.ended
    lost.push(`${code === null ? "killed" : "over"} after ${existsSync(kept) ? readdirSync(kept).filter((name) => !name.startsWith(".")).length : 0} results`)
    // whatever stands in the folder under its own name is whole
    if (existsSync(out)) for (const [path, hash] of Object.entries(exportedBytes("killed"))) expect([path, hash]).toEqual([path, original[path]])
  }
  expect(lost.slice(0, 3).every((line) => line.startsWith("killed"))).toBe(true)
  // had it been killed inside the writing of a folder
  for (const name of ["seed", "experts/law"]) mkdirSync(join(out, dirname(name), `.${basename(name)}.${spawnSync(process.execPath, ["-e", ""]).pid}-0123456789ab.tmp`), { recursive: true })
  await done(command("run", "killed"))
  expect(exportedBytes("killed")).toEqual(original)
  expect([...leftovers(join(place, "killed")), ...leftovers(out)]).toEqual([])
}, 120_000)

test("Ctrl-C stops it cleanly: exit code 130, no lock, finished work kept, and the next run ends in the same bytes", async () => {
  const run = command("run", "stopped")
  while (run.child.exitCode === null && startedStages({ err: run.err() }).length < 9) await sleep(5)
  run.child.kill("SIGINT")
  const { code, err } = await run.ended, finished = err.match(/ finished in /g)!.length
  expect([code, err.split("\n").at(-2)]).toEqual([130, expect.stringMatching(/ stopped$/)])
  expect(leftovers(join(place, "stopped")).filter((name) => !name.startsWith("resume/"))).toEqual([])
  // a stage may be kept and stopped before it could say so
  const kept = readdirSync(join(place, "stopped", "results")).filter((name) => !name.startsWith(".")).length
  expect(kept - finished === 0 || kept - finished === 1).toBe(true)
  const next = await done(command("run", "stopped"))
  expect(startedStages(next).length).toBe(stages - kept)
  expect(exportedBytes("stopped")).toEqual(original)
}, 120_000)

;(readable ? test : test.skip)("a store folder that is read-only: one line that says what to do, and both folders as they were", async () => {
  const store = join(place, "readonly"), out = join(place, "readonly-out")
  for (const folder of [store, out]) mkdirSync(folder)
  for (const folder of [store, out]) chmodSync(folder, 0o555)
  chmodSync(place, 0o755)
  const { code, err } = await start("run", ["--device", "host", "--model", model, "--store", store, "--out", out], nobody).ended
  expect([code, err]).toEqual([1, expect.stringMatching(/(^|\n)error \(StoreError\): store .*readonly: cannot write .*change its permissions, or choose another place \(another store: --store DIR\)\n$/)])
  expect([readdirSync(store), readdirSync(out)]).toEqual([[], []])
}, 120_000)

interface Reported { readonly model: string; readonly task: string; readonly metric: string; readonly value: number; readonly unit: string; readonly count: number; readonly standardError: number | null }
interface ReportFile { readonly banner: string; readonly values: ReadonlyArray<Reported>; readonly lineage: Readonly<Record<string, unknown>>; readonly plan: ReadonlyArray<{ readonly stage: string }>; readonly actual: ReadonlyArray<{ readonly stage: string }> }

describe("what others open", () => {
  test("report.json: a row for every exported folder and every rival, lineage, plan and actual", () => {
    const report = JSON.parse(readFileSync(join(place, "whole-out", "report.json"), "utf8")) as ReportFile
    for (const value of report.values) expect(Object.keys(value).sort()).toEqual(["count", "metric", "model", "standardError", "task", "unit", "value"])
    const models = ["seed", "mixture", "compressed", "routed", "control", ...domains.map((domain) => `expert ${domain}`)]
    for (const name of [...models, "oracle"]) for (const task of domains) {
      const row = report.values.find((value) => value.model === name && value.task === task && value.metric === "bitsPerByte")
      // a model that has learned nothing spreads itself over its 260 symbols: eight bits and a little
      expect([name, task, row?.unit, row!.value > 7.5 && row!.value < 9.5, row!.count > 0]).toEqual([name, task, "bits/byte", true, true])
      if (row!.count > 1) expect(row!.standardError).toBeGreaterThan(0)
    }
    expect(Object.keys(report.lineage)).toEqual(expect.arrayContaining(models))
    expect(report.banner).toMatch(/^One seed, short budget/)
    expect([report.plan.length, report.actual.length]).toEqual([stages, stages])
    expect(report.plan.map(({ stage }) => stage)).toEqual(report.actual.map(({ stage }) => stage))
  })

  test("trace.arrow: Arrow's own reader finds each token's two experts in each layer, their weights adding to one", () => {
    const trace = tableFromIPC(readFileSync(join(place, "whole-out", "trace.arrow")))
    expect(trace.schema.fields.map(({ name }) => name).sort()).toEqual(["document", "domain", "dropped", "expert", "layer", "logit", "position", "rank", "run", "token", "weight"])
    expect(trace.numRows).toBe(128 * 2 * 2)
    const sums = new Map<string, number>(), seen = new Set<string>()
    for (const row of trace) {
      const { document, domain, expert, layer, position, weight } = row!.toJSON() as { document: number; domain: string; expert: number; layer: number; position: number; weight: number }
      const at = [domain, document, position, layer].join()
      sums.set(at, (sums.get(at) ?? 0) + weight)
      seen.add(`${at},${expert}`)
      expect(expert).toBeLessThan(4)
    }
    expect(sums.size).toBe(128 * 2)
    expect(seen.size).toBe(trace.numRows) // never the same expert twice
    for (const sum of sums.values()) expect(sum).toBeCloseTo(1, 5)
  })

  test("the router finally chosen is one that Mixtral cannot express: the plan says so before any work", async () => {
    const layer = Store.layer(join(place, "cannot"))
    const { routed } = quickstart({ small: true, seed: model }).outputs
    const exit = await Effect.runPromiseExit(Pipeline.plan(Pipeline.make("cannot", () => ({ mixtral: Export.mixture(routed, { family: "mixtral" }) }))).pipe(Effect.provide(layer), Effect.provide(Device.plain())))
    const error = Exit.findErrorOption(exit)
    expect(error).toMatchObject({ value: { _tag: "CannotExpress", family: "mixtral" } })
    expect((error as { value: Family.CannotExpress }).value.message).toMatch(/prefix/)
    expect(existsSync(join(place, "cannot", "results"))).toBe(false)
  })
})

test("another seed, other results", async () => {
  await done(command("run", "whole", ["--seed", "1"]))
  const other = exportedBytes("whole"), same = Object.keys(original).filter((path) => other[path] === original[path])
  expect(same).toEqual(["seed/model.safetensors"]) // given, not made
}, 120_000)
