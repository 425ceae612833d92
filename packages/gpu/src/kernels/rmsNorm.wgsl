// out = x · inverse · gain, inverse = 1/√(mean x² + epsilon). The lanes of a row share its columns.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = rowOf(workgroup, workgroups, index);
  if (row >= p.rows) { return; }
  let lane = laneOf(index);
  let at = row * p.columns;
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += lanesOfRow) { sum += x[at + c] * x[at + c]; }
  let scale = 1.0 / sqrt(sumOverRow(sum, index) / f32(p.columns) + p.epsilon);
  if (lane == 0u) { inverse[row] = scale; }
  for (var c = lane; c < p.columns; c += lanesOfRow) { out[at + c] = x[at + c] * scale * gain[c]; }
}
