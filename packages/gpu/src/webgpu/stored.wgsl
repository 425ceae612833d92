// Number `at` of the stored tensor `weight` of p.total numbers, in format p.format: 0 bf16, 1 f16, 2 q8, 3 q4 (Storage.ts says how they lie).
fn widened(at: u32) -> f32 {
  if (p.format == 0u) {
    let word = weight[at >> 1u];
    return bitcast<f32>(select(word << 16u, word & 0xffff0000u, (at & 1u) == 1u));
  }
  if (p.format == 1u) { return unpack2x16float(weight[at >> 1u])[at & 1u]; }
  let block = at >> 5u;
  if (p.format == 2u) {
    let integer = extractBits(bitcast<i32>(weight[at >> 2u]), 8u * (at & 3u), 8u);
    return f32(integer) * unpack2x16float(weight[((p.total + 3u) >> 2u) + (block >> 1u)])[block & 1u];
  }
  let integer = i32(extractBits(weight[at >> 3u], 4u * (at & 7u), 4u)) - 8;
  return f32(integer) * unpack2x16float(weight[((p.total + 7u) >> 3u) + (block >> 1u)])[block & 1u];
}
