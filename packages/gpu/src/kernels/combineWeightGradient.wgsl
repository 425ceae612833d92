// out[slot] = gradient[slot / active] · y[places[slot]]. The lanes of a slot share its columns.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = rowOf(workgroup, workgroups, index);
  if (row >= p.rows) { return; }
  let lane = laneOf(index);
  let token = (row / p.active_) * p.columns;
  let at = places[row] * p.columns;
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += lanesOfRow) { sum += gradient[token + c] * y[at + c]; }
  sum = sumOverRow(sum, index);
  if (lane == 0u) { out[row] = sum; }
}
