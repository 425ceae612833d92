/**
 * One set of inputs for every kernel, run by every device's tests: odd sizes, empty groups, left-out rows, ties, and (marked `special`)
 * NaN and infinities, which WGSL does not promise to keep. The oracle is the kernel's plain form in f64.
 */
import { Random } from "@switchyard/core"
import { Effect } from "effect"
import type { Arena, Failure } from "./Device.ts"
import type * as Kernel from "./Kernel.ts"
import { kernels } from "./kernels.ts"
import { modes } from "./kernels/map.ts"
import * as Recording from "./Recording.ts"
import { encode, formatOf, storages } from "./Storage.ts"
import { kept } from "./Tensor.ts"

export interface KernelCase {
  readonly kernel: string
  readonly name: string
  /** What each binding holds before the step; outputs hold a sentinel, so that an element left unwritten shows. */
  readonly buffers: Readonly<Record<string, Float32Array | Uint32Array>>
  readonly params: Readonly<Record<string, number>>
  /** Allowed |got − expected| / (1 + |expected|). */
  readonly tolerance: number
  /** Has NaN or infinities among its inputs. */
  readonly special: boolean
}

const sentinel = 7
export const kernelCases: Array<KernelCase> = []
const add = (kernel: string, name: string, buffers: KernelCase["buffers"], params: KernelCase["params"], options: { readonly tolerance?: number; readonly special?: boolean } = {}): void => {
  kernelCases.push({ kernel, name, buffers, params, tolerance: options.tolerance ?? 2e-6, special: options.special ?? false })
}

let streams = 0
const normal = (length: number, deviation = 1): Float32Array => Random.fillNormal(Random.make(7, `kernel case ${++streams}`), new Float32Array(length), { deviation })
const positive = (length: number): Float32Array => normal(length).map((x) => Math.abs(x) + 0.1)
const below = (length: number, bound: number): Uint32Array => {
  const source = Random.make(7, `kernel case ${++streams}`)
  return Uint32Array.from({ length }, (_, i) => Random.below(source, i, bound))
}
const real = (length: number): Float32Array => new Float32Array(length).fill(sentinel)
const index = (length: number): Uint32Array => new Uint32Array(length).fill(sentinel)
/** The input with some of its elements replaced. */
const put = <A extends Float32Array | Uint32Array>(values: A, changes: Readonly<Record<number, number>>): A => {
  for (const [at, value] of Object.entries(changes)) values[Number(at)] = value
  return values
}
const shuffled = (length: number): Uint32Array => Random.shuffle(Random.make(7, `kernel case ${++streams}`), length)
const awkward = { 1: Infinity, 2: -Infinity, 3: NaN, 4: 0, 5: 88, 6: -88, 7: 104, 8: -104, 9: 1e30 }

