/** Kernels over rows: scaling, sums, normalisation. */
import { copyRow, dotRow, firstLanes, storeLanes, sumLanes, sumRow } from "./lanes"

// @ts-ignore: decorator
@inline
function put(at: usize, value: v128, c: u32, columns: u32): void {
  if (c + 4 <= columns) v128.store(at + (c << 2), value)
  else storeLanes(at + (c << 2), value, columns - c)
}

export function addRow(x: usize, bias: usize, out: usize, count: u32, columns: u32): void {
  for (let row: u32 = 0; row < count; row += columns) for (let c: u32 = 0; c < columns; c += 4) {
    put(out + (row << 2), f32x4.add(v128.load(x + ((row + c) << 2)), v128.load(bias + (c << 2))), c, columns)
  }
}

export function scaleRows(x: usize, scale: usize, out: usize, count: u32, columns: u32): void {
  for (let row: u32 = 0; row < count; row += columns, scale += 4) {
    const s = v128.load32_splat(scale)
    for (let c: u32 = 0; c < columns; c += 4) put(out + (row << 2), f32x4.mul(v128.load(x + ((row + c) << 2)), s), c, columns)
  }
}

export function divideRows(x: usize, divisor: usize, out: usize, count: u32, columns: u32): void {
  for (let row: u32 = 0; row < count; row += columns, divisor += 4) {
    const s = v128.load32_splat(divisor)
    for (let c: u32 = 0; c < columns; c += 4) put(out + (row << 2), f32x4.div(v128.load(x + ((row + c) << 2)), s), c, columns)
  }
}

export function sumColumns(x: usize, out: usize, rows: u32, columns: u32, scale: f32): void {
  for (let row: u32 = 0; row < rows; row++) store<f32>(out + (row << 2), scale * sumRow(x + ((row * columns) << 2), columns))
}

export function dotRows(a: usize, b: usize, out: usize, rows: u32, columns: u32): void {
  for (let row: u32 = 0; row < rows; row++) store<f32>(out + (row << 2), dotRow(a + ((row * columns) << 2), b + ((row * columns) << 2), columns))
}

/** Sums down the rows are taken in blocks of this many, so that their rounding grows with the number of blocks. */
const block: u32 = 64

export function sumRows(x: usize, out: usize, rows: u32, columns: u32, scale: f32): void {
  const width = columns << 2, s = f32x4.splat(scale)
  for (let c: u32 = 0; c < columns; c += 4) {
    let sum = f32x4.splat(0)
    for (let begin: u32 = 0; begin < rows; begin += block) {
      const end = min(rows, begin + block)
      let part = f32x4.splat(0), at = x + begin * width + (c << 2)
      for (let row = begin; row < end; row++, at += width) part = f32x4.add(part, v128.load(at))
      sum = f32x4.add(sum, part)
    }
    put(out, f32x4.mul(s, sum), c, columns)
  }
}

export function sumSquares(x: usize, out: usize, count: u32, at: u32, chunk: u32): void {
  for (let from: u32 = 0; from < count; from += chunk, at++) {
    const end = min(from + chunk, count)
    let sum: f64 = 0
    for (let i: u32 = from; i < end; i += 1024) sum += <f64>dotRow(x + (i << 2), x + (i << 2), min(1024, end - i))
    store<f32>(out + (at << 2), <f32>sum)
  }
}

export function rmsNorm(x: usize, gain: usize, out: usize, inverse: usize, rows: u32, columns: u32, epsilon: f32): void {
  for (let row: u32 = 0; row < rows; row++) {
    const at = (row * columns) << 2, scale: f32 = 1 / sqrt(dotRow(x + at, x + at, columns) / <f32>columns + epsilon), s = f32x4.splat(scale)
    store<f32>(inverse + (row << 2), scale)
    for (let c: u32 = 0; c < columns; c += 4) put(out + at, f32x4.mul(f32x4.mul(v128.load(x + at + (c << 2)), s), v128.load(gain + (c << 2))), c, columns)
  }
}

export function rmsNormGradient(x: usize, gain: usize, inverse: usize, gradient: usize, out: usize, rows: u32, columns: u32): void {
  for (let row: u32 = 0; row < rows; row++) {
    const at = (row * columns) << 2, scale = load<f32>(inverse + (row << 2)), s = f32x4.splat(scale)
    let sum = f32x4.splat(0), c: u32 = 0
    for (; c + 4 <= columns; c += 4) sum = f32x4.add(sum, f32x4.mul(f32x4.mul(v128.load(gradient + at + (c << 2)), v128.load(gain + (c << 2))), v128.load(x + at + (c << 2))))
    if (c < columns) sum = f32x4.add(sum, v128.and(f32x4.mul(f32x4.mul(v128.load(gradient + at + (c << 2)), v128.load(gain + (c << 2))), v128.load(x + at + (c << 2))), firstLanes(columns - c)))
    const dot = f32x4.splat(sumLanes(sum) * scale * scale / <f32>columns)
    for (c = 0; c < columns; c += 4) {
      const g = f32x4.mul(v128.load(gradient + at + (c << 2)), v128.load(gain + (c << 2)))
      put(out + at, f32x4.mul(s, f32x4.sub(g, f32x4.mul(v128.load(x + at + (c << 2)), dot))), c, columns)
    }
  }
}

