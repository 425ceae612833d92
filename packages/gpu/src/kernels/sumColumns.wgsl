// out[row] = scale · Σ x[row]. One workgroup to a row.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = flatWorkgroup(workgroup, workgroups);
  if (row >= p.rows) { return; }
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += 64u) { sum += x[row * p.columns + c]; }
  sum = sumOverWorkgroup(sum, lane);
  if (lane == 0u) { out[row] = p.scale * sum; }
}
