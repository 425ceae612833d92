import { afterAll, beforeAll, describe, expect, test } from "@jest/globals"
import { Table } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { Context, Effect, Exit, Layer, Option, Scope } from "effect"
import { bench, type Bench, markdown, replaceFigures, report, toTable } from "./bench.ts"

let scope: Scope.Closeable, found: Bench
beforeAll(async () => {
  scope = Effect.runSync(Scope.make())
  const device = Context.get(await Effect.runPromise(Layer.buildWithScope(Device.host({ workers: 0 }), scope)), Device.Device)
  found = await Effect.runPromise(bench([device], { runs: 1, seed: 0, peers: false, loading: false }))
}, 60_000)
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

describe("eval:bench", () => {
  test("times products, grouped products, both layers and a training step, a prompt, a token and one with stored weights, with floors, quartiles and the mixture's ratio", () => {
    expect(found.rows.map(({ name }) => name)).toEqual(["copy", "product", "product", "product", "grouped product", ...["dense layer", "mixture layer", "training step"].flatMap((name) => [name, `${name}, processor time`]), "prompt", "token", ...["bf16", "f16", "q8", "q4"].map((storage) => `token, ${storage}`)])
    for (const row of found.rows) {
      expect(row.milliseconds).toBeGreaterThan(0)
      if (!row.name.includes("processor")) expect(row.floor).toBeGreaterThan(0)
      expect(row).toMatchObject({ device: "host", runs: 1, lowerQuartile: row.milliseconds, upperQuartile: row.milliseconds })
    }
    const [dense, mixture] = ["dense layer", "mixture layer"].map((name) => found.rows.find((row) => row.name === name)!)
    expect(mixture!.against).toBe("dense layer")
    expect(mixture!.ratio).toBeCloseTo(mixture!.milliseconds / dense!.milliseconds, 10)
  })

  test("the arena's high-water mark is what was predicted, within a fifth", () => {
    expect(found.memory.map(({ name }) => name)).toEqual(["mixture layer", "training step"])
    for (const { measured, predicted } of found.memory) expect(Math.abs(measured / predicted - 1)).toBeLessThan(0.2)
  })

  test("is written as a Bench table, as a report, and as the figures of a page", async () => {
    const table = toTable(found.rows), read = await Effect.runPromise(Table.fromIPC(table.definition, Table.toIPC(table)))
    expect(Table.rows(read)[7]).toMatchObject({ name: "mixture layer", device: "host", against: "dense layer", ratio: found.rows[7]!.ratio })
    expect(report(found, 5).values.filter(({ metric }) => metric === "milliseconds").length).toBe(found.rows.length)
    const figures = markdown(found, new Date("2026-01-02T00:00:00Z"))
    expect(figures).toMatch(/^2026-01-02; \d+ × /)
    expect(figures.split("\n").filter((line) => line.startsWith("| mixture layer |")).length).toBe(2)
  })

  test("figures replace figures and nothing else", async () => {
    const page = "a\n<!-- figures of eval:bench -->\nold\n<!-- end of figures -->\nz\n", once = await Effect.runPromise(replaceFigures(page, "new"))
    expect(once).toBe("a\n<!-- figures of eval:bench -->\n\nnew\n\n<!-- end of figures -->\nz\n")
    expect(await Effect.runPromise(replaceFigures(once, "new"))).toBe(once)
    expect(Option.getOrThrow(Exit.findErrorOption(await Effect.runPromiseExit(replaceFigures("no marks", "new")))).message).toMatch(/has no place for figures/)
  })
})
