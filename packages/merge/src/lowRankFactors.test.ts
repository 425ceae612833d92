import { expect, test } from "@jest/globals"
import { Random } from "@switchyard/core"
import { lowRankFactors } from "./lowRankFactors.ts"

const normals = (seed: number, name: string, count: number) => Random.fillNormal(Random.make(seed, name), new Float32Array(count))

const product = (b: Float32Array, a: Float32Array, rows: number, columns: number, rank: number) => Float32Array.from({ length: rows * columns }, (_, i) => {
  let sum = 0
  for (let r = 0; r < rank; r++) sum += b[Math.floor(i / columns) * rank + r]! * a[r * columns + i % columns]!
  return sum
})
const square = (x: Float32Array) => x.reduce((sum, value) => sum + value * value, 0)

test.each([[12, 7], [7, 12]])("a planted rank is recovered exactly, in a [%i, %i] matrix", (rows, columns) => {
  const rank = 3, planted = product(normals(1, "b", rows * rank), normals(1, "a", rank * columns), rows, columns, rank)
  const { a, b, lost } = lowRankFactors(planted, rows, columns, rank)
  product(b, a, rows, columns, rank).forEach((value, at) => { expect(value).toBeCloseTo(planted[at]!, 4) })
  expect(lost).toBeLessThan(1e-10)
})

test("what it says it lost is what is missing, and falls with the rank to nothing", () => {
  const rows = 9, columns = 6, w = normals(2, "w", rows * columns)
  const losses = [1, 2, 3, 4, 5, 6].map((rank) => {
    const { a, b, lost } = lowRankFactors(w, rows, columns, rank), near = product(b, a, rows, columns, rank)
    expect(square(w.map((value, at) => value - near[at]!)) / square(w)).toBeCloseTo(lost, 5)
    return lost
  })
  losses.slice(1).forEach((lost, at) => { expect(lost).toBeLessThan(losses[at]!) })
  expect(losses[5]).toBeLessThan(1e-10)
  expect(() => lowRankFactors(w, rows, columns, 7)).toThrow("smaller axis")
})