// matrix products -----------------------------------------------------------------------------------------------------------------
const products = [
  [1, 1, 1, 1], [1, 3, 5, 7], [1, 33, 65, 17], [1, 64, 128, 96], [1, 130, 260, 48], [1, 1, 37, 129], [1, 70, 1, 40], [4, 32, 32, 16], [3, 19, 23, 9], [2, 96, 17, 33]
] as const
for (const kernel of ["matmulNN", "matmulNT", "matmulTN"]) for (const [batch, rows, columns, inner] of products) for (const accumulate of [0, 1]) {
  const strideA = rows * inner, strideB = columns * inner
  add(kernel, `${batch}×[${rows}, ${columns}] inner ${inner}${accumulate ? ", accumulated" : ""}`,
    { a: normal(batch * strideA), b: normal(batch * strideB), out: accumulate ? normal(batch * rows * columns) : real(batch * rows * columns) },
    { batch, rows, columns, inner, strideA, strideB, alpha: accumulate ? 0.5 : 1, accumulate }, { tolerance: 1e-5 })
}
for (const kernel of ["matmulNN", "matmulNT", "matmulTN"]) {
  add(kernel, "shares its second operand over the batch", { a: normal(3 * 20 * 12), b: normal(18 * 12), out: real(3 * 20 * 18) },
    { batch: 3, rows: 20, columns: 18, inner: 12, strideA: 240, strideB: 0, alpha: 1, accumulate: 0 }, { tolerance: 1e-5 })
  add(kernel, "shares its first operand over the batch", { a: normal(20 * 12), b: normal(3 * 18 * 12), out: real(3 * 20 * 18) },
    { batch: 3, rows: 20, columns: 18, inner: 12, strideA: 0, strideB: 216, alpha: 0.25, accumulate: 0 }, { tolerance: 1e-5 })
  add(kernel, "ignores what stood in out, even NaN", { a: normal(30 * 40), b: normal(50 * 40), out: new Float32Array(1500).fill(NaN) },
    { batch: 1, rows: 30, columns: 50, inner: 40, strideA: 1200, strideB: 2000, alpha: 1, accumulate: 0 }, { tolerance: 1e-5, special: true })
}
const groupings = [
  { name: "uneven groups, one empty", offsets: [0, 5, 5, 36, 40], columns: 24, inner: 17 },
  { name: "one group", offsets: [0, 33], columns: 31, inner: 64 },
  { name: "everything in the last group", offsets: [0, 0, 0, 7], columns: 5, inner: 3 },
  { name: "larger", offsets: [0, 70, 133, 200, 200, 256], columns: 96, inner: 64 }
] as const
for (const { columns, inner, name, offsets } of groupings) {
  const groups = offsets.length - 1, rows = offsets[groups]!
  for (const kernel of ["groupedMatmulNT", "groupedMatmulNN"]) for (const alpha of [1, 0.5]) {
    add(kernel, `${name}, alpha ${alpha}`, { x: normal(rows * inner), weight: normal(groups * columns * inner), offsets: Uint32Array.from(offsets), out: real(rows * columns) },
      { rows, columns, inner, groups, alpha }, { tolerance: 1e-5 })
  }
  add("groupedMatmulTN", name, { a: normal(rows * inner), b: normal(rows * columns), offsets: Uint32Array.from(offsets), out: real(groups * inner * columns) },
    { total: rows, rows: inner, columns, groups, alpha: 0.5 }, { tolerance: 1e-5 })
}

// stored weights ------------------------------------------------------------------------------------------------------------------
for (const storage of storages) {
  const stored = (length: number) => ({ weight: encode(storage, normal(length)) }), format = formatOf(storage)
  for (const [length, from, count] of [[1, 0, 1], [64, 0, 64], [1003, 0, 1003], [1003, 517, 300], [200, 33, 40], [300, 40, 21]] as const) {
    add("widen", `${storage}, ${count} of ${length} from ${from}`, { ...stored(length), out: real(count) }, { count, from, total: length, format })
  }
  for (const [entries, columns, divisor] of [[5, 7, 1], [40, 32, 1], [9, 33, 2]] as const) {
    add("storedGather", `${storage}, [${entries}, ${columns}], divisor ${divisor}`, { ...stored(entries * columns), ids: put(below(11, entries * divisor), { 3: 0xffffffff }), out: real(11 * columns) },
      { count: 11 * columns, columns, divisor, total: entries * columns, format })
  }
  for (const kernel of ["storedMatmulNT", "storedMatmulNN"]) for (const [rows, columns, inner] of [[1, 1, 1], [3, 5, 7], [33, 65, 17], [70, 40, 96], [1, 37, 129], [5, 3, 300]] as const) {
    add(kernel, `${storage}, [${rows}, ${columns}] inner ${inner}`, { x: normal(rows * inner), ...stored(columns * inner), out: real(rows * columns) }, { rows, columns, inner, total: columns * inner, format }, { tolerance: 1e-5 })
  }
  // what the host reads without widening it first: few rows, whole blocks in the weight's
  for (const [rows, columns, inner] of [[1, 37, 96], [4, 6, 64]] as const) {
    add("storedMatmulNT", `${storage}, [${rows}, ${columns}] inner ${inner}`, { x: normal(rows * inner), ...stored(columns * inner), out: real(rows * columns) }, { rows, columns, inner, total: columns * inner, format }, { tolerance: 1e-5 })
  }
  add("storedGroupedMatmulNT", `${storage}, few rows in each group`, { x: normal(12 * 64), ...stored(5 * 7 * 64), offsets: Uint32Array.of(0, 3, 3, 4, 10, 12), out: real(12 * 7) }, { rows: 12, columns: 7, inner: 64, groups: 5, alpha: 0.5, total: 5 * 7 * 64, format }, { tolerance: 1e-5 })
  for (const { columns, inner, name, offsets } of groupings) for (const kernel of ["storedGroupedMatmulNT", "storedGroupedMatmulNN"]) {
    const groups = offsets.length - 1, rows = offsets[groups]!, total = groups * columns * inner
    add(kernel, `${storage}, ${name}`, { x: normal(rows * inner), ...stored(total), offsets: Uint32Array.from(offsets), out: real(rows * columns) }, { rows, columns, inner, groups, alpha: 0.5, total, format }, { tolerance: 1e-5 })
  }
}
for (const storage of ["bf16", "f16"] as const) {
  const total = 21, weight = encode(storage, put(normal(total), { 1: Infinity, 2: -Infinity, 3: NaN, 17: NaN, 18: Infinity, 20: -Infinity })), format = formatOf(storage)
  add("widen", `${storage}, NaN and infinities`, { weight, out: real(total) }, { count: total, from: 0, total, format }, { special: true })
}
for (const kernel of ["storedMatmulNT", "storedMatmulNN"]) {
  const [rows, columns, inner] = kernel === "storedMatmulNT" ? [3, 1100, 260] as const : [3, 260, 1100] as const // more than the host widens at once
  add(kernel, "larger than a tile of the host", { x: normal(rows * inner), weight: encode("bf16", normal(columns * inner)), out: real(rows * columns) }, { rows, columns, inner, total: columns * inner, format: 0 }, { tolerance: 5e-5 })
  add(kernel, "larger than a tile of the host, one row", { x: normal(inner), weight: encode("q8", normal(columns * inner)), out: real(columns) }, { rows: 1, columns, inner, total: columns * inner, format: 2 }, { tolerance: 5e-5 })
}

