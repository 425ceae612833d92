// out = alpha · aᵀ · b (+ out), batched. A thread owns 4 rows × 4 columns in registers, a workgroup 32 × 32; rows and columns
// past the end read the last one and are not written. No workgroup memory: software adapters pay dearly for it.
@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let column = workgroup.x * 32u + local.x * 4u;
  let row = workgroup.y * 32u + local.y * 4u;
  if (row >= p.rows || column >= p.columns) { return; }
  let lastRow = p.rows - 1u;
  let columns = min(vec4(column) + vec4(0u, 1u, 2u, 3u), vec4(p.columns - 1u));
  var fromA0 = workgroup.z * p.strideA + min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(lastRow));
  var fromB = workgroup.z * p.strideB + columns;
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  for (var k = 0u; k < p.inner; k++) {
    let right = vec4(b[fromB.x], b[fromB.y], b[fromB.z], b[fromB.w]);
    sum0 = fma(vec4(a[fromA0.x]), right, sum0);
    sum1 = fma(vec4(a[fromA0.y]), right, sum1);
    sum2 = fma(vec4(a[fromA0.z]), right, sum2);
    sum3 = fma(vec4(a[fromA0.w]), right, sum3);
    fromA0 += vec4(p.rows);
    fromB += vec4(p.columns);
  }
  store(row + 0u, column, lastRow, workgroup.z, sum0);
  store(row + 1u, column, lastRow, workgroup.z, sum1);
  store(row + 2u, column, lastRow, workgroup.z, sum2);
  store(row + 3u, column, lastRow, workgroup.z, sum3);
}

fn store(row: u32, column: u32, lastRow: u32, batch: u32, sum: vec4<f32>) {
  if (row > lastRow) { return; }
  let at = (batch * p.rows + row) * p.columns + column;
  for (var i = 0u; i < min(4u, p.columns - column); i++) {
    let value = p.alpha * sum[i];
    if (p.accumulate != 0u) { out[at + i] += value; } else { out[at + i] = value; }
  }
}
