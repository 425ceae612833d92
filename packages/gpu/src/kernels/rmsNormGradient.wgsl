// out = inverse · (gradient · gain − x · inverse² · mean(gradient · gain · x)). The lanes of a row share its columns.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = rowOf(workgroup, workgroups, index);
  if (row >= p.rows) { return; }
  let lane = laneOf(index);
  let at = row * p.columns;
  let scale = inverse[row];
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += lanesOfRow) { sum += gradient[at + c] * gain[c] * x[at + c]; }
  let mean = sumOverRow(sum, index) * scale * scale / f32(p.columns);
  for (var c = lane; c < p.columns; c += lanesOfRow) { out[at + c] = scale * (gradient[at + c] * gain[c] - x[at + c] * mean); }
}
