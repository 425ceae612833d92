/**
 * Numbers of stored tensors as f32 (Storage.ts says how they lie). `format`: 0 bf16, 1 f16, 2 q8, 3 q4; `total`: numbers of the whole tensor, behind
 * whose words the scales of its blocks stand.
 */
import { fillRow } from "./lanes"

// @ts-ignore: decorator
@inline
const shift: f32 = 5192296858534827628530496329220096.0 // 2^112: from f16's exponent bias to f32's

// @ts-ignore: decorator
@inline
const infinite: u32 = 0x7c00 // f16's exponent bits, all set: infinity or NaN

/** An f16 by its bits. */
// @ts-ignore: decorator
@inline
function half(bits: u32): f32 {
  const magnitude = reinterpret<u32>(reinterpret<f32>((bits & 0x7fff) << 13) * shift) | ((bits & infinite) == infinite ? 0x7f800000 : 0)
  return reinterpret<f32>(magnitude | (bits & 0x8000) << 16)
}
// @ts-ignore: decorator
@inline
function halves(words: v128): v128 {
  const exponent = i32x4.splat(infinite), magnitude = f32x4.mul(i32x4.shl(v128.and(words, i32x4.splat(0x7fff)), 13), f32x4.splat(shift))
  const special = v128.and(i32x4.eq(v128.and(words, exponent), exponent), i32x4.splat(0x7f800000))
  return v128.or(v128.or(magnitude, special), i32x4.shl(v128.and(words, i32x4.splat(0x8000)), 16))
}

function widenBrains(at: usize, out: usize, count: u32): void {
  let i: u32 = 0
  for (; i + 8 <= count; i += 8) {
    const words = v128.load(at + (i << 1)), to = out + (i << 2)
    v128.store(to, i32x4.shl(i32x4.extend_low_i16x8_u(words), 16))
    v128.store(to, i32x4.shl(i32x4.extend_high_i16x8_u(words), 16), 16)
  }
  for (; i < count; i++) store<u32>(out + (i << 2), <u32>load<u16>(at + (i << 1)) << 16)
}

function widenHalves(at: usize, out: usize, count: u32): void {
  let i: u32 = 0
  for (; i + 8 <= count; i += 8) {
    const words = v128.load(at + (i << 1)), to = out + (i << 2)
    v128.store(to, halves(i32x4.extend_low_i16x8_u(words)))
    v128.store(to, halves(i32x4.extend_high_i16x8_u(words)), 16)
  }
  for (; i < count; i++) store<f32>(out + (i << 2), half(load<u16>(at + (i << 1))))
}

/** Numbers from … from + count − 1, block by block. */
function widenBlocks(weight: usize, out: usize, count: u32, from: u32, total: u32, nibbles: bool): void {
  const scales = weight + ((nibbles ? (total + 7) >> 3 : (total + 3) >> 2) << 2), end = from + count, seven = i8x16.splat(15)
  for (let i = from; i < end;) {
    const until = min(end, (i | 31) + 1), scale = half(load<u16>(scales + ((i >> 5) << 1))), s = f32x4.splat(scale)
    if (nibbles) {
      for (; i < until && i & 7; i++, out += 4) store<f32>(out, scale * <f32>(<i32>((load<u8>(weight + (i >> 1)) >> ((i & 1) << 2)) & 15) - 8))
      for (; i + 8 <= until; i += 8, out += 32) {
        const bytes = v128.load32_zero(weight + (i >> 1)), low = v128.and(bytes, seven), high = v128.and(i16x8.shr_u(bytes, 4), seven)
        const numbers = i16x8.extend_low_i8x16_u(i8x16.shuffle(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 0, 16, 1, 17, 2, 18, 3, 19)), eight = i32x4.splat(8)
        v128.store(out, f32x4.mul(s, f32x4.convert_i32x4_s(i32x4.sub(i32x4.extend_low_i16x8_s(numbers), eight))))
        v128.store(out, f32x4.mul(s, f32x4.convert_i32x4_s(i32x4.sub(i32x4.extend_high_i16x8_s(numbers), eight))), 16)
      }
      for (; i < until; i++, out += 4) store<f32>(out, scale * <f32>(<i32>((load<u8>(weight + (i >> 1)) >> ((i & 1) << 2)) & 15) - 8))
    } else {
      for (; i + 8 <= until; i += 8, out += 32) {
        const numbers = v128.load8x8_s(weight + i)
        v128.store(out, f32x4.mul(s, f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(numbers))))
        v128.store(out, f32x4.mul(s, f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(numbers))), 16)
      }
      for (; i < until; i++, out += 4) store<f32>(out, scale * <f32>load<i8>(weight + i))
    }
  }
}

export function widen(weight: usize, out: usize, count: u32, from: u32, total: u32, format: u32): void {
  if (format == 0) widenBrains(weight + (from << 1), out, count)
  else if (format == 1) widenHalves(weight + (from << 1), out, count)
  else widenBlocks(weight, out, count, from, total, format == 3)
}

export function storedGather(weight: usize, ids: usize, out: usize, count: u32, columns: u32, divisor: u32, total: u32, format: u32): void {
  for (let row: u32 = 0; row < count / columns; row++) {
    const id = load<u32>(ids + (row << 2)), to = out + ((row * columns) << 2)
    if (id == 0xffffffff) fillRow(to, 0, columns)
    else widen(weight, to, columns, id / divisor * columns, total, format)
  }
}