for (const [length, start, count, from, entries] of [[1, 0, 1, 0, 5], [90, 0, 90, 4, 7], [90, 13, 66, 0, 0xffffffff], [20, 5, 15, 3, 100]] as const) {
  add("idsWithin", `${count} of ${length} from ${start}, ids from ${from}`, { ids: put(below(length, 15), { 0: 0xffffffff }), out: index(count) }, { count, start, from, entries })
}

// element-wise --------------------------------------------------------------------------------------------------------------------
for (const count of [1, 3, 64, 65, 1003]) {
  const name = `${count} elements`
  add("fill", name, { out: real(count) }, { count, value: 0.375 })
  add("add", name, { a: normal(count), b: normal(count), out: real(count) }, { count, scale: -0.5 })
  add("multiply", name, { a: normal(count), b: normal(count), out: real(count) }, { count, scale: 1.5 })
  add("affine", name, { x: normal(count), out: real(count) }, { count, scale: -1.25, shift: 0.5 })
  add("swiglu", name, { gate: normal(count, 3), up: normal(count), out: real(count) }, { count })
  add("swigluGradient", name, { gate: normal(count, 3), up: normal(count), gradient: normal(count), gateGradient: real(count), upGradient: real(count) }, { count })
  const bounds = { count, slope: 1.702, limit: 2 }
  add("clampedSwiglu", name, { gate: normal(count, 3), up: normal(count, 3), out: real(count) }, bounds)
  add("clampedSwigluGradient", name, { gate: normal(count, 3), up: normal(count, 3), gradient: normal(count), gateGradient: real(count), upGradient: real(count) }, bounds)
  add("sumSquares", name, { x: normal(count), out: real(5) }, { count, at: 3, chunk: 1003 }, { tolerance: 1e-5 })
  for (const decays of [0, 1]) add("adamw", `${name}, decays ${decays}`,
    { parameter: normal(count), first: normal(count, 0.1), second: positive(count), gradient: normal(count), hyper: Float32Array.from([0.01, 0.875, 0.96875, 1e-8, 0.125, 0.5, 0.25]), clip: Float32Array.from([0.75, 2]) }, { count, decays })
  for (const [mode, word] of modes.entries()) {
    const x = word === "log" || word === "sqrt" || word === "reciprocal" ? positive(count) : normal(count, 2)
    add("map", `${word}, ${name}`, { x, out: real(count) }, { count, mode })
    add("mapGradient", `${word}, ${name}`, { x, gradient: normal(count), out: real(count) }, { count, mode }, { tolerance: 5e-6 })
  }
}
add("sumSquares", "in four parts", { x: normal(3500), out: real(6) }, { count: 3500, at: 1, chunk: 1000 }, { tolerance: 1e-5 })
add("add", "NaN and infinities", { a: put(normal(21), awkward), b: normal(21), out: real(21) }, { count: 21, scale: 1 }, { special: true })
add("multiply", "NaN and infinities", { a: put(normal(21), awkward), b: normal(21), out: real(21) }, { count: 21, scale: 1 }, { special: true })
add("affine", "NaN and infinities", { x: put(normal(21), awkward), out: real(21) }, { count: 21, scale: 2, shift: 1 }, { special: true })
add("swiglu", "NaN and infinities", { gate: put(normal(21), { ...awkward, 2: -200 }), up: normal(21), out: real(21) }, { count: 21 }, { special: true })
add("map", "exp of NaN and infinities", { x: put(normal(21), awkward), out: real(21) }, { count: 21, mode: modes.indexOf("exp") }, { special: true })
add("map", "sigmoid of NaN and infinities", { x: put(normal(21), awkward), out: real(21) }, { count: 21, mode: modes.indexOf("sigmoid") }, { special: true })
add("map", "exp from −80 to 80", { x: Float32Array.from({ length: 321 }, (_, i) => (i - 160) / 2), out: real(321) }, { count: 321, mode: modes.indexOf("exp") }, { tolerance: 1e-5 })
for (const kernel of ["map", "mapGradient"]) {
  const x = Float32Array.from({ length: 160 }, (_, i) => i / 16 - 10) // where 1 + tanh of it would lose its digits
  add(kernel, "gelu from −10 to 0", { x, ...kernel === "map" ? {} : { gradient: new Float32Array(160).fill(1) }, out: real(160) }, { count: 160, mode: modes.indexOf("gelu") }, { tolerance: 1e-6 })
}
for (const [batch, heads, repeat, columns] of [[1, 1, 1, 1], [2, 3, 2, 5], [2, 2, 1, 70], [1, 3, 4, 131]] as const) {
  const rows = batch * heads * repeat, x = normal(rows * columns, 3), scale = 0.375, probability = new Float32Array(x.length)
  for (let row = 0; row < rows; row++) { // the last column left out, as a mask leaves it
    const of = x.subarray(row * columns, row * columns + Math.max(1, columns - 1)), sum = of.reduce((all, one) => all + Math.exp(scale * one), 0)
    of.forEach((one, c) => { probability[row * columns + c] = Math.exp(scale * one) / sum })
  }
  add("sinkShare", `${batch} × ${heads} heads × ${repeat} rows of ${columns}`, { x, probability, sinks: normal(heads, 2), out: real(rows) }, { rows, columns, heads, repeat, scale })
}
for (const [rows, columns] of [[1, 1], [3, 5], [17, 64], [5, 131]] as const) {
  const name = `[${rows}, ${columns}]`, count = rows * columns
  add("addRow", name, { x: normal(count), bias: normal(columns), out: real(count) }, { count, columns })
  add("scaleRows", name, { x: normal(count), scale: normal(rows), out: real(count) }, { count, columns })
  add("divideRows", name, { x: normal(count), divisor: positive(rows), out: real(count) }, { count, columns })
  add("copyColumns", `${name}, into the middle`, { x: normal(count), out: real(rows * (columns + 3)) }, { count, columns, inputStride: columns, inputOffset: 0, outStride: columns + 3, outOffset: 2 })
  add("copyColumns", `${name}, out of the middle`, { x: normal(rows * (columns + 4)), out: real(count) }, { count, columns, inputStride: columns + 4, inputOffset: 3, outStride: columns, outOffset: 0 })

  // rows ------------------------------------------------------------------------------------------------------------------------
  add("sumColumns", name, { x: normal(count), out: real(rows) }, { rows, columns, scale: 0.5 }, { tolerance: 5e-6 })
  add("sumRows", name, { x: normal(count), out: real(columns) }, { rows, columns, scale: 0.5 }, { tolerance: 5e-6 })
  add("dotRows", name, { a: normal(count), b: normal(count), out: real(rows) }, { rows, columns }, { tolerance: 5e-6 })
  add("rmsNorm", name, { x: normal(count), gain: normal(columns), out: real(count), inverse: real(rows) }, { rows, columns, epsilon: 2 ** -16 })
  add("rmsNormGradient", name, { x: normal(count), gain: normal(columns), inverse: positive(rows), gradient: normal(count), out: real(count) }, { rows, columns }, { tolerance: 1e-5 })
  add("rmsNormGainGradient", name, { x: normal(count), inverse: positive(rows), gradient: normal(count), out: real(columns) }, { rows, columns }, { tolerance: 1e-5 })
  add("softmax", name, { x: normal(count, 4), out: real(count) }, { rows, columns, scale: 0.5 })
  add("softmaxGradient", name, { probability: positive(count), gradient: normal(count), out: real(count) }, { rows, columns, scale: 0.5 }, { tolerance: 1e-5 })
  const targets = put(below(rows, columns), { 1: 0xffffffff })
  add("crossEntropy", name, { logits: normal(count, 3), targets, loss: real(rows), logNormalizer: real(rows) }, { rows, columns })
  add("crossEntropyGradient", name, { logits: normal(count), targets, logNormalizer: positive(rows).map((x) => x + 2), gradient: normal(rows), out: real(count) }, { rows, columns })
}
for (const columns of [5, 70]) {
  const targets = Uint32Array.from([1, 0xffffffff, 2]), logits = put(normal(3 * columns), { [columns]: NaN, [columns + 1]: Infinity, [columns + 4]: -Infinity })
  add("crossEntropy", `[3, ${columns}], a row left out that is not numbers`, { logits, targets, loss: real(3), logNormalizer: real(3) }, { rows: 3, columns }, { special: true })
  add("crossEntropyGradient", `[3, ${columns}], a row left out that is not numbers`, { logits, targets, logNormalizer: Float32Array.of(3, NaN, 3), gradient: Float32Array.of(0.5, NaN, -1), out: real(3 * columns) }, { rows: 3, columns }, { special: true })
}
add("sumRows", "[1000, 6]", { x: normal(6000), out: real(6) }, { rows: 1000, columns: 6, scale: 1 }, { tolerance: 2e-5 })
add("rmsNormGainGradient", "[1000, 6]", { x: normal(6000), inverse: positive(1000), gradient: normal(6000), out: real(6) }, { rows: 1000, columns: 6 }, { tolerance: 2e-5 })
add("softmax", "large logits", { x: put(normal(40, 3), { 0: 5000, 10: -5000, 25: 4000 }), out: real(40) }, { rows: 4, columns: 10, scale: 1 }, { tolerance: 1e-5 })
add("softmax", "−∞ leaves a column out", { x: put(normal(40), { 0: -Infinity, 7: -Infinity, 23: -Infinity }), out: real(40) }, { rows: 4, columns: 10, scale: 1 }, { special: true })
add("softmax", "NaN spoils its own row only", { x: put(normal(40), { 13: NaN }), out: real(40) }, { rows: 4, columns: 10, scale: 1 }, { special: true })
add("crossEntropy", "NaN spoils its own row only", { logits: put(normal(40), { 13: NaN }), targets: below(4, 10), loss: real(4), logNormalizer: real(4) }, { rows: 4, columns: 10 }, { special: true })
add("rmsNorm", "NaN spoils its own row only", { x: put(normal(40), { 13: NaN }), gain: normal(10), out: real(40), inverse: real(4) }, { rows: 4, columns: 10, epsilon: 2 ** -16 }, { special: true })
for (const [heads, queries, columns, offset, window] of [[1, 1, 1, 0, 0], [2, 9, 9, 0, 0], [3, 17, 17, 0, 5], [2, 3, 20, 17, 0], [2, 3, 20, 10, 4], [1, 70, 70, 0, 0]] as const) {
  const rows = heads * queries, count = rows * columns
  add("causalSoftmax", `${heads} heads, ${queries} queries at ${offset}, ${columns} keys, window ${window}`, { x: normal(count, 3), out: real(count) }, { rows, columns, queries, offset, window, scale: 0.375 })
}

