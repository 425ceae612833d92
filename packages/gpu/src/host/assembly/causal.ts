/**
 * Products with squares that are zero above the diagonal, such as attention's weights: `queries` rows make a square of as many columns, and
 * the position of a row is its place in the square. Rows are taken four at a time, columns up to the last that one of them sees.
 */
import { dotRow, fillRow, storeLanes } from "./lanes"
import { product } from "./products"

/** out = alpha · a · bᵀ below the diagonal; above it out is left as it was. `transposed` holds one bᵀ [inner, columns]. */
export function matmulNTCausal(a: usize, b: usize, out: usize, batch: u32, rows: u32, columns: u32, inner: u32, strideA: u32, strideB: u32, alpha: f32, accumulate: u32, queries: u32, transposed: usize): void {
  const long = inner << 2, width = columns << 2
  for (let i: u32 = 0; i < batch; i++, a += strideA << 2, b += strideB << 2, out += (rows * columns) << 2) {
    for (let c: u32 = 0; c < columns; c++) for (let k: u32 = 0; k < inner; k++) store<f32>(transposed + ((k * columns + c) << 2), load<f32>(b + c * long + (k << 2)))
    for (let row: u32 = 0; row < rows; row += 4) {
      const seen = (row % queries + 4 + 7) & ~7 // whole blocks of eight columns
      product(a + row * long, long, 4, transposed, width, out + row * width, 4, min(seen, columns), inner, alpha, 0)
    }
  }
}

/** out = alpha · a · b (+ out), a zero above the diagonal. */
export function matmulNNCausal(a: usize, b: usize, out: usize, batch: u32, rows: u32, columns: u32, inner: u32, strideA: u32, strideB: u32, alpha: f32, accumulate: u32, queries: u32, transposed: usize): void {
  const long = inner << 2, width = columns << 2
  for (let i: u32 = 0; i < batch; i++, a += strideA << 2, b += strideB << 2, out += rows * width) {
    for (let row: u32 = 0; row < rows; row += 4) product(a + row * long, long, 4, b, width, out + row * width, 4, columns, row % queries + 4, alpha, accumulate)
  }
}

/** out = alpha · aᵀ · b (+ out), a [inner, rows] made of squares that are zero above the diagonal. */
export function matmulTNCausal(a: usize, b: usize, out: usize, batch: u32, rows: u32, columns: u32, inner: u32, strideA: u32, strideB: u32, alpha: f32, accumulate: u32, queries: u32, transposed: usize): void {
  const long = rows << 2, width = columns << 2
  for (let i: u32 = 0; i < batch; i++, a += strideA << 2, b += strideB << 2, out += rows * width) {
    for (let square: u32 = 0; square < inner; square += queries) for (let line: u32 = 0; line < rows; line += 16) for (let from = line; from < queries; from += 64) {
      // sixteen keys are a cache line of a's rows: taken together for 64 rows, they are read from memory once
      for (let key = line; key < min(line + 16, rows); key += 4) {
        const begin = max(from, key), end = min(from + 64, queries), first = square + begin // rows before `key` do not see it
        if (begin < end) product(a + first * long + (key << 2), 4, long, b + first * width, width, out + key * width, 4, columns, end - begin, alpha, accumulate | <u32>(square > 0 || from > line))
      }
    }
  }
}

export function softmaxGradientCausal(probability: usize, gradient: usize, out: usize, rows: u32, columns: u32, scale: f32, queries: u32, transposed: usize): void {
  const s = f32x4.splat(scale)
  for (let row: u32 = 0; row < rows; row++) {
    const at = (row * columns) << 2, seen = row % queries + 1, dot = f32x4.splat(dotRow(probability + at, gradient + at, seen))
    let c: u32 = 0
    for (; c + 4 <= seen; c += 4) v128.store(out + at + (c << 2), f32x4.mul(f32x4.mul(s, v128.load(probability + at + (c << 2))), f32x4.sub(v128.load(gradient + at + (c << 2)), dot)))
    if (c < seen) storeLanes(out + at + (c << 2), f32x4.mul(f32x4.mul(s, v128.load(probability + at + (c << 2))), f32x4.sub(v128.load(gradient + at + (c << 2)), dot)), seen - c)
    fillRow(out + at + (seen << 2), 0, columns - seen)
  }
}
