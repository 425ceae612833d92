import { expect, test } from "@jest/globals"
import { Weights } from "@switchyard/core"
import { Effect } from "effect"
import * as Edit from "./Edit.ts"

const source = Weights.fromMemory({ a: { shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) } })

test("copies, gathers and new values, whole or by rows", async () => {
  const edited = Edit.apply(new Map<string, Edit.Origin>([["copy", { copy: "a", of: source }], ["rows", { gather: "a", rows: [2, 0], of: source }], ["new", { values: Float32Array.of(7, 8), shape: [2] }]]))
  const read = (name: string, rows?: Weights.Rows) => Effect.runPromise(edited.read(name, rows)).then((values) => [...values])
  expect(await read("copy", { from: 1, to: 3 })).toEqual([3, 4, 5, 6])
  expect(await read("rows")).toEqual([5, 6, 1, 2])
  expect(await read("rows", { from: 1, to: 2 })).toEqual([1, 2])
  expect(await read("new", { from: 1, to: 2 })).toEqual([8])
  expect(edited.infos.get("rows")!.shape).toEqual([2, 2])
  expect(() => Edit.apply(new Map([["x", { copy: "missing", of: source }]]))).toThrow("missing, which does not exist")
})

test("newborn routers depend on seed and name alone", async () => {
  const of = (seed: number) => Effect.runPromise(Edit.apply(Edit.newborn([0, 1], { weight: [4, 8], deviation: [8] }, seed)).read("layers.1.router.weight"))
  expect(await of(3)).toEqual(await of(3))
  expect(await of(3)).not.toEqual(await of(4))
  const numbers = await of(3)
  expect(Math.sqrt(numbers.reduce((sum, value) => sum + value * value, 0) / numbers.length)).toBeCloseTo(0.02, 2)
})