// caches: places that are left out, the first, the last, windows, grouped heads --------------------------------------------------------------
const nowhere = 0xffffffff
for (const { batch, capacity, columns = capacity, headSize, heads, keyValueHeads, name, places, window } of [
  { name: "one token of one sequence", batch: 1, capacity: 5, heads: 1, keyValueHeads: 1, headSize: 4, window: 0, places: [3] },
  { name: "grouped heads, one sequence without a token", batch: 3, capacity: 70, heads: 6, keyValueHeads: 2, headSize: 18, window: 0, places: [69, nowhere, 0] },
  { name: "several tokens and a window", batch: 2, capacity: 21, heads: 4, keyValueHeads: 4, headSize: 7, window: 5, places: [0, 1, 2, nowhere, 9, 10, 11, 20] },
  { name: "a window of one", batch: 1, capacity: 9, heads: 2, keyValueHeads: 1, headSize: 33, window: 1, places: [0, 8] },
  { name: "a part of the cache", batch: 2, capacity: 40, columns: 13, heads: 4, keyValueHeads: 2, headSize: 12, window: 0, places: [9, 10, 11, 12, 3, 4, nowhere, nowhere] },
  { name: "a part of the cache, and a window", batch: 3, capacity: 90, columns: 70, heads: 2, keyValueHeads: 2, headSize: 5, window: 6, places: [64, 65, 66, 0, 1, nowhere, nowhere, nowhere, nowhere] }
] as ReadonlyArray<{ readonly name: string; readonly batch: number; readonly capacity: number; readonly columns?: number; readonly heads: number; readonly keyValueHeads: number; readonly headSize: number; readonly window: number; readonly places: ReadonlyArray<number> }>) {
  const rows = places.length, tokens = rows / batch, width = keyValueHeads * headSize, sizes = { tokens, heads, keyValueHeads, headSize, capacity, columns, window }
  const stored = () => normal(batch * capacity * width)
  add("cacheRows", name, { x: normal(rows * width), places: Uint32Array.from(places), cache: stored() }, { count: rows * width, columns: width, tokens, capacity })
  add("cachedScores", name, { q: normal(rows * heads * headSize), keys: stored(), places: Uint32Array.from(places), out: real(rows * heads * columns) }, { count: rows * heads * columns, ...sizes, scale: 0.3 }, { tolerance: 1e-5 })
  add("cachedSoftmax", name, { x: normal(rows * heads * columns, 3), places: Uint32Array.from(places), out: real(rows * heads * columns) }, { rows: rows * heads, columns, heads, window })
  add("cachedMix", name, { weights: normal(rows * heads * columns), values: stored(), places: Uint32Array.from(places), out: real(rows * heads * headSize) }, { count: rows * heads * headSize, ...sizes }, { tolerance: 1e-5 })
  // laid out by head: places go up by one; what the cache holds past the last of them, NaN here, is left out
  const first = (entry: number) => places[entry * tokens]!, held = Array.from({ length: batch }, (_, entry) => places.slice(entry * tokens, (entry + 1) * tokens).filter((place, at) => place !== nowhere && place === first(entry) + at).length)
  const consecutive = Uint32Array.from(places, (_, row) => row % tokens < held[Math.floor(row / tokens)]! ? first(Math.floor(row / tokens)) + row % tokens : nowhere)
  const seen = window === 0 ? columns : Math.min(columns, window - 1 + tokens)
  const ends = held.map((count, entry) => count > 0 ? first(entry) + count : 0)
  const cache = stored().map((value, at) => Math.floor(at / width) % capacity < ends[Math.floor(at / capacity / width)]! ? value : NaN)
  add("cachedHeads", name, { cache, places: consecutive, out: real(batch * seen * width) }, { count: batch * seen * width, tokens, heads: keyValueHeads, headSize, capacity, columns: seen, window })
  for (const [order, between] of [["by sequence", heads], ["by head", 1]] as const)
    add("placedSoftmax", `${name}, ${order}`, { x: normal(rows * heads * seen, 3), places: consecutive, out: real(rows * heads * seen) }, { rows: rows * heads, columns: seen, batch, tokens, heads: between, window, scale: 0.375 })
  for (const mean of [0, 1]) add("cachedPool", `${name}, mean ${mean}`, { x: normal(rows * width), places: Uint32Array.from(places), state: positive(2 * batch * width), out: real(rows * width) }, { count: batch * width, tokens, columns: width, decay: 0.75, mean }, { tolerance: 1e-5 })
}

