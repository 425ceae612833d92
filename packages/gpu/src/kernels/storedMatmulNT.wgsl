// out = x · weightᵀ, the weight stored and widened as it is read (stored.wgsl). The tile is in products.wgsl.
fn rowsOf(z: u32) -> vec2<u32> { return vec2(0u, p.rows); }
fn stepsOf(z: u32) -> u32 { return p.inner; }
fn startOfRow(z: u32, row: u32) -> u32 { return row * p.inner; }
fn startOfColumn(z: u32, column: u32) -> u32 { return column * p.inner; }
fn nextOfRow() -> u32 { return 1u; }
fn nextOfColumn() -> u32 { return 1u; }
fn ofRow(at: u32) -> f32 { return x[at]; }
fn ofColumn(at: u32) -> f32 { return widened(at); }
fn write(z: u32, row: u32, column: u32, sum: f32) { out[row * p.columns + column] = sum; }
