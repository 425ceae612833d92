import { describe, expect, jest, test } from "@jest/globals"
import { Effect, Exit, Option } from "effect"
import { markdown } from "./bench.ts"
import { cells, type Loading, loading, toRow } from "./loading.ts"

jest.setTimeout(120_000) // a process that begins by compiling its sources, on processors that are shared

const row = (change: Partial<Loading> = {}): Loading => ({ name: "convert F32 to BF16, one file", shape: "100 M parameters, 400 MB", milliseconds: 4000, fileBytes: 400e6, peakBytes: 310e6, atMost: 333e6, ...change })

describe("loading", () => {
  test("a conversion in a process of its own: its time, its peak and what it may take", async () => {
    const [found, ...others] = await Effect.runPromise(loading(4, 0, ["convert F32 to BF16, one file"]))
    // 128 hidden: an embedding of 1,024 rows, and layers of 4 · 128² + 3 · 128 · 512 + 2 · 128 numbers, and one norm
    const layer = 4 * 128 ** 2 + 3 * 128 * 512 + 2 * 128, layers = Math.round((4e6 - 4 * 1024 * 128) / (4 * layer)), parameters = 1024 * 128 + layers * layer + 128
    expect(others).toEqual([])
    expect(found!.fileBytes).toBeGreaterThan(4 * parameters)
    expect(found!.fileBytes).toBeLessThan(4 * parameters + 10_000) // the header
    expect(found!.milliseconds).toBeGreaterThan(0)
    expect(found!.atMost).toBe(4 * 1024 * 128 + 300e6)
    expect(found!.peakBytes).toBeGreaterThan(30e6) // no Node program is smaller
    expect(found!.peakBytes).toBeLessThan(found!.atMost!)
  })

  test("a task that its process cannot do is told by its name", async () => {
    const failed = await Effect.runPromiseExit(loading(4, 0, ["no such task"]))
    expect(Option.getOrThrow(Exit.findErrorOption(failed)).message).toMatch(/^no such task: .*Error/)
  })

  test("what is too much says so; the tables have it", () => {
    expect(cells(row())).toEqual(["convert F32 to BF16, one file", "100 M parameters, 400 MB", "4.00", "100", "310 MB (at most 333 MB)"])
    expect(cells(row({ peakBytes: 400e6 })).at(-1)).toBe("400 MB (expected at most 333 MB)")
    expect(cells(row({ milliseconds: 40, atMost: null })).slice(2)).toEqual(["0.04", "", "310 MB"])
    expect(toRow(row())).toMatchObject({ name: "convert F32 to BF16, one file", device: "host", milliseconds: 4000, runs: 1, floor: null, ratio: null })
    expect(markdown({ rows: [], memory: [], loading: [row()], skipped: [], runs: 7 })).toContain("| convert F32 to BF16, one file | 100 M parameters, 400 MB | 4.00 | 100 | 310 MB (at most 333 MB) |")
  })
})