for (const [name, places, orders, buckets] of [["one token", [0], 1, 1], ["two texts, one row without a token", [0, 1, 2, 3, nowhere, 0, 1, 2], 3, 97], ["more than a workgroup", Array.from({ length: 70 }, (_, row) => row % 35), 2, 65536]] as const)
  add("ngramBuckets", name, { ids: Uint32Array.from(places, (_, row) => (row * 2654435761) >>> 24), places: Uint32Array.from(places), out: new Uint32Array(orders * places.length) }, { count: orders * places.length, rows: places.length, buckets })

for (const [name, batch, places, orders] of [["one token after others", 1, [7], 3], ["pairs", 2, [3, 4, 5, 0, 1, 2], 2], ["texts that begin, that go on, and one without a token", 3, [0, 1, 2, nowhere, 9, 10, nowhere, nowhere, nowhere, nowhere, nowhere, nowhere], 4], ["more than a workgroup", 70, Array.from({ length: 140 }, (_, row) => row % 2 + row % 3), 5]] as const)
  add("cachedNgramBuckets", name, { ids: Uint32Array.from(places, (_, row) => (row * 2654435761) >>> 24), places: Uint32Array.from(places), held: Uint32Array.from({ length: batch * (orders - 1) }, (_, at) => (at * 40503) % 251), out: new Uint32Array(orders * places.length) }, { batch, tokens: places.length / batch, orders, buckets: 97 })

