import { expect, test } from "@jest/globals"
import { Random } from "@switchyard/core"
import { align, type FeedForward, match, permute } from "./alignment.ts"

const normals = (seed: number, name: string, count: number) => Random.fillNormal(Random.make(seed, name), new Float32Array(count))

const inner = 24, hidden = 10
const draw = (name: string, count: number) => normals(7, name, count)
const expert = (name: string): FeedForward => ({ gate: draw(`${name}.gate`, inner * hidden), up: draw(`${name}.up`, inner * hidden), down: draw(`${name}.down`, hidden * inner) })
const order = Uint32Array.from({ length: inner }, (_, i) => (i * 7 + 3) % inner)

/** The plain definition, in f64. */
const run = ({ down, gate, up }: FeedForward, x: Float32Array): ReadonlyArray<number> => {
  const dot = (w: Float32Array, row: number) => x.reduce((sum, value, k) => sum + w[row * hidden + k]! * value, 0)
  const channels = Array.from({ length: inner }, (_, i) => { const g = dot(gate, i); return g / (1 + Math.exp(-g)) * dot(up, i) })
  return Array.from({ length: hidden }, (_, row) => channels.reduce((sum, value, i) => sum + down[row * inner + i]! * value, 0))
}

test("a planted permutation is found exactly, under noise below the gap", () => {
  const original = expert("original"), noisy = (x: Float32Array, name: string) => x.map((value, at) => value + 0.01 * draw(name, x.length)[at]!)
  const planted = permute({ gate: noisy(original.gate, "a"), up: noisy(original.up, "b"), down: noisy(original.down, "c") }, order, inner, hidden)
  const found = match(original, planted, inner, hidden)
  found.forEach((from, i) => { expect(order[from]).toBe(i) })
})

test("a permuted expert computes the same function, and aligning its exact copy gives the original bits", () => {
  const original = expert("original"), permuted = permute(original, order, inner, hidden), x = draw("x", hidden)
  const before = run(original, x), after = run(permuted, x)
  after.forEach((value, at) => { expect(value).toBeCloseTo(before[at]!, 10) })
  expect(align(original, permuted, inner, hidden)).toEqual(original)
})
