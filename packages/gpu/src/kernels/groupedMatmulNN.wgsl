// out[row] = alpha · x[row] · weight[group]. The tiles of matmulNN, counted from the group's first row; z is the group, and tiles beyond its
// rows end at once.
@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let column = workgroup.x * 32u + local.x * 4u;
  let end = offsets[workgroup.z + 1u];
  let row = offsets[workgroup.z] + workgroup.y * 32u + local.y * 4u;
  if (row >= end || column >= p.columns) { return; }
  let lastRow = end - 1u;
  let columns = min(vec4(column) + vec4(0u, 1u, 2u, 3u), vec4(p.columns - 1u));
  var fromA0 = min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(lastRow)) * p.inner;
  var fromB = workgroup.z * p.columns * p.inner + columns;
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  for (var k = 0u; k < p.inner; k++) {
    let right = vec4(weight[fromB.x], weight[fromB.y], weight[fromB.z], weight[fromB.w]);
    sum0 = fma(vec4(x[fromA0.x]), right, sum0);
    sum1 = fma(vec4(x[fromA0.y]), right, sum1);
    sum2 = fma(vec4(x[fromA0.z]), right, sum2);
    sum3 = fma(vec4(x[fromA0.w]), right, sum3);
    fromA0 += vec4(1u);
    fromB += vec4(p.columns);
  }
  store(row + 0u, column, lastRow, sum0);
  store(row + 1u, column, lastRow, sum1);
  store(row + 2u, column, lastRow, sum2);
  store(row + 3u, column, lastRow, sum3);
}

fn store(row: u32, column: u32, lastRow: u32, sum: vec4<f32>) {
  if (row > lastRow) { return; }
  let at = row * p.columns + column;
  for (var i = 0u; i < min(4u, p.columns - column); i++) {
    out[at + i] = p.alpha * sum[i];
  }
}
