/** Attention of a few rows to a cache: a key that a row does not see is neither read nor multiplied. */
import { copyRow, dotRow, fillRow } from "./lanes"
import { softmaxRow } from "./softmax"

const leftOut: u32 = 0xffffffff

/** One past the last key that a row at this place sees, and the first. */
// @ts-ignore: decorator
@inline
function endOf(place: u32, columns: u32): u32 {
  return place < columns ? place + 1 : 0
}
// @ts-ignore: decorator
@inline
function beginOf(end: u32, window: u32): u32 {
  return window == 0 || end < window ? 0 : end - window
}

export function cacheRows(x: usize, places: usize, cache: usize, count: u32, columns: u32, tokens: u32, capacity: u32): void {
  const rows = count / columns
  for (let row: u32 = 0; row < rows; row++) {
    const place = load<u32>(places + (row << 2))
    if (place < capacity) copyRow(x + ((row * columns) << 2), cache + (((row / tokens * capacity + place) * columns) << 2), columns)
  }
}

export function cachedScores(q: usize, keys: usize, places: usize, out: usize, count: u32, tokens: u32, heads: u32, keyValueHeads: u32, headSize: u32, capacity: u32, columns: u32, window: u32, scale: f32): void {
  const rows = count / (heads * columns), group = heads / keyValueHeads, width = (keyValueHeads * headSize) << 2
  for (let row: u32 = 0; row < rows; row++) {
    const end = endOf(load<u32>(places + (row << 2)), columns), begin = beginOf(end, window), own = keys + (row / tokens * capacity) * width
    for (let head: u32 = 0; head < heads; head++) {
      const x = q + (((row * heads + head) * headSize) << 2), y = own + ((head / group * headSize) << 2), to = out + (((row * heads + head) * columns) << 2)
      fillRow(to, 0, begin)
      for (let key = begin; key < end; key++) store<f32>(to + (key << 2), scale * dotRow(x, y + key * width, headSize))
      fillRow(to + (end << 2), 0, columns - end)
    }
  }
}

export function cachedSoftmax(x: usize, places: usize, out: usize, rows: u32, columns: u32, heads: u32, window: u32): void {
  const one = f32x4.splat(1)
  for (let row: u32 = 0; row < rows; row++) {
    const end = endOf(load<u32>(places + ((row / heads) << 2)), columns), begin = beginOf(end, window), at = (row * columns) << 2
    if (end > begin) softmaxRow(x + at + (begin << 2), out + at + (begin << 2), end - begin, one)
    fillRow(out + at, 0, begin)
    fillRow(out + at + (end << 2), 0, columns - end)
  }
}

export function cachedHeads(cache: usize, places: usize, out: usize, count: u32, tokens: u32, heads: u32, headSize: u32, capacity: u32, columns: u32, window: u32): void {
  const batch = count / (heads * columns * headSize), width = (heads * headSize) << 2
  for (let entry: u32 = 0; entry < batch; entry++) {
    const first = load<u32>(places + ((entry * tokens) << 2))
    let held: u32 = 0, shift: u32 = 0 // keys that the entry holds, and its first column's
    if (first < capacity) {
      held = first
      while (held < min(capacity, first + tokens) && load<u32>(places + ((entry * tokens + held - first) << 2)) == held) held++
      if (window != 0 && first + 1 > window) shift = first + 1 - window
    }
    const filled = min(columns, held - min(held, shift))
    for (let head: u32 = 0; head < heads; head++) {
      const to = out + (((entry * heads + head) * columns * headSize) << 2)
      let from = cache + (entry * capacity + shift) * width + ((head * headSize) << 2)
      for (let c: u32 = 0; c < filled; c++, from += width) copyRow(from, to + ((c * headSize) << 2), headSize)
      fillRow(to + ((filled * headSize) << 2), 0, (columns - filled) * headSize)
    }
  }
}