// positions and axes ----------------------------------------------------------------------------------------------------------------
for (const [a, b, c, d] of [[1, 1, 1, 1], [2, 3, 5, 7], [3, 8, 2, 16], [1, 5, 9, 1]] as const) add("permute", `[${a}, ${b}, ${c}, ${d}]`, { x: normal(a * b * c * d), out: real(a * b * c * d) }, { count: a * b * c * d, b, c, d })
for (const [rows, heads, headSize] of [[1, 1, 2], [5, 3, 8], [7, 2, 6], [4, 8, 16]] as const) for (const direction of [1, -1]) {
  const angles = normal(11 * headSize / 2, 2)
  add("rope", `[${rows}, ${heads}, ${headSize}], direction ${direction}`, { x: normal(rows * heads * headSize), positions: below(rows, 11), cosines: angles.map(Math.cos), sines: angles.map(Math.sin), out: real(rows * heads * headSize) },
    { count: rows * heads * headSize / 2, heads, headSize, direction })
}
for (const [rows, columns, entries, divisor] of [[1, 1, 1, 1], [9, 5, 4, 1], [12, 33, 6, 2], [30, 64, 10, 3]] as const) {
  const ids = below(rows, entries * divisor)
  add("gather", `${rows} rows of [${entries}, ${columns}], divisor ${divisor}`, { table: normal(entries * columns), ids: put(ids.slice(), rows > 2 ? { 2: 0xffffffff } : {}), out: real(rows * columns) }, { count: rows * columns, columns, divisor })
  add("gatherScaled", `${rows} rows of [${entries}, ${columns}], divisor ${divisor}`, { table: normal(entries * columns), ids, scale: normal(entries * divisor), out: real(rows * columns) }, { count: rows * columns, columns, divisor })
}

