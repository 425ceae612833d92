/**
 * Numbers of stored tensors as f32 (Storage.ts says how they lie). `format`: 0 bf16, 1 f16, 2 q8, 3 q4; `total`: numbers of the whole tensor, behind
 * whose words the scales of its blocks stand.
 */
import { firstShorts, half, halves, lastShorts } from "./halves"
import { fillRow } from "./lanes"

function widenBrains(at: usize, out: usize, count: u32): void {
  let i: u32 = 0
  for (; i + 8 <= count; i += 8) {
    const words = v128.load(at + (i << 1)), to = out + (i << 2)
    v128.store(to, firstShorts(words))
    v128.store(to, lastShorts(words), 16)
  }
  for (; i < count; i++) store<u32>(out + (i << 2), <u32>load<u16>(at + (i << 1)) << 16)
}

function widenHalves(at: usize, out: usize, count: u32): void {
  let i: u32 = 0
  for (; i + 8 <= count; i += 8) {
    const words = v128.load(at + (i << 1)), to = out + (i << 2)
    v128.store(to, halves(firstShorts(words)))
    v128.store(to, halves(lastShorts(words)), 16)
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
        const numbers = i16x8.extend_low_i8x16_u(i8x16.shuffle(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)), eight = i32x4.splat(8)
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
