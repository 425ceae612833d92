/** Softmax, its causal form, its gradient, and cross-entropy. */
import { exponentialBelow88 } from "./exponential"
import { dotRow, fillRow, firstLanes, largestLane, storeLanes, sumLanes } from "./lanes"

const lowest: f32 = -Infinity

/** The largest of scale · x; NaN when one is NaN. */
// @ts-ignore: decorator
@inline
function largest(x: usize, columns: u32, scale: v128): f32 {
  let top = f32x4.splat(lowest), odd = f32x4.splat(0), c: u32 = 0
  for (; c + 4 <= columns; c += 4) {
    const v = f32x4.mul(scale, v128.load(x + (c << 2)))
    top = f32x4.pmax(top, v)
    odd = v128.or(odd, f32x4.ne(v, v))
  }
  if (c < columns) {
    const v = v128.bitselect(f32x4.mul(scale, v128.load(x + (c << 2))), f32x4.splat(lowest), firstLanes(columns - c))
    top = f32x4.pmax(top, v)
    odd = v128.or(odd, f32x4.ne(v, v))
  }
  return v128.any_true(odd) ? NaN : largestLane(top)
}

/** out = softmax(scale · x) of one row. */
export function softmaxRow(x: usize, out: usize, columns: u32, scale: v128): void {
  const top = f32x4.splat(largest(x, columns, scale))
  let sum = f32x4.splat(0), c: u32 = 0
  for (; c + 4 <= columns; c += 4) {
    const e = exponentialBelow88(f32x4.sub(f32x4.mul(scale, v128.load(x + (c << 2))), top))
    v128.store(out + (c << 2), e)
    sum = f32x4.add(sum, e)
  }
  if (c < columns) {
    const e = exponentialBelow88(f32x4.sub(f32x4.mul(scale, v128.load(x + (c << 2))), top))
    storeLanes(out + (c << 2), e, columns - c)
    sum = f32x4.add(sum, v128.and(e, firstLanes(columns - c)))
  }
  const factor = f32x4.splat(1 / sumLanes(sum))
  for (c = 0; c + 4 <= columns; c += 4) v128.store(out + (c << 2), f32x4.mul(v128.load(out + (c << 2)), factor))
  if (c < columns) storeLanes(out + (c << 2), f32x4.mul(v128.load(out + (c << 2)), factor), columns - c)
}

export function softmax(x: usize, out: usize, rows: u32, columns: u32, scale: f32): void {
  const s = f32x4.splat(scale)
  for (let row: u32 = 0; row < rows; row++) softmaxRow(x + ((row * columns) << 2), out + ((row * columns) << 2), columns, s)
}

export function causalSoftmax(x: usize, out: usize, rows: u32, columns: u32, queries: u32, offset: u32, window: u32, scale: f32): void {
  const s = f32x4.splat(scale)
  for (let row: u32 = 0; row < rows; row++) {
    const at = (row * columns) << 2, end = min(columns, row % queries + offset + 1), begin = window == 0 || end < window ? 0 : end - window
    softmaxRow(x + at + (begin << 2), out + at + (begin << 2), end - begin, s)
    fillRow(out + at, 0, begin)
    fillRow(out + at + (end << 2), 0, columns - end)
  }
}

export function softmaxGradient(probability: usize, gradient: usize, out: usize, rows: u32, columns: u32, scale: f32): void {
  const s = f32x4.splat(scale)
  for (let row: u32 = 0; row < rows; row++) {
    const p = probability + ((row * columns) << 2), g = gradient + ((row * columns) << 2), to = out + ((row * columns) << 2), dot = f32x4.splat(dotRow(p, g, columns))
    let c: u32 = 0
    for (; c + 4 <= columns; c += 4) v128.store(to + (c << 2), f32x4.mul(f32x4.mul(s, v128.load(p + (c << 2))), f32x4.sub(v128.load(g + (c << 2)), dot)))
    if (c < columns) storeLanes(to + (c << 2), f32x4.mul(f32x4.mul(s, v128.load(p + (c << 2))), f32x4.sub(v128.load(g + (c << 2)), dot)), columns - c)
  }
}

const leftOut: u32 = 0xffffffff
/** So many columns are summed in f32 before the sum goes on in f64: over a whole vocabulary what each small term adds to a large sum is rounded away. */
const block: u32 = 512

/** Σ e^(x − top) of one row. */
function sumExponentials(x: usize, columns: u32, top: v128): f64 {
  let total: f64 = 0
  for (let from: u32 = 0; from < columns; from += block) {
    const end = min(columns, from + block)
    let sum = f32x4.splat(0), c = from
    for (; c + 4 <= end; c += 4) sum = f32x4.add(sum, exponentialBelow88(f32x4.sub(v128.load(x + (c << 2)), top)))
    if (c < end) sum = f32x4.add(sum, v128.and(exponentialBelow88(f32x4.sub(v128.load(x + (c << 2)), top)), firstLanes(end - c)))
    total += <f64>sumLanes(sum)
  }
  return total
}

export function crossEntropy(logits: usize, targets: usize, loss: usize, logNormalizer: usize, rows: u32, columns: u32): void {
  const one = f32x4.splat(1)
  for (let row: u32 = 0; row < rows; row++) {
    const x = logits + ((row * columns) << 2), highest = largest(x, columns, one)
    const normalizer = <f64>highest + Math.log(sumExponentials(x, columns, f32x4.splat(highest))), target = load<u32>(targets + (row << 2))
    store<f32>(logNormalizer + (row << 2), <f32>normalizer)
    store<f32>(loss + (row << 2), target == leftOut ? 0 : <f32>(normalizer - <f64>load<f32>(x + (target << 2))))
  }
}

export function crossEntropyGradient(logits: usize, targets: usize, logNormalizer: usize, gradient: usize, out: usize, rows: u32, columns: u32): void {
  for (let row: u32 = 0; row < rows; row++) {
    const at = (row * columns) << 2, target = load<u32>(targets + (row << 2))
    if (target == leftOut) {
      memory.fill(out + at, 0, columns << 2)
      continue
    }
    const scale = load<f32>(gradient + (row << 2)), s = f32x4.splat(scale), n = v128.load32_splat(logNormalizer + (row << 2))
    let c: u32 = 0
    for (; c + 4 <= columns; c += 4) v128.store(out + at + (c << 2), f32x4.mul(s, exponentialBelow88(f32x4.sub(v128.load(logits + at + (c << 2)), n))))
    if (c < columns) storeLanes(out + at + (c << 2), f32x4.mul(s, exponentialBelow88(f32x4.sub(v128.load(logits + at + (c << 2)), n))), columns - c)
    const to = out + at + (target << 2)
    store<f32>(to, load<f32>(to) - scale)
  }
}
