/** Exponentials, four at a time. */

// @ts-ignore: decorator
@inline
const lowest: f32 = -87.33

/** e^r for |r| ≤ ln 2 / 2: Cephes' expf polynomial. */
// @ts-ignore: decorator
@inline
function polynomial(r: v128): v128 {
  let p = f32x4.add(f32x4.mul(f32x4.splat(1.9875691500e-4), r), f32x4.splat(1.3981999507e-3))
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(8.3334519073e-3))
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(4.1665795894e-2))
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.6666665459e-1))
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(5.0000001201e-1))
  return f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r), f32x4.splat(1))
}
// @ts-ignore: decorator
@inline
function remainder(x: v128, whole: v128): v128 {
  return f32x4.sub(f32x4.sub(x, f32x4.mul(whole, f32x4.splat(0.693359375))), f32x4.mul(whole, f32x4.splat(-2.12194440e-4)))
}

/**
 * e^x with about 1.2e-7 relative error: x = n ln 2 + r, |r| ≤ ln 2 / 2, and 2^n is put together from two halves so that n = 128 does not
 * overflow early. NaN stays NaN, +∞ gives +∞, and below −87.33 (where f32 would go subnormal) it is 0.
 */
// @ts-ignore: decorator
@inline
export function exponential(x: v128): v128 {
  const low = f32x4.splat(lowest), magic = f32x4.splat(12582912), bias = i32x4.splat(127)
  const z = f32x4.pmin(f32x4.pmax(x, low), f32x4.splat(89))
  const shifted = f32x4.add(f32x4.mul(z, f32x4.splat(1.44269504088896341)), magic)
  const n = i32x4.sub(shifted, magic), half = i32x4.shr_s(n, 1)
  const first = i32x4.shl(i32x4.add(half, bias), 23), second = i32x4.shl(i32x4.add(i32x4.sub(n, half), bias), 23)
  return v128.andnot(f32x4.mul(f32x4.mul(polynomial(remainder(z, f32x4.sub(shifted, magic))), first), second), f32x4.lt(x, low))
}

/** The same for x below 88, in fewer steps: 2^n is added to the exponent at once. */
// @ts-ignore: decorator
@inline
export function exponentialBelow88(x: v128): v128 {
  const low = f32x4.splat(lowest), magic = f32x4.splat(12582912)
  const z = f32x4.pmax(x, low)
  const shifted = f32x4.add(f32x4.mul(z, f32x4.splat(1.44269504088896341)), magic)
  const power = i32x4.shl(i32x4.add(shifted, i32x4.splat(127 - 0x4b400000)), 23)
  return v128.andnot(f32x4.mul(polynomial(remainder(z, f32x4.sub(shifted, magic))), power), f32x4.lt(x, low))
}

/** 1 + e^−x, at most 1.6e38. */
// @ts-ignore: decorator
@inline
export function onePlusExponential(x: v128): v128 {
  return f32x4.add(f32x4.splat(1), exponentialBelow88(f32x4.pmin(f32x4.neg(x), f32x4.splat(87.9))))
}
/** 1 / (1 + e^−x). */
// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  return f32x4.div(f32x4.splat(1), onePlusExponential(x))
}
