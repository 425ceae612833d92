import { describe, expect, test } from "@jest/globals"
import { Effect, Exit } from "effect"
import * as arrow from "apache-arrow"
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Table from "./Table.ts"
import * as Tables from "./tables.ts"

const folder = () => mkdtempSync(join(tmpdir(), "switchyard-table-"))
const failure = async <A, E>(effect: Effect.Effect<A, E>): Promise<E> => {
  const exit = await Effect.runPromiseExit(effect)
  if (Exit.isSuccess(exit)) throw new Error("expected a failure")
  const error = Exit.findErrorOption(exit)
  if (error._tag === "None") throw new Error("expected a typed failure")
  return error.value
}

const trace = () => Table.make(Tables.Trace, {
  run: ["a", "a", "b"], domain: { names: ["law", "code"], indices: Int32Array.of(1, 0, 1) },
  document: Uint32Array.of(0, 0, 4_000_000_000), position: [0, 1, 2], token: [5, 6, 7],
  layer: Uint16Array.of(0, 1, 1), rank: [0, 0, 1], expert: [3, 2, 1],
  weight: Float32Array.of(0.25, 0.5, 1), logit: [-1, 0, 1], dropped: [false, true, false]
})

describe("Table", () => {
  test("the artifact keeps a table as one file and gives it back", async () => {
    const place = folder(), artifact = Table.Artifact(Tables.Trace)
    await Effect.runPromise(artifact.save(trace() as never, place))
    expect(readdirSync(place)).toEqual(["trace.arrow"])
    expect(Table.rows((await Effect.runPromise(artifact.load(place))) as Table.Table<Tables.Trace>)).toEqual(Table.rows(trace()))
    expect(artifact.kinds).toEqual(["trace"])
    expect(artifact.header(trace() as never)).toEqual({ table: "trace", version: 1, rows: 3 })
  })

  test("what is made is what is read, through a file, by column and by row", async () => {
    const file = join(folder(), "deep", "trace.arrow")
    await Effect.runPromise(Table.write(trace(), file))
    const read = await Effect.runPromise(Table.read(Tables.Trace, file))
    const layer: Uint16Array = Table.column(read, "layer")
    expect([...layer]).toEqual([0, 1, 1])
    expect(Table.column(read, "document")[2]).toBe(4_000_000_000)
    expect(Table.column(read, "domain")).toEqual({ names: ["law", "code"], indices: Int32Array.of(1, 0, 1) })
    expect([...Table.column(read, "dropped")]).toEqual([0, 1, 0])
    expect(Table.rows(read)[1]).toEqual({
      run: "a", domain: "law", document: 0, position: 1, token: 6, layer: 1, rank: 0, expert: 2, weight: 0.5, logit: 0, dropped: true
    })
    expect(read.header).toEqual({ table: "trace", version: 1, rows: 3 })
    expect(readdirSync(join(file, ".."))).toEqual(["trace.arrow"])
  })

  test("a file written by pyarrow in two record batches, plain strings and a dictionary of its own is the same table to us", async () => {
    const bytes = readFileSync(fileURLToPath(new URL("./fixtures/pyarrow-results.arrow", import.meta.url)))
    const read = await Effect.runPromise(Table.fromIPC(Tables.Results, bytes))
    expect(Table.rows(read)).toEqual([
      { model: "seed", task: "bitsPerByte", metric: "bitsPerByte", value: 2.5, unit: "bits/byte", count: 12, standardError: 0.125, seed: 0, split: "report" },
      { model: "mixture", task: "bitsPerByte", metric: "bitsPerByte", value: 2.25, unit: "bits/byte", count: 12, standardError: null, seed: 0, split: "report" },
      { model: "Größe", task: "bitsPerByte", metric: "bitsPerByte", value: -0.5, unit: "bits/byte", count: 4294967295, standardError: 0, seed: 1, split: "choose" }
    ])
    expect(Table.column(read, "model")).toEqual({ names: ["seed", "mixture", "Größe"], indices: Int32Array.of(0, 1, 2) })
    expect([...Table.column(read, "standardError")]).toEqual([0.125, NaN, 0])
  })

  test("numeric columns and vectors are views of the bytes read, not copies", async () => {
    const values = Float32Array.from({ length: 12 }, (_, index) => index / 3)
    const table = Table.make(Tables.Activations, {
      domain: ["law", "law", "code"], document: [0, 1, 2], position: [0, 0, 0], layer: [0, 0, 0], point: ["input", "input", "output"],
      hidden: { size: 4, values }
    })
    const bytes = Table.toIPC(table)
    const read = await Effect.runPromise(Table.fromIPC(Tables.Activations, bytes))
    const hidden = Table.column(read, "hidden")
    expect(hidden.size).toBe(4)
    expect(hidden.values).toEqual(values)
    expect(hidden.values.buffer).toBe(bytes.buffer)
    expect(Table.rows(read)[1]!.hidden).toEqual([...values.subarray(4, 8)])
  })

  test("rows are checked against the columns' Schema and located; starred columns are open", async () => {
    const good = { step: 1, tokens: 256, loss: 2, "balance.switchLoss": 1, gradientNorm: 1, learningRate: 0.001, tokensPerSecond: 100 }
    const log = await Effect.runPromise(Table.fromRows(Tables.TrainLog, [good, { ...good, step: 2 }]))
    expect([...Table.column(log, "balance.switchLoss")]).toEqual([1, 1])
    expect([...Table.column(log, "step")]).toEqual([1, 2])
    expect((await failure(Table.fromRows(Tables.TrainLog, [good, { ...good, step: -1 }]))).message)
      .toBe("table trainLog at row 1, column step: -1 is no u32. Give rows of the declared columns")
    expect((await failure(Table.fromRows(Tables.TrainLog, [good, { ...good, other: 1 } as typeof good]))).message).toMatch(/row 1, column other: is not declared/)
    const { loss: _, ...lossless } = good
    expect((await failure(Table.fromRows(Tables.TrainLog, [lossless as typeof good]))).message).toMatch(/column loss: nothing is no f32/)
  })

  test("programmers' mistakes die with the column's name", () => {
    const columns = { step: [1, 2], tokens: [1, 2], loss: [1, 2], gradientNorm: [1, 2], learningRate: [1, 2], tokensPerSecond: [1, 2] }
    expect(() => Table.make(Tables.TrainLog, { ...columns, loss: [1] })).toThrow("column loss has 1 rows, column step has 2")
    expect(() => Table.make(Tables.TrainLog, { ...columns, step: [1, 2.5] })).toThrow("column step, row 1: 2.5 is no u32")
    expect(() => Table.make(Tables.TrainLog, { ...columns, lost: [1, 2] } as typeof columns)).toThrow("table trainLog declares no column lost")
    expect(() => Table.column(Table.make(Tables.TrainLog, columns), "layer" as "step")).toThrow("table trainLog has no column layer")
  })

  test("equal tables are equal bytes, whatever else was made before", () => {
    const make = () => Table.toIPC(Table.make(Tables.Results, { model: ["a"], task: ["b"], metric: ["c"], value: [1], unit: ["d"], count: [1], standardError: [null], seed: [0], split: ["e"] }))
    const [first, second] = [make(), make()]
    expect(Buffer.from(first).equals(second)).toBe(true)
  })

  test("no rows are a table too", async () => {
    const empty = await Effect.runPromise(Table.fromRows(Tables.Results, []))
    const read = await Effect.runPromise(Table.fromIPC(Tables.Results, Table.toIPC(empty)))
    expect(Table.rows(read)).toEqual([])
    expect(Table.column(read, "value").length).toBe(0)
    expect(Table.column(read, "model")).toEqual({ names: [], indices: new Int32Array(0) })
  })

  test("another table, another version, another type, missing values, broken and missing files are typed errors", async () => {
    const results = await Effect.runPromise(Table.fromRows(Tables.Results, []))
    expect((await failure(Table.fromIPC(Tables.Trace, Table.toIPC(results), "x.arrow"))).message)
      .toBe("table trace at x.arrow: the file holds table results. Give a file of table trace")
    expect((await failure(Table.fromIPC({ ...Tables.Results, version: 2 }, Table.toIPC(results)))).problem).toBe("the file has version 1, this program reads 2")
    const other = Table.define("trace", { version: 1, columns: { ...Tables.Trace.columns, layer: "u32" } })
    expect((await failure(Table.fromIPC(other, Table.toIPC(trace())))).problem).toBe("column layer is Uint16, expected Uint32")
    const less = Table.define("trace", { version: 1, columns: { ...Tables.Trace.columns, extra: "u32" } })
    expect((await failure(Table.fromIPC(less, Table.toIPC(trace())))).problem).toBe("column extra is missing")
    const foreign = arrow.tableToIPC(arrow.tableFromArrays({ a: [1] }), "file")
    expect((await failure(Table.fromIPC(Tables.Trace, foreign))).problem).toBe("the file holds table none of ours")

    const file = join(folder(), "trace.arrow")
    const whole = Table.toIPC(trace())
    writeFileSync(file, whole.subarray(0, whole.length >> 1))
    expect((await failure(Table.read(Tables.Trace, file))).message).toContain(`table trace at ${file}: no Arrow data`)
    writeFileSync(file, "hello")
    expect((await failure(Table.read(Tables.Trace, file)))._tag).toBe("TableError")
    expect((await failure(Table.read(Tables.Trace, `${file}.none`))).message).toContain(`cannot read ${file}.none`)
  })

  test("a write that fails leaves neither a part nor a changed file", async () => {
    const place = folder()
    writeFileSync(join(place, "busy"), "a file where a folder should be")
    expect((await failure(Table.write(trace(), join(place, "busy", "trace.arrow")))).message).toContain("cannot write")
    writeFileSync(join(place, "trace.arrow", ), "old")
    if (process.getuid?.() !== 0) {
      chmodSync(place, 0o500)
      await failure(Table.write(trace(), join(place, "trace.arrow")))
      chmodSync(place, 0o700)
      expect(readFileSync(join(place, "trace.arrow"), "utf8")).toBe("old")
    }
    expect(existsSync(join(place, "busy", "trace.arrow"))).toBe(false)
    expect(readdirSync(place).sort()).toEqual(["busy", "trace.arrow"])
  })
})