// sorting and the mixture's ends ----------------------------------------------------------------------------------------------------
for (const [count, bins] of [[1, 1], [10, 3], [300, 8], [1000, 5], [65, 260]] as const) {
  const keys = count > 20 ? put(below(count, bins), { 3: bins, 9: 0xffffffff }) : below(count, bins)
  add("countingSort", `${count} keys, ${bins} bins`, { keys, order: index(count), offsets: index(bins + 1) }, { rows: 1, count, bins })
  add("sortFew", `${count} keys, ${bins} bins`, { keys, order: index(count), offsets: index(bins + 1) }, { count, bins })
  add("invert", `${count} places`, { order: shuffled(count), out: index(count) }, { count })
}
for (const { name, offsets } of groupings) {
  const bins = offsets.length - 1, rows = offsets[bins]!
  add("segmentLengths", name, { offsets: Uint32Array.from(offsets), out: real(bins) }, { count: bins })
  for (const columns of [1, 5, 64]) add("segmentSum", `${name}, ${columns} columns`, { x: normal(rows * columns), order: shuffled(rows), offsets: Uint32Array.from(offsets), out: real(bins * columns) }, { bins, columns, rows }, { tolerance: 1e-5 })
}
for (const [tokens, columns, active] of [[1, 1, 1], [7, 5, 2], [20, 64, 3], [33, 7, 1]] as const) {
  const slots = tokens * active, name = `${tokens} tokens, ${columns} columns, ${active} active`
  for (const weighted of [0, 1]) add("combine", `${name}, weighted ${weighted}`, { y: normal(slots * columns), places: shuffled(slots), weights: normal(slots), out: real(tokens * columns) }, { count: tokens * columns, columns, active, weighted })
  add("combineWeightGradient", name, { y: normal(slots * columns), places: shuffled(slots), gradient: normal(tokens * columns), out: real(slots) }, { rows: slots, columns, active }, { tolerance: 5e-6 })
}
for (const [rows, columns, active] of [[1, 1, 1], [9, 8, 2], [70, 5, 5], [3, 64, 4]] as const) {
  const name = `${active} of [${rows}, ${columns}]`
  add("topK", name, { x: normal(rows * columns), ids: index(rows * active) }, { rows, columns, active })
  add("sliceIndices", name, { x: put(below(rows * columns, 2 ** 31), { 0: 0xffffffff }), out: index(rows * active) }, { count: rows * active, columns: active, stride: columns, offset: columns - active })
  const ids = below(rows * active, columns)
  add("gatherColumns", name, { x: normal(rows * columns), ids, out: real(rows * active) }, { count: rows * active, columns, active })
  add("scatterColumns", name, { x: normal(rows * active), ids, out: real(rows * columns) }, { count: rows * columns, columns, active })
}
add("topK", "ties go to the lowest place", { x: Float32Array.from([1, 2, 2, 0, 3, 3, 3, 3, -1, -1, 0, 0]), ids: index(6) }, { rows: 3, columns: 4, active: 2 })
add("topK", "NaN counts as lowest", { x: Float32Array.from([NaN, 2, -Infinity, 0, NaN, NaN, 1, NaN]), ids: index(6) }, { rows: 2, columns: 4, active: 3 }, { special: true })

