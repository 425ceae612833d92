import { describe, expect, test } from "@jest/globals"
import { Effect, Exit, Option } from "effect"
import { createRequire } from "node:module"
import { names } from "./inputs.ts"
import { type Case, clocked, quantile, rows, samples } from "./measure.ts"
import { productModel } from "./peers.ts"
import { wordCount } from "./perplexities.ts"
import { aligned } from "./present.ts"
import { place, spread } from "./target.ts"

describe("words", () => {
  test("are counted as Python's re.split counts them", () => {
    // len(re.split(r"\s+", text)) of CPython 3.12
    expect(["", " a b\n", "a", "a\u001cb", "a\ufeffb", "a\u0085b\u2003c", "\n\n"].map(wordCount)).toEqual([1, 4, 1, 2, 1, 3, 2])
  })
})

describe("arguments", () => {
  test("several values after one flag are that flag several times", () => {
    expect(spread(["--model", "a", "b", "--out", "o", "--text=x", "y", "--seed", "1"])).toEqual(["--model", "a", "--model", "b", "--out", "o", "--text=x", "--text", "y", "--seed", "1"])
    expect(spread(["--model", "a", "--model", "b"])).toEqual(["--model", "a", "--model", "b"])
    expect(spread(["--help"])).toEqual(["--help"])
  })
  test("names are the shortest ends of the paths that differ", async () => {
    const of = (...paths: ReadonlyArray<string>) => Effect.runPromise(names("t", paths))
    expect(await of("/m/seed", "/m/mix")).toEqual(["seed", "mix"])
    expect(await of("/a/m/seed", "/b/m/seed")).toEqual(["a/m/seed", "b/m/seed"])
    expect(await of("/m/seed/")).toEqual(["seed"])
    expect(Option.getOrThrow(Exit.findErrorOption(await Effect.runPromiseExit(names("t", ["/m/a", "/m/b", "/m/./a"])))).message).toMatch(/given twice/)
  })
  test("paths are relative to where the user stands", () => {
    const before = process.env["INIT_CWD"]
    process.env["INIT_CWD"] = "/somewhere"
    try { expect([place("runs"), place("/x")]).toEqual(["/somewhere/runs", "/x"]) } finally { if (before === undefined) delete process.env["INIT_CWD"]; else process.env["INIT_CWD"] = before }
  })
})

describe("measurements", () => {
  test("quantiles lie between the values in proportion, as numpy's do", () => {
    expect([0, 0.25, 0.5, 0.75, 1].map((at) => quantile([4, 1, 3, 2], at))).toEqual([1, 1.75, 2.5, 3.25, 4])
  })
  const timed = (name: string, times: ReadonlyArray<number>, more: Partial<Case> = {}): Case => {
    let turn = 0
    return { name, device: "d", adapter: "a", shape: "s", time: Effect.sync(() => ({ wall: times[turn]!, processor: 10 * times[turn++]! })), ...more }
  }
  test("run in turns, the first of which does not count; floors come from the best copy and product, ratios from medians", async () => {
    const order: Array<string> = []
    const seen = (each: Case): Case => ({ ...each, time: Effect.andThen(Effect.sync(() => { order.push(each.name) }), each.time) })
    const cases = [
      timed("copy", [99, 2, 4, 3], { floor: "copy", work: { flops: 0, bytes: 300 } }), // 100 a millisecond
      timed("product", [99, 5, 4, 6], { floor: "product", work: { flops: 1000, bytes: 10 } }), // 200 a millisecond
      timed("layer", [99, 30, 20, 40], { work: { flops: 2000, bytes: 1500 }, against: "dense", atMost: 1.3, processor: { against: "copy" } }),
      timed("dense", [99, 20, 20, 20])
    ].map(seen)
    const table = rows(await Effect.runPromise(samples(cases, 3, { progress: () => {}, skipped: () => {} })))
    expect(order).toEqual(Array.from({ length: 4 }, () => ["copy", "product", "layer", "dense"]).flat())
    const layer = table.find(({ name }) => name === "layer")!
    expect(layer).toMatchObject({ milliseconds: 30, lowerQuartile: 25, upperQuartile: 35, runs: 3, floor: 15, against: "dense", ratio: 1.5, atMost: 1.3 }) // 1500 / 100 ms > 2000 / 200 ms
    expect(table.map(({ floor }) => floor)).toEqual([3, 5, 15, null, null])
    expect(table[3]).toMatchObject({ name: "layer, processor time", milliseconds: 300, against: "copy, processor time", ratio: 10 })
  })
  test("both clocks are read, by what is timed once", async () => {
    const { processor, wall } = await Effect.runPromise(clocked(Effect.sync(() => { for (const until = performance.now() + 40; performance.now() < until;); }), 4))
    expect(wall).toBeGreaterThanOrEqual(10)
    expect(processor).toBeGreaterThan(0)
  })
  test("what cannot be timed leaves the table and is told", async () => {
    const told: Array<string> = []
    const broken: Case = { ...timed("broken", []), time: Effect.fail({ message: "no such thing" }) }
    const found = await Effect.runPromise(samples([broken, timed("sound", [1, 2, 3])], 2, { progress: () => {}, skipped: (name, why) => { told.push(`${name}: ${why}`) } }))
    expect(rows(found).map(({ name }) => name)).toEqual(["sound"])
    expect(told).toEqual(["broken on d: no such thing"])
  })
  test("the product given to onnxruntime is a matrix product", async () => {
    const { InferenceSession, Tensor } = createRequire(import.meta.url)("onnxruntime-node")
    const session = await InferenceSession.create(productModel, { executionProviders: ["cpu"] })
    const { y } = await session.run({ a: new Tensor("float32", Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]), b: new Tensor("float32", Float32Array.of(1, 0, 0, 1, 2, 1), [3, 2]) })
    expect([...y.data, ...y.dims]).toEqual([7, 5, 16, 11, 2, 2])
  })
})

describe("tables on the terminal", () => {
  test("stand in columns, numbers to the right", () => expect(aligned([["", "x"], ["long", "1"], ["a", "22"]])).toBe("       x\nlong   1\na     22"))
})
