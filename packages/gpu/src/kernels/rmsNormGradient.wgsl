// out = inverse · (gradient · gain − x · inverse² · mean(gradient · gain · x)). One workgroup to a row.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = flatWorkgroup(workgroup, workgroups);
  if (row >= p.rows) { return; }
  let at = row * p.columns;
  let scale = inverse[row];
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += 64u) { sum += gradient[at + c] * gain[c] * x[at + c]; }
  let mean = sumOverWorkgroup(sum, lane) * scale * scale / f32(p.columns);
  for (var c = lane; c < p.columns; c += 64u) { out[at + c] = scale * (gradient[at + c] * gain[c] - x[at + c] * mean); }
}
