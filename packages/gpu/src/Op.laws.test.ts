/** Laws that hold whatever the numbers: selection, sorting, dispatch and combine, pooling, rotation, attention. */
import { describe, expect, test } from "@jest/globals"
import { Effect } from "effect"
import * as fc from "fast-check"
import * as Gradient from "./Gradient.ts"
import { plainDevice } from "./host/plain.ts"
import * as Op from "./Op.ts"
import * as Recording from "./Recording.ts"
import { kept, type Tensor } from "./Tensor.ts"

type Numbers = ReadonlyArray<number>
const reals = (shape: Numbers, data: Numbers) => ({ tensor: kept(shape), data: Float64Array.from(data) })
const indices = (shape: Numbers, data: Numbers) => ({ tensor: kept(shape, { dtype: "u32" }), data: Uint32Array.from(data) })
/** Runs ops on inputs in f64 and gives the numbers of each output. */
const run = (inputs: ReadonlyArray<{ readonly tensor: Tensor; readonly data: Float64Array | Uint32Array }>, build: (...tensors: ReadonlyArray<Tensor>) => ReadonlyArray<Tensor>) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* plainDevice({ precision: "f64" }).arena
  for (const { data, tensor } of inputs) yield* arena.upload(tensor, data)
  const program = Recording.record(() => build(...inputs.map(({ tensor }) => tensor)).map((x) => Op.keep(x)))
  yield* arena.submit(program)
  const results: Array<Array<number>> = []
  for (const output of program.outputs) results.push(Array.from(yield* arena.read(output)))
  return results
})))
const number = fc.double({ min: -4, max: 4, noNaN: true })
const numbers = (length: number) => fc.array(number, { minLength: length, maxLength: length })
const close = (a: Numbers, b: Numbers) => { expect(a.length).toBe(b.length); a.forEach((x, at) => expect(Math.abs(x - b[at]!)).toBeLessThan(1e-9)) }
const lengthAt = (values: Numbers, at: number) => Math.hypot(values[at]!, values[at + 2]!)
/** [2, rows, columns] → [2, columns, rows] */
const swap = (x: Numbers, rows: number, columns: number) => x.map((_, at) => { const i = Math.floor(at / (rows * columns)), rest = at % (rows * columns); return x[i * rows * columns + rest % rows * columns + Math.floor(rest / rows)]! })
/** The output, and gradients of half its squared length. */
const outputAndGradients = (out: Tensor, inputs: ReadonlyArray<Tensor>) => [out, ...Gradient.of(Op.sumAll(Op.multiply(out, Op.stopGradient(out))), inputs)]
const laws = { numRuns: 40, seed: 20 }

describe("sorting", () => {
  test("countingSort is a stable sort, keys beyond the bins stand at the end, and invert undoes it", () => fc.assert(fc.asyncProperty(fc.array(fc.nat(6), { minLength: 1, maxLength: 40 }), async (keys) => {
    const bins = 5
    const [order, offsets, places, lengths] = await run([indices([keys.length], keys)], (x) => {
      const sorted = Op.countingSort(x!, bins)
      return [sorted.order, sorted.offsets, Op.invert(sorted.order), Op.segmentLengths(sorted.offsets)]
    })
    expect(order).toEqual(keys.map((_, at) => at).sort((a, b) => Math.min(keys[a]!, bins) - Math.min(keys[b]!, bins) || a - b))
    expect(offsets).toEqual(Array.from({ length: bins + 1 }, (_, bin) => keys.filter((key) => key < bin).length))
    expect(places!.map((place) => order![place])).toEqual(keys.map((_, at) => at))
    expect(lengths).toEqual(Array.from({ length: bins }, (_, bin) => keys.filter((key) => key === bin).length))
  }), laws))
  test("topK gives the largest, largest first, ties to the lowest place", () => fc.assert(fc.asyncProperty(fc.array(fc.integer({ min: -2, max: 2 }), { minLength: 12, maxLength: 12 }), fc.integer({ min: 1, max: 4 }), async (x, active) => {
    const [ids] = await run([reals([3, 4], x)], (a) => [Op.topK(a!, active)])
    expect(ids).toEqual([0, 4, 8].flatMap((at) => [0, 1, 2, 3].sort((a, b) => x[at + b]! - x[at + a]! || a - b).slice(0, active)))
  }), laws))
  test("sliceIndices cuts a part of each row, the largest number among it", async () => {
    expect(await run([indices([2, 4], [1, 0xffffffff, 3, 4, 5, 6, 7, 16777217])], (ids) => [Op.sliceIndices(ids!, 1, 3), Op.sliceIndices(ids!, 0, 1)])).toEqual([[0xffffffff, 3, 4, 6, 7, 16777217], [1, 5]])
    await expect(run([indices([2, 4], Array(8).fill(0))], (ids) => [Op.sliceIndices(ids!, 2, 3)])).rejects.toThrow(/has 4 columns, asked for 2 … 4/)
  })
  test("gatherColumns reads back what scatterColumns put down", () => fc.assert(fc.asyncProperty(numbers(6), fc.shuffledSubarray([0, 1, 2, 3], { minLength: 2, maxLength: 2 }), async (x, chosen) => {
    const [back] = await run([reals([3, 2], x), indices([3, 2], [...chosen, ...chosen, ...chosen])], (a, ids) => [Op.gatherColumns(Op.scatterColumns(a!, ids!, 4), ids!)])
    close(back!, x)
  }), laws))
})

