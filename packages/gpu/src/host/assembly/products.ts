/**
 * Matrix products without a library: for products too small to be worth a call into ONNX Runtime, and for machines without it.
 * Four rows by eight columns are held in registers.
 */
import { sumLanes, storeLanes } from "./lanes"

// @ts-ignore: decorator
@inline
function finish(at: usize, sum: v128, alpha: v128, accumulate: u32, lanes: u32): void {
  let value = f32x4.mul(alpha, sum)
  if (accumulate) value = f32x4.add(value, v128.load(at))
  if (lanes >= 4) v128.store(at, value)
  else storeLanes(at, value, lanes)
}

/** out [rows, columns] = alpha · a · b, where a's element (row, k) lies at row · rowStep + k · innerStep bytes, and rows of b and out are `width` bytes apart. */
export function product(a: usize, rowStep: u32, innerStep: u32, b: usize, width: u32, out: usize, rows: u32, columns: u32, inner: u32, scale: f32, accumulate: u32): void {
  const alpha = f32x4.splat(scale)
  let row: u32 = 0
  for (; row + 4 <= rows; row += 4) {
    let c: u32 = 0
    for (; c + 8 <= columns; c += 8) {
      let s00 = f32x4.splat(0), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00, s30 = s00, s31 = s00
      let from = a + row * rowStep, at = b + (c << 2)
      for (let k: u32 = 0; k < inner; k++, from += innerStep, at += width) {
        const b0 = v128.load(at), b1 = v128.load(at, 16)
        let x = v128.load32_splat(from)
        s00 = f32x4.add(s00, f32x4.mul(x, b0))
        s01 = f32x4.add(s01, f32x4.mul(x, b1))
        x = v128.load32_splat(from + rowStep)
        s10 = f32x4.add(s10, f32x4.mul(x, b0))
        s11 = f32x4.add(s11, f32x4.mul(x, b1))
        x = v128.load32_splat(from + 2 * rowStep)
        s20 = f32x4.add(s20, f32x4.mul(x, b0))
        s21 = f32x4.add(s21, f32x4.mul(x, b1))
        x = v128.load32_splat(from + 3 * rowStep)
        s30 = f32x4.add(s30, f32x4.mul(x, b0))
        s31 = f32x4.add(s31, f32x4.mul(x, b1))
      }
      const to = out + row * width + (c << 2)
      finish(to, s00, alpha, accumulate, 4)
      finish(to + 16, s01, alpha, accumulate, 4)
      finish(to + width, s10, alpha, accumulate, 4)
      finish(to + width + 16, s11, alpha, accumulate, 4)
      finish(to + 2 * width, s20, alpha, accumulate, 4)
      finish(to + 2 * width + 16, s21, alpha, accumulate, 4)
      finish(to + 3 * width, s30, alpha, accumulate, 4)
      finish(to + 3 * width + 16, s31, alpha, accumulate, 4)
    }
    for (; c < columns; c += 4) {
      let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0
      let from = a + row * rowStep, at = b + (c << 2)
      for (let k: u32 = 0; k < inner; k++, from += innerStep, at += width) {
        const b0 = v128.load(at)
        s0 = f32x4.add(s0, f32x4.mul(v128.load32_splat(from), b0))
        s1 = f32x4.add(s1, f32x4.mul(v128.load32_splat(from + rowStep), b0))
        s2 = f32x4.add(s2, f32x4.mul(v128.load32_splat(from + 2 * rowStep), b0))
        s3 = f32x4.add(s3, f32x4.mul(v128.load32_splat(from + 3 * rowStep), b0))
      }
      const to = out + row * width + (c << 2), lanes = columns - c
      finish(to, s0, alpha, accumulate, lanes)
      finish(to + width, s1, alpha, accumulate, lanes)
      finish(to + 2 * width, s2, alpha, accumulate, lanes)
      finish(to + 3 * width, s3, alpha, accumulate, lanes)
    }
  }
  for (; row < rows; row++) for (let c: u32 = 0; c < columns; c += 4) {
    let sum = f32x4.splat(0), from = a + row * rowStep, at = b + (c << 2)
    for (let k: u32 = 0; k < inner; k++, from += innerStep, at += width) sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(from), v128.load(at)))
    finish(out + row * width + (c << 2), sum, alpha, accumulate, columns - c)
  }
}

