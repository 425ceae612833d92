import { afterAll, describe, expect, jest, test } from "@jest/globals"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Table, Tables } from "@switchyard/core"
import { Console, Effect, Exit, Option } from "effect"
import { Command } from "effect/cli"
import { mkdtempSync, readFileSync } from "node:fs"
import { rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Patches from "../Patches.ts"
import { command } from "./patches.ts"

const folder = mkdtempSync(join(tmpdir(), "switchyard-patches-"))
afterAll(() => rm(folder, { recursive: true, force: true }))

const printed = async (args: ReadonlyArray<string>) => {
  const said: Array<string> = [], console: Console.Console = Object.assign(Object.create(globalThis.console), { log: (...parts: ReadonlyArray<unknown>) => { said.push(parts.join(" ")) } })
  const exit = await Effect.runPromise(Effect.exit(Command.runWith(command, { version: "0.1.0" })(args)).pipe(Effect.provideService(Console.Console, console), Effect.provide(NodeServices.layer)) as Effect.Effect<Exit.Exit<void, { readonly message: string }>>)
  return { text: said.join("\n"), error: Option.getOrUndefined(Exit.findErrorOption(exit))?.message }
}
/** A method's curve by the accuracies of two seeds at 10, 20, 40 … samples. */
const measured = (method: Patches.Measurement["method"], accuracies: ReadonlyArray<readonly [number, number]>, recall: number | null = 1): Patches.Measurement => ({
  method, patches: 64, curve: accuracies.map((pair, at) => ({ samples: 10 * 2 ** at, accuracy: (pair[0] + pair[1]) / 2, measured: { accuracies: pair, recalls: recall === null ? null : [recall, recall] } }))
})

describe("verdicts", () => {
  const convolution = measured("convolution", [[50, 60], [60, 60], [70, 70], [80, 80], [90, 100], [99, 99]], null), joint = measured("joint", [[50, 100], [50, 100], [50, 100], [50, 100], [50, 100], [50, 100]], 0.5)
  test("the mean's number of samples and each seed's own, by hand", () => {
    expect(Patches.needs(convolution)).toEqual({ mean: { samples: 160, at: "between" }, median: expect.closeTo((10 * 2 ** 3.75 + 10 * 2 ** (4 + 5 / 9)) / 2, 6), least: expect.closeTo(10 * 2 ** 3.75, 6), most: expect.closeTo(10 * 2 ** (4 + 5 / 9), 6) })
    expect(Patches.needs(joint)).toEqual({ mean: { samples: 320, at: "beyond" }, median: Infinity, least: 10, most: Infinity })
  })
  test("separate training must need four times fewer at 64 patches, and its routers must keep the class's patch", () => {
    const verdict = (separate: Patches.Measurement) => Patches.verdicts([convolution, joint, separate])[0]!
    expect(verdict(measured("separate", [[90, 90], [100, 100]]))).toMatchObject({ reached: true, text: expect.stringContaining("64 patches: 95 % takes 160 samples by convolution, 14 by separate training, > 320 by joint training (seeds: 10 to never, median never); separate training needs 11.3 times fewer") })
    expect(verdict(measured("separate", [[90, 90], [100, 100]], 0.9)).reached).toBe(false)
    expect(verdict(measured("separate", [[60, 60], [70, 70], [95, 95]])).reached).toBe(false)
    expect(verdict(measured("separate", [[98, 98], [100, 100]]))).toMatchObject({ reached: true, text: expect.stringContaining("≤ 10 by separate training") })
  })
})

/** What it prints a second time, and how many stages it ran for that. */
const again = async (args: ReadonlyArray<string>) => {
  const written: Array<string> = [], listening = jest.spyOn(process.stderr, "write").mockImplementation((chunk) => written.push(String(chunk)) > 0)
  const { text } = await printed(args).finally(() => listening.mockRestore())
  expect(written.join("")).toContain("kept from an earlier run")
  return { text, trained: written.filter((line) => line.includes(" started")).length }
}

describe("eval:patches", () => {
  test("every method and number of samples, as Arrow, Markdown, HTML and JSON; a second run trains nothing", async () => {
    const args = ["--out", join(folder, "out"), "--most", "10", "--limit", "2", "--seed", "3", "--device", "host"]
    const first = await printed(args)
    expect(first.error).toBeUndefined()
    expect(first.text).toMatch(/^16 patches: 95 % takes /m)
    const rows = Table.rows(await Effect.runPromise(Table.read(Tables.Results, join(folder, "out", "results.arrow"))))
    expect(rows.filter(({ metric }) => metric === "test accuracy").map(({ model, task }) => `${model}, ${task}`)).toEqual([16, 64].flatMap((size) => ["convolution", "joint", "separate"].map((method) => `${size} patches, ${method}, 10`)))
    expect(readFileSync(join(folder, "out", "report.html"), "utf8")).toMatch(/one standard error over seeds[^]*<svg/)
    expect(readFileSync(join(folder, "out", "report.md"), "utf8")).toContain("chance is 2 / patches")
    expect(await again(args)).toEqual({ text: first.text, trained: 0 })
  }, 60_000)
})
