// out = scale · probability · (gradient − Σ probability · gradient). The lanes of a row share its columns.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = rowOf(workgroup, workgroups, index);
  if (row >= p.rows) { return; }
  let lane = laneOf(index);
  let at = row * p.columns;
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += lanesOfRow) { sum += probability[at + c] * gradient[at + c]; }
  sum = sumOverRow(sum, index);
  for (var c = lane; c < p.columns; c += lanesOfRow) { out[at + c] = p.scale * probability[at + c] * (gradient[at + c] - sum); }
}