/**
 * out [rows, columns] = alpha · aᵀ · b, a [inner, rows]. Sixteen rows of out read one cache line of each row of a; 64 of those at a time
 * stay in the first-level cache while they are gone through four by four.
 */
export function productOfTransposed(a: usize, b: usize, out: usize, rows: u32, columns: u32, inner: u32, alpha: f32, accumulate: u32): void {
  const long = rows << 2, width = columns << 2
  for (let line: u32 = 0; line < rows; line += 16) {
    const end = min(line + 16, rows)
    let from: u32 = 0
    do { // once even when inner is 0, so that out is written
      for (let row = line; row < end; row += 4) {
        product(a + from * long + (row << 2), 4, long, b + from * width, width, out + row * width, min(4, end - row), columns, min(64, inner - from), alpha, accumulate | <u32>(from > 0))
      }
      from += 64
    } while (from < inner)
  }
}

// @ts-ignore: decorator
@inline
function finishOne(at: usize, sum: v128, rest: f32, alpha: f32, accumulate: u32): void {
  store<f32>(at, alpha * (sumLanes(sum) + rest) + (accumulate ? load<f32>(at) : 0))
}

/** out [rows, columns] = alpha · a · bᵀ: both run along their rows. */
function productTransposed(a: usize, b: usize, out: usize, rows: u32, columns: u32, inner: u32, alpha: f32, accumulate: u32): void {
  const long = inner << 2, width = columns << 2, vectors = inner & ~3
  let row: u32 = 0
  for (; row + 4 <= rows; row += 4) {
    let c: u32 = 0
    for (; c + 2 <= columns; c += 2) {
      let s00 = f32x4.splat(0), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00, s30 = s00, s31 = s00
      let r00: f32 = 0, r01: f32 = 0, r10: f32 = 0, r11: f32 = 0, r20: f32 = 0, r21: f32 = 0, r30: f32 = 0, r31: f32 = 0
      let x = a + row * long, y = b + c * long, k: u32 = 0
      for (; k < vectors; k += 4, x += 16, y += 16) {
        const b0 = v128.load(y), b1 = v128.load(y + long)
        let v = v128.load(x)
        s00 = f32x4.add(s00, f32x4.mul(v, b0))
        s01 = f32x4.add(s01, f32x4.mul(v, b1))
        v = v128.load(x + long)
        s10 = f32x4.add(s10, f32x4.mul(v, b0))
        s11 = f32x4.add(s11, f32x4.mul(v, b1))
        v = v128.load(x + 2 * long)
        s20 = f32x4.add(s20, f32x4.mul(v, b0))
        s21 = f32x4.add(s21, f32x4.mul(v, b1))
        v = v128.load(x + 3 * long)
        s30 = f32x4.add(s30, f32x4.mul(v, b0))
        s31 = f32x4.add(s31, f32x4.mul(v, b1))
      }
      for (; k < inner; k++, x += 4, y += 4) {
        const b0 = load<f32>(y), b1 = load<f32>(y + long)
        r00 += load<f32>(x) * b0
        r01 += load<f32>(x) * b1
        r10 += load<f32>(x + long) * b0
        r11 += load<f32>(x + long) * b1
        r20 += load<f32>(x + 2 * long) * b0
        r21 += load<f32>(x + 2 * long) * b1
        r30 += load<f32>(x + 3 * long) * b0
        r31 += load<f32>(x + 3 * long) * b1
      }
      const to = out + row * width + (c << 2)
      finishOne(to, s00, r00, alpha, accumulate)
      finishOne(to + 4, s01, r01, alpha, accumulate)
      finishOne(to + width, s10, r10, alpha, accumulate)
      finishOne(to + width + 4, s11, r11, alpha, accumulate)
      finishOne(to + 2 * width, s20, r20, alpha, accumulate)
      finishOne(to + 2 * width + 4, s21, r21, alpha, accumulate)
      finishOne(to + 3 * width, s30, r30, alpha, accumulate)
      finishOne(to + 3 * width + 4, s31, r31, alpha, accumulate)
    }
    for (; c < columns; c++) for (let i: u32 = 0; i < 4; i++) dot(a + (row + i) * long, b + c * long, out + (row + i) * width + (c << 2), inner, alpha, accumulate)
  }
  for (; row + 2 <= rows; row += 2) dotsOfTwo(a + row * long, b, out + row * width, columns, inner, alpha, accumulate)
  for (; row < rows; row++) dots(a + row * long, b, out + row * width, columns, inner, alpha, accumulate)
}

