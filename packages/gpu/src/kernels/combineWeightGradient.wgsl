// out[slot] = gradient[slot / active] · y[places[slot]]. One workgroup to a slot.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = flatWorkgroup(workgroup, workgroups);
  if (row >= p.rows) { return; }
  let token = (row / p.active_) * p.columns;
  let at = places[row] * p.columns;
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += 64u) { sum += gradient[token + c] * y[at + c]; }
  sum = sumOverWorkgroup(sum, lane);
  if (lane == 0u) { out[row] = sum; }
}