export function placedSoftmax(x: usize, places: usize, out: usize, rows: u32, columns: u32, batch: u32, tokens: u32, heads: u32, window: u32, scale: f32): void {
  const s = f32x4.splat(scale)
  for (let row: u32 = 0; row < rows; row++) {
    const entry = places + ((row / (tokens * heads) % batch * tokens) << 2), place = load<u32>(entry + ((row % tokens) << 2)), at = (row * columns) << 2
    let end: u32 = 0
    if (place != leftOut) {
      const first = load<u32>(entry), shift: u32 = window != 0 && first + 1 > window ? first + 1 - window : 0
      end = min(columns, place + 1 - shift)
    }
    const begin = beginOf(end, window)
    if (end > begin) softmaxRow(x + at + (begin << 2), out + at + (begin << 2), end - begin, s)
    fillRow(out + at, 0, begin)
    fillRow(out + at + (end << 2), 0, columns - end)
  }
}

export function cachedMix(weights: usize, values: usize, places: usize, out: usize, count: u32, tokens: u32, heads: u32, keyValueHeads: u32, headSize: u32, capacity: u32, columns: u32, window: u32): void {
  const rows = count / (heads * headSize), group = heads / keyValueHeads, width = (keyValueHeads * headSize) << 2, vectors = headSize & ~3
  for (let row: u32 = 0; row < rows; row++) {
    const end = endOf(load<u32>(places + (row << 2)), columns), begin = beginOf(end, window), own = values + (row / tokens * capacity) * width
    for (let head: u32 = 0; head < heads; head++) {
      const w = weights + (((row * heads + head) * columns) << 2), y = own + ((head / group * headSize) << 2), to = out + (((row * heads + head) * headSize) << 2)
      let d: u32 = 0
      for (; d + 16 <= vectors; d += 16) {
        let a = f32x4.splat(0), b = a, c = a, e = a
        for (let key = begin; key < end; key++) {
          const weight = v128.load32_splat(w + (key << 2)), from = y + key * width + (d << 2)
          a = f32x4.add(a, f32x4.mul(weight, v128.load(from)))
          b = f32x4.add(b, f32x4.mul(weight, v128.load(from, 16)))
          c = f32x4.add(c, f32x4.mul(weight, v128.load(from, 32)))
          e = f32x4.add(e, f32x4.mul(weight, v128.load(from, 48)))
        }
        v128.store(to + (d << 2), a)
        v128.store(to + (d << 2), b, 16)
        v128.store(to + (d << 2), c, 32)
        v128.store(to + (d << 2), e, 48)
      }
      for (; d < vectors; d += 4) {
        let a = f32x4.splat(0)
        for (let key = begin; key < end; key++) a = f32x4.add(a, f32x4.mul(v128.load32_splat(w + (key << 2)), v128.load(y + key * width + (d << 2))))
        v128.store(to + (d << 2), a)
      }
      for (; d < headSize; d++) {
        let a: f32 = 0
        for (let key = begin; key < end; key++) a += load<f32>(w + (key << 2)) * load<f32>(y + key * width + (d << 2))
        store<f32>(to + (d << 2), a)
      }
    }
  }
}

export function cachedPool(x: usize, places: usize, state: usize, out: usize, count: u32, tokens: u32, columns: u32, decay: f32, mean: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const entry = i / columns
    let sum = load<f32>(state + (i << 2)), weight = load<f32>(state + ((count + i) << 2))
    for (let t: u32 = 0; t < tokens; t++) {
      const place = load<u32>(places + ((entry * tokens + t) << 2)), at = ((entry * tokens + t) * columns + i % columns) << 2
      if (place == leftOut) {
        store<f32>(out + at, 0)
        continue
      }
      if (place == 0) {
        sum = 0
        weight = 0
      }
      sum = decay * sum + load<f32>(x + at)
      weight = decay * weight + 1
      store<f32>(out + at, mean ? sum / weight : sum)
    }
    store<f32>(state + (i << 2), sum)
    store<f32>(state + ((count + i) << 2), weight)
  }
}
