// out[group] = alpha · a[group rows]ᵀ · b[group rows]; z is the group, and the sum runs over its rows. The tile is in products.wgsl.
fn rowsOf(z: u32) -> vec2<u32> { return vec2(0u, p.rows); }
fn stepsOf(z: u32) -> u32 { return offsets[z + 1u] - offsets[z]; }
fn startOfRow(z: u32, row: u32) -> u32 { return offsets[z] * p.rows + row; }
fn startOfColumn(z: u32, column: u32) -> u32 { return offsets[z] * p.columns + column; }
fn nextOfRow() -> u32 { return p.rows; }
fn nextOfColumn() -> u32 { return p.columns; }
fn ofRow(at: u32) -> f32 { return a[at]; }
fn ofColumn(at: u32) -> f32 { return b[at]; }
fn write(z: u32, row: u32, column: u32, sum: f32) { out[(z * p.rows + row) * p.columns + column] = p.alpha * sum; }
