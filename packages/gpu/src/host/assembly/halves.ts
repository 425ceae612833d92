/** Short floats as f32, by their bits. */

// @ts-ignore: decorator
@inline
const shift: f32 = 5192296858534827628530496329220096.0 // 2^112: from f16's exponent bias to f32's

// @ts-ignore: decorator
@inline
const infinite: u32 = 0x7c00 // f16's exponent bits, all set: infinity or NaN

// @ts-ignore: decorator
@inline
const largest: i32 = 0x477fe000 // 65,504: what is more was infinity or NaN

/** An f16 by its bits. */
// @ts-ignore: decorator
@inline
export function half(bits: u32): f32 {
  const magnitude = reinterpret<u32>(reinterpret<f32>((bits & 0x7fff) << 13) * shift) | ((bits & infinite) == infinite ? 0x7f800000 : 0)
  return reinterpret<f32>(magnitude | (bits & 0x8000) << 16)
}
/** Four f16, each in the upper half of its lane. */
// @ts-ignore: decorator
@inline
export function halves(bits: v128): v128 {
  const value = f32x4.mul(v128.and(i32x4.shr_s(bits, 3), i32x4.splat(0x8fffe000)), f32x4.splat(shift)) // the sign stays, its copies go
  const special = i32x4.gt_s(v128.and(value, i32x4.splat(0x7fffffff)), i32x4.splat(largest))
  return v128.or(value, v128.and(special, i32x4.splat(0x7f800000)))
}
/** The first and the last four of eight short floats, each in the upper half of a lane: bf16 as f32. */
// @ts-ignore: decorator
@inline
export function firstShorts(words: v128): v128 {
  return i8x16.shuffle(i32x4.splat(0), words, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23)
}
// @ts-ignore: decorator
@inline
export function lastShorts(words: v128): v128 {
  return i8x16.shuffle(i32x4.splat(0), words, 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31)
}
