// out = scale · probability · (gradient − Σ probability · gradient). One workgroup to a row.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = flatWorkgroup(workgroup, workgroups);
  if (row >= p.rows) { return; }
  let at = row * p.columns;
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += 64u) { sum += probability[at + c] * gradient[at + c]; }
  sum = sumOverWorkgroup(sum, lane);
  for (var c = lane; c < p.columns; c += 64u) { out[at + c] = p.scale * probability[at + c] * (gradient[at + c] - sum); }
}
