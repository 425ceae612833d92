// out[1] = the global norm, out[0] = what scales gradients down to `maximum`. The squares are one row.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  if (rowOf(workgroup, workgroups, index) > 0u) { return; }
  let lane = laneOf(index);
  var sum = 0.0;
  for (var i = lane; i < p.count; i += lanesOfRow) { sum += squares[i]; }
  let norm = sqrt(sumOverRow(sum, index));
  if (lane == 0u) {
    out[0] = 1.0;
    if (p.maximum > 0.0 && norm > p.maximum) { out[0] = p.maximum / norm; }
    out[1] = norm;
  }
}
