import { afterAll, describe, expect, jest, test } from "@jest/globals"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Table, Tables } from "@switchyard/core"
import { Console, Effect, Exit, Option } from "effect"
import { Command } from "effect/cli"
import { mkdtempSync, readFileSync } from "node:fs"
import { rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Theory from "../Theory.ts"
import { over } from "../theory/over.ts"
import type { Trained } from "../theory/train.ts"
import { command } from "./theory.ts"

const folder = mkdtempSync(join(tmpdir(), "switchyard-theory-"))
afterAll(() => rm(folder, { recursive: true, force: true }))

const printed = async (args: ReadonlyArray<string>) => {
  const said: Array<string> = [], console: Console.Console = Object.assign(Object.create(globalThis.console), { log: (...parts: ReadonlyArray<unknown>) => { said.push(parts.join(" ")) } })
  const exit = await Effect.runPromise(Effect.exit(Command.runWith(command, { version: "0.1.0" })(args)).pipe(Effect.provideService(Console.Console, console), Effect.provide(NodeServices.layer)) as Effect.Effect<Exit.Exit<void, { readonly message: string }>>)
  return { text: said.join("\n"), error: Option.getOrUndefined(Exit.findErrorOption(exit))?.message }
}
const run = (testAccuracy: number, entropy: number | null, more: Partial<Trained> = {}): Trained => ({ testAccuracy, entropy, trainAccuracy: 90, steps: 1, curve: [{ step: 0, loss: 1, entropy }], dispatch: [], centres: [], features: [], ...more })

describe("verdicts", () => {
  test("mean and standard deviation by hand, held against what was expected of accuracy and entropy both", () => {
    expect(over([98, 100, 99])).toEqual({ value: 99, deviation: 1, standardError: 1 / Math.sqrt(3), count: 3 })
    const name = "mixture, cubic, released gate"
    expect(Theory.verdict(name, [run(98, 0.1), run(100, 0.3), run(99, 0.2)])).toMatchObject({ reached: true, text: expect.stringContaining("99.00 ± 1.00 %, entropy 0.200 ± 0.100; expected 98.5 to 100 %, 0 to 0.25: reached") })
    expect(Theory.verdict(name, [run(98, 0.1), run(100, 0.9), run(99, 0.2)]).reached).toBe(false)
    expect(Theory.verdict(name, [run(98, 0.1), run(98, 0.1)]).reached).toBe(false)
    expect(Theory.verdict("single, linear", [run(68, null)])).toMatchObject({ reached: true, text: expect.stringMatching(/^single, linear: 68\.00 %; expected 66 to 72 %: reached/) })
  })
  test("a router knows a cluster when its centre has a best expert of its own", () => {
    expect(Theory.ownExperts([[9, 1, 0, 5], [0, 8, 7, 4], [0, 0, 0, 6]])).toBe(2) // clusters 1 and 4; 2 and 3 share an expert
    expect(Theory.featureShare({ centres: [[3, 0], [0, 4]], features: [[0, 0], [1, 0]] })).toBeCloseTo(0.2, 12)
  })
})

/** What it prints a second time, and how many stages it ran for that. */
const again = async (args: ReadonlyArray<string>) => {
  const written: Array<string> = [], listening = jest.spyOn(process.stderr, "write").mockImplementation((chunk) => written.push(String(chunk)) > 0)
  const { text } = await printed(args).finally(() => listening.mockRestore())
  expect(written.join("")).toContain("kept from an earlier run")
  return { text, trained: written.filter((line) => line.includes(" started")).length }
}

describe("eval:theory", () => {
  test("every network and seed, as Arrow, Markdown, HTML and JSON; a second run trains nothing", async () => {
    const args = ["--out", join(folder, "out"), "--examples", "40", "--limit", "2", "--seed", "3", "--device", "host"]
    const first = await printed(args)
    expect(first.error).toBeUndefined()
    for (const name of Object.keys(Theory.models)) expect(first.text).toMatch(new RegExp(`^${name}: \\d`, "m"))
    const rows = Table.rows(await Effect.runPromise(Table.read(Tables.Results, join(folder, "out", "results.arrow"))))
    expect(rows.filter(({ metric }) => metric === "test accuracy").map(({ model, task }) => `${model}/${task}`)).toEqual(Object.keys(Theory.models).flatMap((model) => ["seed 3", "seed 4", "all seeds"].map((task) => `${model}/${task}`)))
    expect(rows.filter(({ metric, task }) => metric === "dispatch entropy" && task === "all seeds")).toHaveLength(4)
    expect(readFileSync(join(folder, "out", "report.html"), "utf8").match(/<svg/g)!.length).toBeGreaterThanOrEqual(3)
    expect(readFileSync(join(folder, "out", "report.md"), "utf8")).toContain("± is one standard error over seeds")
    const one = await printed([...args, "--network", "single, linear"]) // the others stay out
    expect(one.text).toMatch(/^single, linear: \d/m)
    expect(one.text).not.toContain("mixture")
    expect(await again(args)).toEqual({ text: first.text, trained: 0 })
  }, 60_000)
})
