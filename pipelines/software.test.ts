import { afterAll, beforeAll, expect, test } from "@jest/globals"
import { tableFromIPC } from "apache-arrow"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Started, start, writeTiny } from "./journey.ts"

const place = mkdtempSync(join(tmpdir(), "switchyard-software-")), model = join(place, "model"), running = new Set<Started>()
const devices = ["host", "software"] as const
type Device = (typeof devices)[number]
const outOf = (device: Device) => join(place, `${device}-out`)
const stagesOf: Partial<Record<Device, number>> = {}

beforeAll(async () => {
  await writeTiny(model)
  for (const device of devices) {
    const started = start("run", ["--device", device, "--model", model, "--store", join(place, device), "--out", outOf(device)])
    running.add(started)
    const { code, err } = await started.ended
    running.delete(started)
    expect([code, code === 0 ? "" : err]).toEqual([0, ""])
    stagesOf[device] = err.match(/ finished in /g)!.length
  }
}, 240_000)
afterAll(async () => {
  for (const { child } of running) child.kill("SIGKILL")
  await Promise.all([...running].map(({ ended }) => ended))
  rmSync(place, { recursive: true, force: true })
})

interface Reported { readonly model: string; readonly task: string; readonly metric: string; readonly value: number; readonly standardError: number | null; readonly count: number }
const reportOf = (device: Device) => JSON.parse(readFileSync(join(outOf(device), "report.json"), "utf8")) as { readonly values: ReadonlyArray<Reported>; readonly lineage: Readonly<Record<string, { readonly device: string }>> }

test("all six stages complete on Dawn's software adapter, and the report says that it was this device", () => {
  expect(stagesOf.software).toBe(stagesOf.host)
  expect(stagesOf.software).toBeGreaterThan(30)
  for (const { device } of Object.values(reportOf("software").lineage)) expect(device).toMatch(/^software: .*SwiftShader/i)
  for (const { device } of Object.values(reportOf("host").lineage)) expect(device).toMatch(/^host: /)
})

test("every value of the report equals the host's within 1e-3", () => {
  const [host, software] = [reportOf("host").values, reportOf("software").values]
  expect(software.map(({ count, metric, model, task }) => [model, task, metric, count])).toEqual(host.map(({ count, metric, model, task }) => [model, task, metric, count]))
  let largest = 0
  host.forEach((row, at) => {
    const gap = Math.abs(row.value - software[at]!.value)
    largest = Math.max(largest, gap)
    expect([row.model, row.task, row.metric, gap < 1e-3]).toEqual([row.model, row.task, row.metric, true])
    expect(Math.abs((row.standardError ?? 0) - (software[at]!.standardError ?? 0))).toBeLessThan(1e-3)
  })
  expect(largest).toBeGreaterThan(0) // two devices, not one read twice
})

interface Choice { readonly at: string; readonly experts: ReadonlyArray<number>; readonly weights: ReadonlyArray<number>; readonly logits: ReadonlyArray<number> }
const choicesOf = (device: Device): ReadonlyArray<Choice> => {
  const found = new Map<string, { at: string; experts: Array<number>; weights: Array<number>; logits: Array<number> }>()
  for (const row of tableFromIPC(readFileSync(join(outOf(device), "trace.arrow")))) {
    const { document, domain, expert, layer, logit, position, rank, weight } = row!.toJSON() as Record<string, number>
    const at = [domain, document, position, layer].join(), choice = found.get(at) ?? { at, experts: [], weights: [], logits: [] }
    choice.experts[rank!] = expert!
    choice.weights[rank!] = weight!
    choice.logits[rank!] = logit!
    found.set(at, choice)
  }
  return [...found.values()]
}

test("routing choices equal the host's but for ties, weights within 1e-3", () => {
  const host = choicesOf("host"), software = choicesOf("software")
  expect(software.map(({ at }) => at)).toEqual(host.map(({ at }) => at))
  expect(host.length).toBeGreaterThan(200)
  let ties = 0
  host.forEach((choice, at) => {
    const other = software[at]!
    choice.experts.forEach((expert, rank) => {
      // another expert, or another order, is a tie only when both devices gave the two candidates the same logit
      if (other.experts[rank] === expert) expect(Math.abs(other.weights[rank]! - choice.weights[rank]!)).toBeLessThan(1e-3)
      else ties++
      expect([choice.at, rank, Math.abs(other.logits[rank]! - choice.logits[rank]!) < 1e-4]).toEqual([choice.at, rank, true])
    })
  })
  expect(ties).toBeLessThan(host.length / 50)
})
