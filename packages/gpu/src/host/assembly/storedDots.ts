/**
 * One row times a stored matrix, as generation reads it: four rows of the weight at a time, widened in registers and never written. Sums go in the order
 * of products.ts, so that the bits are those of the matrix widened first.
 */
import { firstShorts, half, halves, lastShorts } from "./halves"
import { sumLanes } from "./lanes"

/** Eight numbers from element `at` on, on the way to f32: as i16 lanes, the short floats' bits or the blocks' integers. */
// @ts-ignore: decorator
@inline
function eight(weight: usize, at: u32, format: u32): v128 {
  if (format < 2) return v128.load(weight + (at << 1))
  if (format == 2) return v128.load8x8_s(weight + at)
  const bytes = v128.load32_zero(weight + (at >> 1)), fifteen = i8x16.splat(15), low = v128.and(bytes, fifteen), high = v128.and(i16x8.shr_u(bytes, 4), fifteen)
  return i16x8.extend_low_i8x16_s(i8x16.sub(i8x16.shuffle(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), i8x16.splat(8)))
}
// @ts-ignore: decorator
@inline
function lower(numbers: v128, scale: v128, format: u32): v128 {
  if (format == 0) return firstShorts(numbers)
  if (format == 1) return halves(firstShorts(numbers))
  return f32x4.mul(scale, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(numbers)))
}
// @ts-ignore: decorator
@inline
function upper(numbers: v128, scale: v128, format: u32): v128 {
  if (format == 0) return lastShorts(numbers)
  if (format == 1) return halves(lastShorts(numbers))
  return f32x4.mul(scale, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(numbers)))
}

/** The scale of the block with element `at`; of no use to short floats. */
// @ts-ignore: decorator
@inline
function scaleOf(scales: usize, at: u32, format: u32): v128 {
  return format < 2 ? f32x4.splat(0) : f32x4.splat(half(load<u16>(scales + ((at >> 5) << 1))))
}

// @ts-ignore: decorator
@inline
function finish(at: usize, sum: v128, alpha: f32): void {
  store<f32>(at, alpha * sumLanes(sum))
}

/** `format` is a constant where this is called: its branches go. */
// @ts-ignore: decorator
@inline
function dots(x: usize, weight: usize, scales: usize, out: usize, columns: u32, inner: u32, first: u32, alpha: f32, format: u32): void {
  let c: u32 = 0
  for (; c + 4 <= columns; c += 4) {
    let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0
    const row = first + c * inner
    for (let k: u32 = 0; k < inner; k += 32) {
      const y0 = row + k, y1 = y0 + inner, y2 = y1 + inner, y3 = y2 + inner
      const a0 = scaleOf(scales, y0, format), a1 = scaleOf(scales, y1, format), a2 = scaleOf(scales, y2, format), a3 = scaleOf(scales, y3, format)
      for (let i: u32 = 0; i < 32; i += 8) {
        const v = v128.load(x + ((k + i) << 2)), w = v128.load(x + ((k + i) << 2), 16)
        let numbers = eight(weight, y0 + i, format)
        s0 = f32x4.add(f32x4.add(s0, f32x4.mul(v, lower(numbers, a0, format))), f32x4.mul(w, upper(numbers, a0, format)))
        numbers = eight(weight, y1 + i, format)
        s1 = f32x4.add(f32x4.add(s1, f32x4.mul(v, lower(numbers, a1, format))), f32x4.mul(w, upper(numbers, a1, format)))
        numbers = eight(weight, y2 + i, format)
        s2 = f32x4.add(f32x4.add(s2, f32x4.mul(v, lower(numbers, a2, format))), f32x4.mul(w, upper(numbers, a2, format)))
        numbers = eight(weight, y3 + i, format)
        s3 = f32x4.add(f32x4.add(s3, f32x4.mul(v, lower(numbers, a3, format))), f32x4.mul(w, upper(numbers, a3, format)))
      }
    }
    const to = out + (c << 2)
    finish(to, s0, alpha)
    finish(to + 4, s1, alpha)
    finish(to + 8, s2, alpha)
    finish(to + 12, s3, alpha)
  }
  for (; c < columns; c++) {
    let sum = f32x4.splat(0)
    const row = first + c * inner
    for (let k: u32 = 0; k < inner; k += 8) {
      const numbers = eight(weight, row + k, format), scale = scaleOf(scales, row + k, format)
      sum = f32x4.add(f32x4.add(sum, f32x4.mul(v128.load(x + (k << 2)), lower(numbers, scale, format))), f32x4.mul(v128.load(x + (k << 2), 16), upper(numbers, scale, format)))
    }
    finish(out + (c << 2), sum, alpha)
  }
}

/**
 * out [rows, columns] = alpha · x [rows, inner] · wᵀ, where w [columns, inner] begins at number `first` of the `total` stored in `weight`. `first` and `inner`
 * are multiples of 32: blocks do not cross rows. Each row reads all of the weight: for few of them.
 */
export function storedDots(x: usize, weight: usize, out: usize, rows: u32, columns: u32, inner: u32, first: u32, total: u32, format: u32, alpha: f32): void {
  const scales = weight + ((format == 3 ? (total + 7) >> 3 : (total + 3) >> 2) << 2)
  for (let row: u32 = 0; row < rows; row++, x += inner << 2, out += columns << 2) {
    if (format == 0) dots(x, weight, scales, out, columns, inner, first, alpha, 0)
    else if (format == 1) dots(x, weight, scales, out, columns, inner, first, alpha, 1)
    else if (format == 2) dots(x, weight, scales, out, columns, inner, first, alpha, 2)
    else dots(x, weight, scales, out, columns, inner, first, alpha, 3)
  }
}
