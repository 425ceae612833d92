// out[row] = alpha · x[row] · weight[group]ᵀ, the weights stored and widened as they are read (stored.wgsl); z is the group. The tile is in products.wgsl.
fn rowsOf(z: u32) -> vec2<u32> { return vec2(offsets[z], offsets[z + 1u]); }
fn stepsOf(z: u32) -> u32 { return p.inner; }
fn startOfRow(z: u32, row: u32) -> u32 { return row * p.inner; }
fn startOfColumn(z: u32, column: u32) -> u32 { return z * p.columns * p.inner + column * p.inner; }
fn nextOfRow() -> u32 { return 1u; }
fn nextOfColumn() -> u32 { return 1u; }
fn ofRow(at: u32) -> f32 { return x[at]; }
fn ofColumn(at: u32) -> f32 { return widened(at); }
fn write(z: u32, row: u32, column: u32, sum: f32) { out[row * p.columns + column] = p.alpha * sum; }