export function rmsNormGainGradient(x: usize, inverse: usize, gradient: usize, out: usize, rows: u32, columns: u32): void {
  const width = columns << 2
  for (let c: u32 = 0; c < columns; c += 4) {
    let sum = f32x4.splat(0)
    for (let begin: u32 = 0; begin < rows; begin += block) {
      const end = min(rows, begin + block)
      let part = f32x4.splat(0), at = begin * width + (c << 2)
      for (let row = begin; row < end; row++, at += width) part = f32x4.add(part, f32x4.mul(f32x4.mul(v128.load(gradient + at), v128.load(x + at)), v128.load32_splat(inverse + (row << 2))))
      sum = f32x4.add(sum, part)
    }
    put(out, sum, c, columns)
  }
}

const leftOut: u32 = 0xffffffff

export function gather(table: usize, ids: usize, out: usize, count: u32, columns: u32, divisor: u32): void {
  for (let row: u32 = 0; row < count; row += columns, ids += 4) {
    const id = load<u32>(ids)
    if (id == leftOut) memory.fill(out + (row << 2), 0, columns << 2)
    else copyRow(table + ((id / divisor * columns) << 2), out + (row << 2), columns)
  }
}

export function gatherScaled(table: usize, ids: usize, scale: usize, out: usize, count: u32, columns: u32, divisor: u32): void {
  for (let row: u32 = 0; row < count; row += columns, ids += 4) {
    const id = load<u32>(ids), s = v128.load32_splat(scale + (id << 2)), from = table + ((id / divisor * columns) << 2)
    for (let c: u32 = 0; c < columns; c += 4) put(out + (row << 2), f32x4.mul(s, v128.load(from + (c << 2))), c, columns)
  }
}

export function combine(y: usize, places: usize, weights: usize, out: usize, count: u32, columns: u32, active: u32, weighted: u32): void {
  for (let row: u32 = 0; row < count; row += columns, places += active << 2, weights += active << 2) for (let c: u32 = 0; c < columns; c += 4) {
    let sum = f32x4.splat(0)
    for (let rank: u32 = 0; rank < active; rank++) {
      const part = v128.load(y + ((load<u32>(places + (rank << 2)) * columns + c) << 2))
      sum = f32x4.add(sum, weighted ? f32x4.mul(v128.load32_splat(weights + (rank << 2)), part) : part)
    }
    put(out + (row << 2), sum, c, columns)
  }
}

export function combineWeightGradient(y: usize, places: usize, gradient: usize, out: usize, rows: u32, columns: u32, active: u32): void {
  for (let slot: u32 = 0; slot < rows; slot++) {
    store<f32>(out + (slot << 2), dotRow(gradient + ((slot / active * columns) << 2), y + ((load<u32>(places + (slot << 2)) * columns) << 2), columns))
  }
}

export function segmentSum(x: usize, order: usize, offsets: usize, out: usize, bins: u32, columns: u32, rows: u32): void {
  for (let bin: u32 = 0; bin < bins; bin++) {
    const begin = load<u32>(offsets + (bin << 2)), end = load<u32>(offsets + (bin << 2), 4)
    let c: u32 = 0
    for (; c + 16 <= columns; c += 16) { // sixteen columns at a time stay in registers
      let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0
      for (let i = begin; i < end; i++) {
        const at = x + ((load<u32>(order + (i << 2)) * columns + c) << 2)
        s0 = f32x4.add(s0, v128.load(at))
        s1 = f32x4.add(s1, v128.load(at, 16))
        s2 = f32x4.add(s2, v128.load(at, 32))
        s3 = f32x4.add(s3, v128.load(at, 48))
      }
      const to = out + ((bin * columns + c) << 2)
      v128.store(to, s0)
      v128.store(to, s1, 16)
      v128.store(to, s2, 32)
      v128.store(to, s3, 48)
    }
    for (; c < columns; c += 4) {
      let sum = f32x4.splat(0)
      for (let i = begin; i < end; i++) sum = f32x4.add(sum, v128.load(x + ((load<u32>(order + (i << 2)) * columns + c) << 2)))
      put(out + ((bin * columns) << 2), sum, c, columns)
    }
  }
}