// causal pooling and clipping ---------------------------------------------------------------------------------------------------------
for (const [batch, tokens, columns] of [[1, 1, 1], [2, 9, 5], [3, 33, 20]] as const) for (const decay of [1, 0.875]) for (const mean of [0, 1]) for (const exclusive of [0, 1]) {
  const params = { count: batch * columns, tokens, columns, decay, mean, exclusive }, length = batch * tokens * columns
  const name = `[${batch}, ${tokens}, ${columns}], decay ${decay}${mean ? ", mean" : ""}${exclusive ? ", exclusive" : ""}`
  add("prefixPool", name, { x: normal(length), out: real(length) }, params, { tolerance: 1e-5 })
  add("prefixPoolGradient", name, { gradient: normal(length), out: real(length) }, params, { tolerance: 1e-5 })
}
for (const maximum of [0, 0.5, 100]) add("clipFactor", `maximum ${maximum}`, { squares: positive(9), out: real(2) }, { count: 9, maximum })

/** What every binding holds afterwards by the plain form, in f64. */
export const expectedOf = (kernelCase: KernelCase): Record<string, Kernel.Reals | Uint32Array> => {
  const buffers = Object.fromEntries(Object.entries(kernelCase.buffers).map(([name, data]) => [name, data instanceof Uint32Array ? data.slice() : Float64Array.from(data)]))
  const kernel = kernels.get(kernelCase.kernel)!
  kernel.run(buffers, Object.fromEntries(Object.keys(kernel.params).map((name) => [name, kernel.params[name] === "f32" ? Math.fround(kernelCase.params[name]!) : kernelCase.params[name]!])))
  return buffers
}

/** What every binding holds after one step on a device: each is uploaded, and read back. */
export const runCase = (arena: Arena, { buffers, kernel: name, params }: KernelCase): Effect.Effect<Record<string, Kernel.Reals | Uint32Array>, Failure> =>
  Effect.gen(function*() {
    const kernel = kernels.get(name)!
    const names = Object.keys(kernel.bindings)
    const tensors = Object.fromEntries(names.map((binding) => [binding, kept([buffers[binding]!.length], { dtype: kernel.bindings[binding].dtype, label: binding })]))
    for (const binding of names) yield* arena.upload(tensors[binding]!, buffers[binding]!)
    yield* arena.submit(Recording.record(() => Recording.step(kernel, tensors, params)))
    const found: Record<string, Kernel.Reals | Uint32Array> = {}
    for (const binding of names) found[binding] = yield* arena.read(tensors[binding]!)
    yield* arena.free(Object.values(tensors))
    return found
  })

/** Where a device disagrees with the plain form: one line for the worst element of each binding. Equal infinities and NaN for NaN agree. */
export const disagreements = (kernelCase: KernelCase, found: Readonly<Record<string, Kernel.Reals | Uint32Array>>): ReadonlyArray<string> =>
  Object.entries(expectedOf(kernelCase)).flatMap(([binding, expected]) => {
    const got = found[binding]
    if (got === undefined || got.length !== expected.length) return [`${binding}: ${got?.length} elements, expected ${expected.length}`]
    let worst = expected instanceof Uint32Array ? 0 : kernelCase.tolerance, at = -1
    expected.forEach((value, i) => {
      const single = Math.fround(value), same = Object.is(got[i], single) || got[i] === single
      const error = same ? 0 : Math.abs(got[i]! - value) / (1 + Math.abs(value))
      if (error > worst || Number.isNaN(error) && at < 0) { worst = Number.isNaN(error) ? Infinity : error; at = i }
    })
    return at < 0 ? [] : [`${kernelCase.kernel} (${kernelCase.name}): ${binding}[${at}] is ${got[at]}, expected ${expected[at]}, tolerance ${kernelCase.tolerance}`]
  })
