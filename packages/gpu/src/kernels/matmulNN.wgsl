// out = alpha · a · b (+ out), batched; z is the batch. The tile is in products.wgsl.
fn rowsOf(z: u32) -> vec2<u32> { return vec2(0u, p.rows); }
fn stepsOf(z: u32) -> u32 { return p.inner; }
fn startOfRow(z: u32, row: u32) -> u32 { return z * p.strideA + row * p.inner; }
fn startOfColumn(z: u32, column: u32) -> u32 { return z * p.strideB + column; }
fn nextOfRow() -> u32 { return 1u; }
fn nextOfColumn() -> u32 { return p.columns; }
fn ofRow(at: u32) -> f32 { return a[at]; }
fn ofColumn(at: u32) -> f32 { return b[at]; }

fn write(z: u32, row: u32, column: u32, sum: f32) {
  let at = (z * p.rows + row) * p.columns + column;
  if (p.accumulate != 0u) { out[at] += p.alpha * sum; } else { out[at] = p.alpha * sum; }
}
