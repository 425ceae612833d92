/** Causal pooling along tokens, four columns at a time; sums are f64 lanes, as the plain form's are. */
import { storeLanes } from "./lanes"

/** The weight of a mean of `terms` powers of decay, one where there is none. */
function weightOf(decay: f64, terms: u32): f64 {
  return terms == 0 ? 1 : decay == 1 ? <f64>terms : (1 - NativeMath.pow(decay, <f64>terms)) / (1 - decay)
}

// @ts-ignore: decorator
@inline
function putFour(at: usize, low: v128, high: v128, lanes: u32): void {
  const value = i8x16.shuffle(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
  if (lanes >= 4) v128.store(at, value)
  else storeLanes(at, value, lanes)
}
// @ts-ignore: decorator
@inline
function upper(x: v128): v128 {
  return f64x2.promote_low_f32x4(i64x2.shuffle(x, x, 1, 1))
}

export function prefixPool(x: usize, out: usize, count: u32, tokens: u32, columns: u32, decay: f32, mean: u32, exclusive: u32): void {
  const width = columns << 2, factor = <f64>decay, d = f64x2.splat(factor), zero = f64x2.splat(0)
  for (let batch: u32 = 0; batch < count / columns; batch++) for (let c: u32 = 0; c < columns; c += 4) {
    let low = zero, high = zero, weight: f64 = 0, at = batch * tokens * width + (c << 2)
    for (let t: u32 = 0; t < tokens; t++, at += width) {
      const own = v128.load(x + at)
      if (exclusive) {
        const w = f64x2.splat(mean && weight != 0 ? weight : 1) // before the first token the sums are zero
        putFour(out + at, f64x2.div(low, w), f64x2.div(high, w), columns - c)
      }
      low = f64x2.add(f64x2.mul(d, low), f64x2.promote_low_f32x4(own))
      high = f64x2.add(f64x2.mul(d, high), upper(own))
      weight = factor * weight + 1
      if (!exclusive) {
        const w = f64x2.splat(mean ? weight : 1)
        putFour(out + at, f64x2.div(low, w), f64x2.div(high, w), columns - c)
      }
    }
  }
}

export function prefixPoolGradient(gradient: usize, out: usize, count: u32, tokens: u32, columns: u32, decay: f32, mean: u32, exclusive: u32): void {
  const width = columns << 2, factor = <f64>decay, d = f64x2.splat(factor), zero = f64x2.splat(0)
  for (let batch: u32 = 0; batch < count / columns; batch++) for (let c: u32 = 0; c < columns; c += 4) {
    let low = zero, high = zero, at = (batch * tokens + tokens - 1) * width + (c << 2)
    for (let t = tokens; t > 0; t--, at -= width) {
      const terms = exclusive ? t - 1 : t, w = f64x2.splat(mean ? weightOf(factor, terms) : 1), given = v128.load(gradient + at)
      const ownLow = f64x2.div(f64x2.promote_low_f32x4(given), w), ownHigh = f64x2.div(upper(given), w)
      if (exclusive) {
        putFour(out + at, low, high, columns - c)
        low = f64x2.mul(d, low)
        high = f64x2.mul(d, high)
        if (terms != 0) { low = f64x2.add(low, ownLow); high = f64x2.add(high, ownHigh) }
      } else {
        low = f64x2.add(f64x2.mul(d, low), ownLow)
        high = f64x2.add(f64x2.mul(d, high), ownHigh)
        putFour(out + at, low, high, columns - c)
      }
    }
  }
}
