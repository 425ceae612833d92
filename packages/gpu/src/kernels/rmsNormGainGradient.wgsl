// out[column] = Σ over rows of gradient · x · inverse[row]. One workgroup to 16 columns: 16 lanes to a column take every sixteenth row, then a tree.
var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(16, 16)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let column = flatWorkgroup(workgroup, workgroups) * 16u + local.x;
  let lane = local.y * 16u + local.x;
  var sum = 0.0;
  if (column < p.columns) {
    for (var row = local.y; row < p.rows; row += 16u) { sum += gradient[row * p.columns + column] * x[row * p.columns + column] * inverse[row]; }
  }
  sums[lane] = sum;
  workgroupBarrier();
  for (var half = 128u; half >= 16u; half >>= 1u) {
    if (lane < half) { sums[lane] += sums[lane + half]; }
    workgroupBarrier();
  }
  if (local.y == 0u && column < p.columns) { out[column] = sums[lane]; }
}