/** Two rows of out, as `dots` does one: b is read once for both. */
function dotsOfTwo(x: usize, b: usize, out: usize, columns: u32, inner: u32, alpha: f32, accumulate: u32): void {
  const long = inner << 2, vectors = inner & ~3, next = out + (columns << 2)
  let c: u32 = 0
  for (; c + 4 <= columns; c += 4) {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0
    let r0: f32 = 0, r1: f32 = 0, r2: f32 = 0, r3: f32 = 0, q0: f32 = 0, q1: f32 = 0, q2: f32 = 0, q3: f32 = 0
    let y0 = b + c * long, y1 = y0 + long, y2 = y1 + long, y3 = y2 + long, k: u32 = 0
    for (; k < vectors; k += 4) {
      const at: usize = k << 2, v = v128.load(x + at), w = v128.load(x + long + at)
      let y = v128.load(y0 + at)
      s0 = f32x4.add(s0, f32x4.mul(v, y))
      t0 = f32x4.add(t0, f32x4.mul(w, y))
      y = v128.load(y1 + at)
      s1 = f32x4.add(s1, f32x4.mul(v, y))
      t1 = f32x4.add(t1, f32x4.mul(w, y))
      y = v128.load(y2 + at)
      s2 = f32x4.add(s2, f32x4.mul(v, y))
      t2 = f32x4.add(t2, f32x4.mul(w, y))
      y = v128.load(y3 + at)
      s3 = f32x4.add(s3, f32x4.mul(v, y))
      t3 = f32x4.add(t3, f32x4.mul(w, y))
    }
    for (; k < inner; k++) {
      const at: usize = k << 2, v = load<f32>(x + at), w = load<f32>(x + long + at)
      r0 += v * load<f32>(y0 + at)
      r1 += v * load<f32>(y1 + at)
      r2 += v * load<f32>(y2 + at)
      r3 += v * load<f32>(y3 + at)
      q0 += w * load<f32>(y0 + at)
      q1 += w * load<f32>(y1 + at)
      q2 += w * load<f32>(y2 + at)
      q3 += w * load<f32>(y3 + at)
    }
    const to = out + (c << 2), below = next + (c << 2)
    finishOne(to, s0, r0, alpha, accumulate)
    finishOne(to + 4, s1, r1, alpha, accumulate)
    finishOne(to + 8, s2, r2, alpha, accumulate)
    finishOne(to + 12, s3, r3, alpha, accumulate)
    finishOne(below, t0, q0, alpha, accumulate)
    finishOne(below + 4, t1, q1, alpha, accumulate)
    finishOne(below + 8, t2, q2, alpha, accumulate)
    finishOne(below + 12, t3, q3, alpha, accumulate)
  }
  for (; c < columns; c++) {
    dot(x, b + c * long, out + (c << 2), inner, alpha, accumulate)
    dot(x + long, b + c * long, next + (c << 2), inner, alpha, accumulate)
  }
}

/** One row of out: four rows of b at a time, each summed as `dot` does it, so that a row's bits do not depend on how many there are. */
function dots(x: usize, b: usize, out: usize, columns: u32, inner: u32, alpha: f32, accumulate: u32): void {
  const long = inner << 2, vectors = inner & ~3
  let c: u32 = 0
  for (; c + 4 <= columns; c += 4) {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0
    let r0: f32 = 0, r1: f32 = 0, r2: f32 = 0, r3: f32 = 0
    let y0 = b + c * long, y1 = y0 + long, y2 = y1 + long, y3 = y2 + long, k: u32 = 0
    for (; k < vectors; k += 4) {
      const v = v128.load(x + (k << 2)), at: usize = k << 2
      s0 = f32x4.add(s0, f32x4.mul(v, v128.load(y0 + at)))
      s1 = f32x4.add(s1, f32x4.mul(v, v128.load(y1 + at)))
      s2 = f32x4.add(s2, f32x4.mul(v, v128.load(y2 + at)))
      s3 = f32x4.add(s3, f32x4.mul(v, v128.load(y3 + at)))
    }
    for (; k < inner; k++) {
      const v = load<f32>(x + (k << 2)), at: usize = k << 2
      r0 += v * load<f32>(y0 + at)
      r1 += v * load<f32>(y1 + at)
      r2 += v * load<f32>(y2 + at)
      r3 += v * load<f32>(y3 + at)
    }
    const to = out + (c << 2)
    finishOne(to, s0, r0, alpha, accumulate)
    finishOne(to + 4, s1, r1, alpha, accumulate)
    finishOne(to + 8, s2, r2, alpha, accumulate)
    finishOne(to + 12, s3, r3, alpha, accumulate)
  }
  for (; c < columns; c++) dot(x, b + c * long, out + (c << 2), inner, alpha, accumulate)
}