describe("the mixture's two ends", () => {
  test("dispatch then combine is the identity when a token's weights sum to one, forward and backward", () => fc.assert(fc.asyncProperty(numbers(12), fc.array(fc.nat(3), { minLength: 8, maxLength: 8 }), fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 4, maxLength: 4 }), async (x, experts, shares) => {
    const weights = shares.flatMap((share) => [share, 1 - share])
    const [out, gradient] = await run([reals([4, 3], x), indices([8], experts), reals([4, 2], weights)], (a, keys, w) => {
      const { order } = Op.countingSort(keys!, 4), places = Op.invert(order)
      const mixed = Op.combine(Op.dispatch(a!, { order, places }, 2), places, w!)
      return [mixed, Gradient.of(Op.sumAll(Op.multiply(mixed, Op.stopGradient(a!))), [a!])[0]!]
    })
    close(out!, x)
    close(gradient!, x) // of Σ out · constant x
  }), laws))
  test("groupedLinear is each row through its own group's matrix", () => fc.assert(fc.asyncProperty(numbers(10), numbers(18), fc.array(fc.nat(2), { minLength: 5, maxLength: 5 }), async (x, weight, groups) => {
    const sorted = [...groups].sort((a, b) => a - b), offsets = [0, 1, 2, 3].map((bin) => sorted.filter((group) => group < bin).length)
    const [out] = await run([reals([5, 2], x), reals([3, 3, 2], weight), indices([4], offsets)], (a, w, o) => [Op.groupedLinear(a!, w!, o!, 0.5)])
    close(out!, sorted.flatMap((group, row) => [0, 1, 2].map((column) => 0.5 * (x[2 * row]! * weight[group * 6 + column * 2]! + x[2 * row + 1]! * weight[group * 6 + column * 2 + 1]!))))
  }), laws))
})

