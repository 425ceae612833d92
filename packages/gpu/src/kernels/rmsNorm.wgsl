// out = x · inverse · gain, inverse = 1/√(mean x² + epsilon). One workgroup to a row.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = flatWorkgroup(workgroup, workgroups);
  if (row >= p.rows) { return; }
  let at = row * p.columns;
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += 64u) { sum += x[at + c] * x[at + c]; }
  let scale = 1.0 / sqrt(sumOverWorkgroup(sum, lane) / f32(p.columns) + p.epsilon);
  if (lane == 0u) { inverse[row] = scale; }
  for (var c = lane; c < p.columns; c += 64u) { out[at + c] = x[at + c] * scale * gain[c]; }
}