function dot(x: usize, y: usize, out: usize, inner: u32, alpha: f32, accumulate: u32): void {
  let sum = f32x4.splat(0), rest: f32 = 0, k: u32 = 0
  for (; k + 4 <= inner; k += 4, x += 16, y += 16) sum = f32x4.add(sum, f32x4.mul(v128.load(x), v128.load(y)))
  for (; k < inner; k++, x += 4, y += 4) rest += load<f32>(x) * load<f32>(y)
  finishOne(out, sum, rest, alpha, accumulate)
}

export function matmulNN(a: usize, b: usize, out: usize, batch: u32, rows: u32, columns: u32, inner: u32, strideA: u32, strideB: u32, alpha: f32, accumulate: u32): void {
  for (let i: u32 = 0; i < batch; i++) product(a + ((i * strideA) << 2), inner << 2, 4, b + ((i * strideB) << 2), columns << 2, out + ((i * rows * columns) << 2), rows, columns, inner, alpha, accumulate)
}

export function matmulTN(a: usize, b: usize, out: usize, batch: u32, rows: u32, columns: u32, inner: u32, strideA: u32, strideB: u32, alpha: f32, accumulate: u32): void {
  for (let i: u32 = 0; i < batch; i++) productOfTransposed(a + ((i * strideA) << 2), b + ((i * strideB) << 2), out + ((i * rows * columns) << 2), rows, columns, inner, alpha, accumulate)
}

export function matmulNT(a: usize, b: usize, out: usize, batch: u32, rows: u32, columns: u32, inner: u32, strideA: u32, strideB: u32, alpha: f32, accumulate: u32): void {
  for (let i: u32 = 0; i < batch; i++) productTransposed(a + ((i * strideA) << 2), b + ((i * strideB) << 2), out + ((i * rows * columns) << 2), rows, columns, inner, alpha, accumulate)
}

export function groupedMatmulNT(x: usize, weight: usize, offsets: usize, out: usize, rows: u32, columns: u32, inner: u32, groups: u32, alpha: f32): void {
  for (let group: u32 = 0; group < groups; group++) {
    const begin = load<u32>(offsets + (group << 2)), count = load<u32>(offsets + (group << 2), 4) - begin
    productTransposed(x + ((begin * inner) << 2), weight + ((group * columns * inner) << 2), out + ((begin * columns) << 2), count, columns, inner, alpha, 0)
  }
}

export function groupedMatmulNN(x: usize, weight: usize, offsets: usize, out: usize, rows: u32, columns: u32, inner: u32, groups: u32, alpha: f32): void {
  for (let group: u32 = 0; group < groups; group++) {
    const begin = load<u32>(offsets + (group << 2)), count = load<u32>(offsets + (group << 2), 4) - begin
    product(x + ((begin * inner) << 2), inner << 2, 4, weight + ((group * columns * inner) << 2), columns << 2, out + ((begin * columns) << 2), count, columns, inner, alpha, 0)
  }
}

export function groupedMatmulTN(a: usize, b: usize, offsets: usize, out: usize, total: u32, rows: u32, columns: u32, groups: u32, alpha: f32): void {
  for (let group: u32 = 0; group < groups; group++) {
    const begin = load<u32>(offsets + (group << 2)), count = load<u32>(offsets + (group << 2), 4) - begin
    productOfTransposed(a + ((begin * rows) << 2), b + ((begin * columns) << 2), out + ((group * rows * columns) << 2), rows, columns, count, alpha, 0)
  }
}