describe("causality and rotation", () => {
  test("prefixPool is a sum over what came before, and later tokens change nothing", () => fc.assert(fc.asyncProperty(numbers(12), fc.double({ min: 0.1, max: 1, noNaN: true }), fc.boolean(), fc.boolean(), async (x, decay, mean, exclusive) => {
    const [out] = await run([reals([1, 6, 2], x)], (a) => [Op.prefixPool(a!, { decay, mean, exclusive })])
    const naive = x.map((_, at) => {
      const t = Math.floor(at / 2), last = exclusive ? t - 1 : t
      let sum = 0, weight = 0
      for (let s = 0; s <= last; s++) { sum += decay ** (last - s) * x[2 * s + at % 2]!; weight += decay ** (last - s) }
      return mean ? (weight === 0 ? 0 : sum / weight) : sum
    })
    close(out!, naive)
    const [changed] = await run([reals([1, 6, 2], x.map((value, at) => at < 8 ? value : value + 1))], (a) => [Op.prefixPool(a!, { decay, mean, exclusive })])
    expect(changed!.slice(0, 8)).toEqual(out!.slice(0, 8))
  }), laws))
  test("rope turns back: its gradient applied to its output is the input; lengths are kept", () => fc.assert(fc.asyncProperty(numbers(24), fc.array(fc.nat(4), { minLength: 3, maxLength: 3 }), async (x, positions) => {
    const angles = Array.from({ length: 10 }, (_, i) => Math.floor(i / 2) * 0.7 ** (i % 2))
    const [turned, back] = await run([reals([3, 8], x), indices([3], positions), reals([5, 2], angles.map(Math.cos)), reals([5, 2], angles.map(Math.sin))], (a, p, cosines, sines) => {
      const out = Op.rope(a!, p!, { cosines: cosines!, sines: sines! }, { heads: 2, headSize: 4 })
      return [out, Gradient.of(Op.sumAll(Op.multiply(out, Op.stopGradient(out))), [a!])[0]!]
    })
    close(back!, x)
    for (const at of [0, 1, 4, 5, 8, 21]) expect(lengthAt(turned!, at)).toBeCloseTo(lengthAt(x, at), 9)
  }), laws))
  test("attention with grouped queries and a window is a naive loop over heads, queries and keys", () => fc.assert(fc.asyncProperty(numbers(2 * 4 * 8), numbers(2 * 4 * 4), numbers(2 * 4 * 4), fc.nat(3), async (q, k, v, window) => {
    const batch = 2, tokens = 4, heads = 4, keyValueHeads = 2, headSize = 2
    const [out] = await run([reals([8, 8], q), reals([8, 4], k), reals([8, 4], v)], (a, b, c) => [Op.attention(a!, b!, c!, { batch, tokens, heads, keyValueHeads, headSize, window })])
    const naive: Array<number> = []
    for (let b = 0; b < batch; b++) for (let t = 0; t < tokens; t++) for (let h = 0; h < heads; h++) {
      const group = Math.floor(h / 2), from = window === 0 ? 0 : Math.max(0, t - window + 1), keys = Array.from({ length: t + 1 - from }, (_, i) => (b * tokens + from + i) * 4 + group * 2), at = (b * tokens + t) * 8 + h * 2
      const weights = keys.map((key) => Math.exp((q[at]! * k[key]! + q[at + 1]! * k[key + 1]!) / Math.sqrt(2))), total = weights.reduce((sum, weight) => sum + weight, 0)
      for (let c = 0; c < headSize; c++) naive.push(keys.reduce((sum, key, i) => sum + weights[i]! / total * v[key + c]!, 0))
    }
    close(out!, naive)
  }), { ...laws, numRuns: 25 }))
})

describe("products", () => {
  test("matmul in its three layouts, batched, is the sum written out", () => fc.assert(fc.asyncProperty(numbers(12), numbers(16), async (a, b) => {
    const expected = [0, 1].flatMap((i) => [0, 1, 2].flatMap((row) => [0, 1, 2, 3].map((column) => 0.5 * (a[i * 6 + row * 2]! * b[i * 8 + column]! + a[i * 6 + row * 2 + 1]! * b[i * 8 + 4 + column]!))))
    const [plain, transposedB, transposedA] = await run([reals([2, 3, 2], a), reals([2, 2, 4], b), reals([2, 4, 2], swap(b, 2, 4)), reals([2, 2, 3], swap(a, 3, 2))], (x, y, yT, xT) =>
      [Op.matmul(x!, y!, { alpha: 0.5 }), Op.matmul(x!, yT!, { alpha: 0.5, transposeB: true }), Op.matmul(xT!, y!, { alpha: 0.5, transposeA: true })])
    for (const result of [plain, transposedB, transposedA]) close(result!, expected)
  }), laws))
  test("adaptedLinear is linear plus lowRank, and so are its gradients", () => fc.assert(fc.asyncProperty(numbers(6), numbers(8), numbers(2), numbers(4), async (x, weight, a, b) => {
    const inputs = () => [reals([3, 2], x), reals([4, 2], weight), reals([1, 2], a), reals([4, 1], b)]
    const fused = await run(inputs(), (...t) => outputAndGradients(Op.adaptedLinear(t[0]!, t[1]!, { a: t[2]!, b: t[3]!, scale: 1.5 }), t))
    const composed = await run(inputs(), (...t) => outputAndGradients(Op.add(Op.linear(t[0]!, t[1]!), Op.lowRank(t[0]!, t[2]!, t[3]!, 1.5)), t))
    fused.forEach((values, at) => values.forEach((value, i) => expect(Math.abs(value - composed[at]![i]!)).toBeLessThan(1e-8 * (1 + Math.abs(value)))))
  }), laws))
})

test("no gradient flows through stopGradient, and none is asked of what is not wanted", async () => {
  const [gradient] = await run([reals([3], [1, 2, 3])], (x) => [Gradient.of(Op.sumAll(Op.multiply(x!, Op.stopGradient(Op.map(x!, "square")))), [x!])[0]!])
  close(gradient!, [1, 4, 9])
  expect(() => Recording.record(() => Gradient.of(Op.sumAll(kept([3])), [kept([2], { label: "layers.0.norm" })]))).toThrow(/the loss does not depend on layers.0.norm/)
})
