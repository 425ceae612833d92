/** Vectors of four numbers at the ragged ends of rows, and sums across lanes. Reads may pass an end by three numbers: slots are padded. */

/** All ones in the first `count` lanes. */
// @ts-ignore: decorator
@inline
export function firstLanes(count: u32): v128 {
  return i32x4.lt_s(i32x4(0, 1, 2, 3), i32x4.splat(<i32>count))
}

/** Stores the first `count` (1 to 3) lanes. */
// @ts-ignore: decorator
@inline
export function storeLanes(at: usize, value: v128, count: u32): void {
  store<f32>(at, f32x4.extract_lane(value, 0))
  if (count > 1) store<f32>(at, f32x4.extract_lane(value, 1), 4)
  if (count > 2) store<f32>(at, f32x4.extract_lane(value, 2), 8)
}

// @ts-ignore: decorator
@inline
export function sumLanes(v: v128): f32 {
  return (f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1)) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
}

/** The largest lane; NaN when one is NaN. */
// @ts-ignore: decorator
@inline
export function largestLane(v: v128): f32 {
  return max(max(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)), max(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)))
}

/** Sum of a row, of a row times another, in four partial sums of four lanes (blocked, so that long rows keep their digits). */
export function sumRow(x: usize, columns: u32): f32 {
  let a = f32x4.splat(0), b = a, c: u32 = 0
  for (; c + 8 <= columns; c += 8) {
    a = f32x4.add(a, v128.load(x + (c << 2)))
    b = f32x4.add(b, v128.load(x + (c << 2), 16))
  }
  for (; c + 4 <= columns; c += 4) a = f32x4.add(a, v128.load(x + (c << 2)))
  if (c < columns) b = f32x4.add(b, v128.and(v128.load(x + (c << 2)), firstLanes(columns - c)))
  return sumLanes(f32x4.add(a, b))
}

export function dotRow(x: usize, y: usize, columns: u32): f32 {
  let a = f32x4.splat(0), b = a, c: u32 = 0
  for (; c + 8 <= columns; c += 8) {
    a = f32x4.add(a, f32x4.mul(v128.load(x + (c << 2)), v128.load(y + (c << 2))))
    b = f32x4.add(b, f32x4.mul(v128.load(x + (c << 2), 16), v128.load(y + (c << 2), 16)))
  }
  for (; c + 4 <= columns; c += 4) a = f32x4.add(a, f32x4.mul(v128.load(x + (c << 2)), v128.load(y + (c << 2))))
  if (c < columns) b = f32x4.add(b, v128.and(f32x4.mul(v128.load(x + (c << 2)), v128.load(y + (c << 2))), firstLanes(columns - c)))
  return sumLanes(f32x4.add(a, b))
}

/** Copies one row. */
// @ts-ignore: decorator
@inline
export function copyRow(from: usize, to: usize, columns: u32): void {
  let c: u32 = 0
  for (; c + 4 <= columns; c += 4) v128.store(to + (c << 2), v128.load(from + (c << 2)))
  for (; c < columns; c++) store<f32>(to + (c << 2), load<f32>(from + (c << 2)))
}

// @ts-ignore: decorator
@inline
export function fillRow(to: usize, value: f32, columns: u32): void {
  const v = f32x4.splat(value)
  let c: u32 = 0
  for (; c + 4 <= columns; c += 4) v128.store(to + (c << 2), v)
  for (; c < columns; c++) store<f32>(to + (c << 2), value)
}
