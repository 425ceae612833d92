// out = alpha · aᵀ · b (+ out), batched; z is the batch.
// A thread owns 8 rows × 8 columns in registers, a workgroup 64 × 64. Rows and columns past the end read the last one and are not written.
@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let row = workgroup.y * 64u + local.y * 8u;
  let column = workgroup.x * 64u + local.x * 8u;
  if (row >= p.rows || column >= p.columns) { return; }
  let step = vec4(0u, 1u, 2u, 3u);
  var fromA0 = workgroup.z * p.strideA + min(vec4(row) + step, vec4(p.rows - 1u));
  var fromA1 = workgroup.z * p.strideA + min(vec4(row + 4u) + step, vec4(p.rows - 1u));
  var fromB0 = workgroup.z * p.strideB + min(vec4(column) + step, vec4(p.columns - 1u));
  var fromB1 = workgroup.z * p.strideB + min(vec4(column + 4u) + step, vec4(p.columns - 1u));
  var left0 = vec4<f32>(); var right0 = vec4<f32>();
  var left1 = vec4<f32>(); var right1 = vec4<f32>();
  var left2 = vec4<f32>(); var right2 = vec4<f32>();
  var left3 = vec4<f32>(); var right3 = vec4<f32>();
  var left4 = vec4<f32>(); var right4 = vec4<f32>();
  var left5 = vec4<f32>(); var right5 = vec4<f32>();
  var left6 = vec4<f32>(); var right6 = vec4<f32>();
  var left7 = vec4<f32>(); var right7 = vec4<f32>();
  for (var k = 0u; k < p.inner; k++) {
    let leftColumns = vec4(b[fromB0.x], b[fromB0.y], b[fromB0.z], b[fromB0.w]);
    let rightColumns = vec4(b[fromB1.x], b[fromB1.y], b[fromB1.z], b[fromB1.w]);
    let value0 = vec4(a[fromA0.x]);
    left0 = fma(value0, leftColumns, left0); right0 = fma(value0, rightColumns, right0);
    let value1 = vec4(a[fromA0.y]);
    left1 = fma(value1, leftColumns, left1); right1 = fma(value1, rightColumns, right1);
    let value2 = vec4(a[fromA0.z]);
    left2 = fma(value2, leftColumns, left2); right2 = fma(value2, rightColumns, right2);
    let value3 = vec4(a[fromA0.w]);
    left3 = fma(value3, leftColumns, left3); right3 = fma(value3, rightColumns, right3);
    let value4 = vec4(a[fromA1.x]);
    left4 = fma(value4, leftColumns, left4); right4 = fma(value4, rightColumns, right4);
    let value5 = vec4(a[fromA1.y]);
    left5 = fma(value5, leftColumns, left5); right5 = fma(value5, rightColumns, right5);
    let value6 = vec4(a[fromA1.z]);
    left6 = fma(value6, leftColumns, left6); right6 = fma(value6, rightColumns, right6);
    let value7 = vec4(a[fromA1.w]);
    left7 = fma(value7, leftColumns, left7); right7 = fma(value7, rightColumns, right7);
    fromA0 += vec4(p.rows); fromB0 += vec4(p.columns);
    fromA1 += vec4(p.rows); fromB1 += vec4(p.columns);
  }
  var left = array<vec4<f32>, 8>(left0, left1, left2, left3, left4, left5, left6, left7);
  var right = array<vec4<f32>, 8>(right0, right1, right2, right3, right4, right5, right6, right7);
  for (var i = 0u; i < 8u && row + i < p.rows; i++) {
    store((workgroup.z * p.rows + row + i) * p.columns, column, left[i]);
    store((workgroup.z * p.rows + row + i) * p.columns, column + 4u, right[i]);
  }
}

fn store(start: u32, column: u32, sum: vec4<f32>) {
  for (var i = 0u; i < 4u && column + i < p.columns; i++) {
    let value = p.alpha * sum[i];
    if (p.accumulate != 0u) { out[start + column + i] += value; } else { out[start + column + i] = value; }
  }
}
